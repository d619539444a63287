//! `snowshed metrics`: the reference of all metrics as Markdown, from the code's own descriptions.

use super::print;
use crate::{failure::Failure, metrics};

/// Prints the table.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run() -> Result<(), Failure> {
    print(&table())
}

fn table() -> String {
    let mut text = String::from("| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
    for metric in metrics::ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        text.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", metric.name, metric.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SNOWSHED_WRITE=1 cargo test -p snowshed-agent reference` writes it anew.
    #[test]
    fn the_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
        let text = format!("# Metrics of the agent\n\nPrinted by `snowshed metrics`.\n\n{}", table());
        if std::env::var_os("SNOWSHED_WRITE").is_some() {
            std::fs::write(path, &text).expect("the checkout can be written");
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "write it anew");
    }
}
