//! What waits between clients and codecs, summed over all streams.
//!
//! Nothing is counted while pieces move: the channels know how full they are, and are asked when the page is made.
//! Bounded by the streams, each of which has one entry.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

type Depth = Box<dyn Fn() -> usize + Send>;

/// The channels of all streams, by number.
#[derive(Default)]
pub(super) struct Queues(Mutex<(u64, HashMap<u64, [Depth; 2]>)>);

/// A stream's channels are counted as long as this lives.
pub(crate) struct Watched {
    queues: Arc<Queues>,
    number: u64,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").finish_non_exhaustive()
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<u64, [Depth; 2]>)> {
        // Nothing under this lock leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream's two channels.
    pub(super) fn watch<U, R>(self: &Arc<Self>, upload: &mpsc::Sender<U>, result: &mpsc::Sender<R>) -> Watched
    where
        U: Send + 'static,
        R: Send + 'static,
    {
        let depths = [depth(upload), depth(result)];
        let mut held = self.lock();
        let number = held.0;
        held.0 += 1;
        held.1.insert(number, depths);
        Watched { queues: self.clone(), number }
    }

    /// Pieces of uploads that wait for their codec, and of results that wait for their client.
    fn depths(&self) -> [usize; 2] {
        self.lock().1.values().fold([0, 0], |[upload, result], depths| [upload + depths[0](), result + depths[1]()])
    }
}

/// Asks a channel without keeping it open: a reader must see its end.
fn depth<T: Send + 'static>(sender: &mpsc::Sender<T>) -> Depth {
    let sender = sender.downgrade();
    Box::new(move || sender.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity()))
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Taken out under the lock, dropped outside of it.
        let depths = self.queues.lock().1.remove(&self.number);
        drop(depths);
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Pieces that wait between clients and codecs, by direction.";
        let mut family = encoder.encode_descriptor("queue_pieces", help, None, MetricType::Gauge)?;
        for (direction, pieces) in ["upload", "result"].into_iter().zip(self.depths()) {
            let labels = [("direction", direction)];
            ConstGauge::new(pieces).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_summed_and_ends_are_seen() {
        let queues = Arc::new(Queues::default());
        let (upload, mut uploaded) = mpsc::channel::<u8>(8);
        let (result, _results) = mpsc::channel::<String>(8);
        let watched = queues.watch(&upload, &result);
        let (other, _other) = mpsc::channel::<u8>(2);
        let second = queues.watch(&other, &result);
        for piece in 0..3 {
            upload.try_send(piece).expect("room");
        }
        other.try_send(1).expect("room");
        result.try_send(String::new()).expect("room");
        assert_eq!(queues.depths(), [4, 2]);
        drop(second);
        assert_eq!(uploaded.blocking_recv(), Some(0));
        assert_eq!(queues.depths(), [2, 1]);
        drop(upload);
        assert_eq!(queues.depths(), [0, 1], "what is left after the sender is being taken, not waiting");
        assert_eq!((uploaded.blocking_recv(), uploaded.blocking_recv()), (Some(1), Some(2)));
        assert_eq!(uploaded.blocking_recv(), None, "watching does not keep a channel open");
        drop(watched);
        assert!(queues.lock().1.is_empty());
    }
}
