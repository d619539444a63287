//! What the metrics page says of sessions, read when the page is asked for.

use super::table::Sessions;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Collector for Sessions {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = self.count();
        let help = "HLS sessions, by what they do: their codec runs, or they are over and kept for viewers.";
        let mut family = encoder.encode_descriptor("sessions", help, None, MetricType::Gauge)?;
        for (state, sessions) in [("running", now.running), ("finished", now.finished)] {
            ConstGauge::new(sessions).encode(family.encode_family(&[("state", state)])?)?;
        }
        let help = "Bytes of segments kept for viewers, by all HLS sessions.";
        let window = encoder.encode_descriptor("session_window_bytes", help, None, MetricType::Gauge)?;
        ConstGauge::new(now.bytes).encode(window)?;
        let help = "HLS sessions that are no more, by reason: idle, deleted, or dropped for the sake of others.";
        let mut family = encoder.encode_descriptor("sessions_ended", help, None, MetricType::Counter)?;
        for (reason, sessions) in [("idle", now.idle), ("deleted", now.deleted), ("dropped", now.dropped)] {
            ConstCounter::new(sessions).encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
