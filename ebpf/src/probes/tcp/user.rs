//! Attaching, and turning records into observations.

use super::writers::Writers;
use crate::{
    host::kernel::{AttachError, Kernel},
    probes::{Look, Probe},
    wire::Counter,
};
use snowshed_engine::model::Observation;
use std::time::Duration;

/// Retransmits taken per look, so that one flood cannot keep the agent from looking.
const MOST_PER_LOOK: usize = 4096;

#[derive(Default)]
pub(crate) struct Tcp {
    writers: Writers,
}

impl Probe for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["tcp_sent", "tcp_retransmitted"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Retransmits], &[Counter::RetransmitsLost, Counter::StampsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.tracepoint("tcp_sent", "sock_send_length")?;
        kernel.tracepoint("tcp_retransmitted", "tcp_retransmit_skb")
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let Some(kernel) = look.kernel.as_deref_mut() else { return };
        let mut told = Vec::new();
        kernel.retransmits(MOST_PER_LOOK, |record| {
            let pid = look.targets.inner(record.host_tgid);
            self.writers.take(&record, pid, &mut told);
        });
        self.writers.rest(look.now, &mut told);
        out.extend(told.into_iter().map(Observation::Retransmit));
    }
}
