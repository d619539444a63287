//! Exemplars: a request by name beside the bucket that it fell into, so that a slow one can be looked up as a trace.

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use snowshed_guard::context::{self, TraceContext};
use std::fmt::{self, Write};
use std::time::SystemTime;

/// W3C trace flag: somebody keeps this trace.
const SAMPLED: u8 = 1;

/// The ids of a request, as the exemplar's labels (OpenMetrics allows 128 characters for all of them).
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids(TraceContext);

/// The trace that this thread works on, if anybody keeps it, and the time.
pub(super) fn of_this_thread() -> (Option<Ids>, Option<SystemTime>) {
    match context::current() {
        Some(context) if context.flags & SAMPLED != 0 => (Some(Ids(context)), Some(SystemTime::now())),
        _ => (None, None),
    }
}

impl EncodeLabelSet for Ids {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        for (key, id) in [("trace_id", &self.0.trace_id[..]), ("span_id", &self.0.span_id[..])] {
            let mut label = encoder.encode_label();
            let mut name = label.encode_label_key()?;
            name.write_str(key)?;
            let mut value = name.encode_label_value()?;
            for byte in id {
                write!(value, "{byte:02x}")?;
            }
            value.finish()?;
        }
        Ok(())
    }
}
