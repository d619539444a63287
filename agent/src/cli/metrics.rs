//! `snowshed metrics`: the reference of all metrics as Markdown, from the code's own descriptions.

use super::print;
use crate::{failure::Failure, metrics};

/// Prints the table.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run() -> Result<(), Failure> {
    let mut text = String::from("| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
    for metric in metrics::ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        text.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", metric.name, metric.help));
    }
    print(&text)
}
