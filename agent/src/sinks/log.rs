//! One log line for each new stage of an incident: opened, named, acted upon, closed.

use super::{Config, Context, Queue, Stages, Started, Unit};
use crate::render::{text, wire_name};

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "log", start };

fn start(_config: &Config, context: Context, queue: Queue) -> Started {
    Ok(Some(Box::pin(run(context, queue))))
}

async fn run(context: Context, queue: Queue) {
    let mut stages = Stages::default();
    loop {
        let numbered = queue.pop().await;
        let record = context.record(&numbered).await;
        if !stages.is_news(&record) {
            continue;
        }
        let state = if record.closed_at.is_some() { "closed" } else { "open" };
        tracing::warn!(
            incident = %record.id,
            state,
            severity = %wire_name(record.severity),
            service = ?record.target.name,
            pid = record.target.pid,
            verdict = %text::verdict(&record),
            "{}",
            record.causes.first().map_or(&record.trigger.detail, |cause| &cause.title)
        );
        context.tally.sink_sent.with_label_values(&[UNIT.name]).inc();
    }
}
