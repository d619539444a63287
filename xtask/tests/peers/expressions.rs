//! PromQL out of the Grafana dashboard and the rules.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use xtask::process;

/// An expression of a panel, with Grafana's variables replaced as Grafana would.
#[derive(Debug)]
pub(crate) struct Panel {
    /// The panel's title.
    pub(crate) title: String,
    /// What it asks Prometheus.
    pub(crate) expression: String,
}

/// The expressions of all panels of the dashboard, those in rows and of annotations too.
pub(crate) fn panels() -> anyhow::Result<Vec<Panel>> {
    let path = process::root().join("dashboards/grafana/snowshed.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let dashboard: Value = serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))?;
    ensure!(dashboard["panels"].as_array().is_some_and(|panels| !panels.is_empty()), "a dashboard without panels");
    let mut found = Vec::new();
    collect(&dashboard, "", &mut found);
    ensure!(!found.is_empty(), "a dashboard that asks nothing");
    Ok(found)
}

fn collect(value: &Value, title: &str, found: &mut Vec<Panel>) {
    match value {
        Value::Object(fields) => {
            let title = fields.get("title").and_then(Value::as_str).unwrap_or(title);
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                found.push(Panel { title: title.to_owned(), expression: substitute(expression) });
            }
            fields.values().for_each(|inner| collect(inner, title, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, title, found)),
        _ => {}
    }
}

fn substitute(expression: &str) -> String {
    // The longer names first: `$__range` begins like `$__range_s`.
    let variables = [
        ("$__rate_interval", "1m"),
        ("$__interval", "15s"),
        ("$__range_s", "3600"),
        ("$__range", "1h"),
        ("$instance", ".*"),
        ("$target", ".*"),
    ];
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The names of our series in a text: metrics (`snowshed_…`) and recordings (`snowshed:…`).
pub(crate) fn series(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let words = text.split(|letter| !is_name(letter));
    let named = words.filter(|word| word.starts_with("snowshed_") || word.starts_with("snowshed:"));
    named.filter(|word| word.len() > "snowshed_".len()).map(str::to_owned).collect()
}

#[test]
fn series_are_found_in_expressions() {
    let found = series(r#"rate(snowshed_a_total{x="y"}[5m]) > on (pid) snowshed:b:ratio or up{job="snowshed"}"#);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["snowshed:b:ratio", "snowshed_a_total"]);
}

#[test]
fn no_variable_of_grafana_is_left() -> anyhow::Result<()> {
    for Panel { title, expression } in panels()? {
        ensure!(!expression.contains('$'), "{title}: a variable that this test does not know: {expression}");
    }
    Ok(())
}
