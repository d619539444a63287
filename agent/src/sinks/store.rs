//! Every change of every incident, handed to the store on disk.

use super::{Config, Context, Queue, Started, Unit};
use std::time::Duration;

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "store", start };

/// The wait before a store that has too much to do is asked again.
const BUSY: Duration = Duration::from_millis(100);

fn start(config: &Config, context: Context, queue: Queue) -> Started {
    if config.state_dir.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::pin(run(context, queue))))
}

async fn run(context: Context, queue: Queue) {
    loop {
        let numbered = queue.pop().await;
        if context.store.put(&context.record(&numbered).await) {
            context.tally.sink_sent.with_label_values(&[UNIT.name]).inc();
        } else {
            // Newer changes of the same incident take its place meanwhile, and what is too much is counted.
            context.tally.sink_failed.with_label_values(&[UNIT.name]).inc();
            queue.put_back(numbered);
            tokio::time::sleep(BUSY).await;
        }
    }
}
