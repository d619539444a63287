//! A real leak in a real service, as its operators see it: in Prometheus, on the dashboard, in the browser.

use crate::{
    expressions::{panels, series},
    prometheus::{self, Prometheus},
};
use anyhow::ensure;
use std::{collections::BTreeSet, process::Command, time::Duration};
use xtask::{
    process, program,
    rig::{Scene, Webhook, http},
};

const FAULT: &str = "tempfile_fd_leak";

#[test]
fn prometheus_and_a_browser_see_the_leak() -> anyhow::Result<()> {
    let webhook = Webhook::start()?;
    let scene = Scene::start(&["--enforce", "guard", "--webhook", &webhook.url()], |plan| plan)?;
    let prometheus = Prometheus::start(scene.folder(), &[scene.agent.listen])?;
    scene.wait_requests(0, 4)?;
    scene.service.fault_on(FAULT, "1")?;

    let pictures = process::target_dir().join("screenshots");
    std::fs::create_dir_all(&pictures)?;
    let script = process::root().join("dashboards/web/e2e/screenshot.mjs");
    let (url, picture) = (format!("http://{}/", scene.agent.listen), pictures.join("workbench.png"));
    program::output(Command::new("node").arg(script).arg(url).arg(&picture).arg("--wait-incident"))?;
    ensure!(picture.metadata()?.len() > 10_000, "{} is an empty picture", picture.display());

    // Whatever the rules and the panels ask for must have been there at some time, or they show nothing for ever.
    let mut wanted = BTreeSet::new();
    for path in prometheus::rules()? {
        wanted.extend(series(&std::fs::read_to_string(path)?));
    }
    wanted.extend(panels()?.iter().flat_map(|panel| series(&panel.expression)));
    let mut missing = wanted.clone();
    let waited = process::wait_until("data of every series", Duration::from_secs(90), || {
        let mut still = BTreeSet::new();
        for name in &missing {
            if prometheus.query(&format!("last_over_time({name}[10m])"))?.is_empty() {
                still.insert(name.clone());
            }
        }
        missing = still;
        Ok(missing.is_empty().then_some(()))
    });
    waited.map_err(|error| error.context(format!("no data of {missing:?}")))?;

    for rule in prometheus.rules()? {
        ensure!(rule["health"] == "ok", "rule {} is {}: {}", rule["name"], rule["health"], rule["lastError"]);
    }
    let orphaned = prometheus.query("max(snowshed_target_fds{state=\"orphaned\"})")?;
    let value = orphaned.first().and_then(|sample| sample["value"][1].as_str()?.parse::<f64>().ok());
    ensure!(value.is_some_and(|value| value >= 5.0), "Prometheus sees no orphans: {orphaned:?}");
    Ok(())
}

#[test]
fn promtool_has_no_complaint_about_the_metrics() -> anyhow::Result<()> {
    let scene = Scene::start(&[], |plan| plan)?;
    scene.wait_requests(0, 2)?;
    // The latency comes with the first window of spans: a page without it would hide what is said of it.
    let text = process::wait_until("a page with every part", Duration::from_secs(40), || {
        let text = http::get(scene.agent.listen, "/metrics")?.text();
        Ok(text.contains("snowshed_target_latency_seconds{").then_some(text))
    })?;
    let page = scene.folder().join("metrics.txt");
    std::fs::write(&page, text)?;
    let check = format!("promtool check metrics < {}", page.display());
    program::output(Command::new("sh").args(["-c", &check])).map(drop)
}
