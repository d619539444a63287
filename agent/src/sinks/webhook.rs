//! Posts the public record of an incident at each change.
//!
//! Invariant: a failed change is tried again with a growing wait until it is delivered or a newer change
//! of the same incident replaces it; the receiver may see the same record twice, never an older one after
//! a newer one.

use super::{Context, Queue, Started, Unit, backoff, client};
use serde::{Deserialize, Serialize};

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "webhook", start };

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to post.
    pub(crate) url: String,
}

fn start(config: &super::Config, context: Context, queue: Queue) -> Started {
    let Some(config) = &config.webhook else { return Ok(None) };
    let (client, url) = client(&config.url, UNIT.name)?;
    Ok(Some(Box::pin(run(client, url.into(), context, queue))))
}

async fn run(client: reqwest::Client, url: String, context: Context, queue: Queue) {
    let mut failures = 0;
    loop {
        let numbered = queue.pop().await;
        let record = context.record(&numbered).await;
        match context.post(UNIT.name, &client, &url, &record).await {
            Ok(()) => failures = 0,
            Err(error) => {
                if failures == 0 {
                    tracing::warn!("webhook {url}: {error}; trying again");
                }
                queue.put_back(numbered);
                tokio::time::sleep(backoff(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}
