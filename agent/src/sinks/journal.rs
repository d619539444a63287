//! The audit trail: every stage of every incident (opened, named, each action, closed), appended to `incidents.jsonl` in the state directory.
//!
//! Invariant: append-only and bounded: at 8 MiB the file becomes `incidents.jsonl.1`, whose predecessor goes.

use super::{Config, Context, Queue, Stages, Started, Unit};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "journal", start };

/// The most that one file may hold, bytes.
const FILE: u64 = 8 * 1024 * 1024;

fn start(config: &Config, context: Context, queue: Queue) -> Started {
    let Some(directory) = &config.state_dir else { return Ok(None) };
    let path = directory.join("incidents.jsonl");
    let opened = std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::File::options().append(true).create(true).open(&path));
    // It is tried again with each line: a disk that fails must not keep the agent from starting.
    if let Err(error) = opened {
        tracing::warn!("no audit trail for now: {}: {error}", path.display());
    }
    Ok(Some(Box::pin(run(path, context, queue))))
}

async fn run(path: PathBuf, context: Context, queue: Queue) {
    let mut stages = Stages::default();
    loop {
        let numbered = queue.pop().await;
        let record = context.record(&numbered).await;
        if !stages.is_news(&record) {
            continue;
        }
        let written = match serde_json::to_vec(&record) {
            Ok(mut line) => {
                line.push(b'\n');
                append(&path, &line).await
            }
            Err(error) => Err(error.into()),
        };
        let counter = if written.is_ok() { &context.tally.sink_sent } else { &context.tally.sink_failed };
        counter.with_label_values(&[UNIT.name]).inc();
        if let Err(error) = written {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

async fn append(path: &Path, line: &[u8]) -> std::io::Result<()> {
    let length = tokio::fs::metadata(path).await.map_or(0, |found| found.len());
    if length + line.len() as u64 > FILE {
        tokio::fs::rename(path, path.with_extension("jsonl.1")).await?;
    }
    let mut file = tokio::fs::File::options().append(true).create(true).open(path).await?;
    file.write_all(line).await?;
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_turned_over_when_it_is_full() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("incidents.jsonl");
        append(&path, b"first\n").await.expect("writes");
        append(&path, &vec![b'x'; 8 * 1024 * 1024]).await.expect("writes");
        let older = std::fs::read(directory.path().join("incidents.jsonl.1")).expect("turned over");
        assert_eq!(older, b"first\n");
        assert_eq!(std::fs::metadata(&path).expect("the new one").len(), FILE);
    }
}
