//! `snowshed incidents`.

use super::{client::Agent, print, print_json};
use crate::{
    failure::Failure,
    render::{incident::Record, text},
};
use serde::Deserialize;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    agent: Agent,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// A page of incidents.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    /// The incidents, newest first.
    pub(crate) items: Vec<Record>,
}

/// Lists the incidents.
///
/// # Errors
/// The agent cannot be asked.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.json {
        return print_json(&args.agent.get::<serde_json::Value>("/api/v1/incidents")?);
    }
    let page: Page = args.agent.get("/api/v1/incidents")?;
    if page.items.is_empty() {
        return print("no incidents\n");
    }
    let lines: String = page.items.iter().map(|record| text::one_line(record) + "\n").collect();
    print(&lines)
}
