//! `snowshed explain`.

use super::{client::Agent, incidents::Page, print, print_json};
use crate::{
    failure::Failure,
    render::{incident::Record, markdown, text, timeline},
};
use clap::ValueEnum;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The incident: its id, a unique beginning of it, or `latest`
    id: String,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    /// A timeline with the incident's traces, to open in Perfetto's viewer
    Perfetto,
}

/// Shows an incident.
///
/// # Errors
/// The agent cannot be asked, or no incident, or more than one, is meant.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // A whole id is asked for by itself: on disk there may be more incidents than a page has.
    let record: Record = if let Ok(id) = args.id.parse::<uuid::Uuid>() {
        args.agent.get(&format!("/api/v1/incidents/{id}"))?
    } else {
        let page: Page = args.agent.get("/api/v1/incidents?limit=1000")?;
        find(&page.items, &args.id).map_err(Failure::usage)?.clone()
    };
    match args.format {
        Format::Text => print(&text::incident(&record)),
        Format::Json => print_json(&record),
        Format::Markdown => print(&markdown::incident(&record)),
        Format::Perfetto => {
            let ask = |id: String| {
                let answer = args.agent.get(&format!("/api/v1/traces/{id}")).map_err(|failure| failure.message);
                (id, answer)
            };
            let asked: Vec<timeline::Asked> = timeline::traces(&record).into_iter().map(ask).collect();
            print_json(&timeline::draw(&record, &asked))
        }
    }
}

fn find<'a>(records: &'a [Record], id: &str) -> Result<&'a Record, String> {
    if id == "latest" {
        return records.first().ok_or_else(|| "there are no incidents".to_owned());
    }
    let id = id.to_ascii_lowercase();
    let mut found = records.iter().filter(|record| !id.is_empty() && record.id.starts_with(&id));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(format!("incident {id:?}: unknown or forgotten; `snowshed incidents` lists them")),
        (Some(_), Some(_)) => Err(format!("incident {id:?}: more than one begins so")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;

    #[test]
    fn an_incident_is_found_by_a_unique_beginning_or_as_the_latest() {
        let (numbered, sites, clock) = sample();
        let record = |id: &str| Record { id: id.into(), ..Record::of(&numbered, &sites, &clock) };
        let records = [record("0190-bb"), record("0190-aa")];
        assert_eq!(find(&records, "latest").expect("the first").id, "0190-bb");
        assert_eq!(find(&records, "0190-A").expect("unique").id, "0190-aa");
        assert!(find(&records, "0190").is_err_and(|error| error.contains("more than one")));
        assert!(find(&records, "x").is_err_and(|error| error.contains("unknown")));
        assert!(find(&records, "").is_err());
    }
}
