//! Whose an open file is, from the record that the kernel keeps of how it came in.
//!
//! Invariant: a trace is told with the join that found it, never with a better one; without either nobody is told.

use crate::{probes, wire::FdRecord};
use snowshed_engine::model::{Join, Owner, TraceId};

/// A number for an open file: the address alone is recycled within microseconds.
pub(super) fn identity(file: u64, distinct: u64) -> u64 {
    file.rotate_left(17) ^ distinct.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whose it is, and how that is known.
pub(super) fn owner(record: &FdRecord) -> Owner {
    let origin = &record.origin;
    let [high, low] = origin.context.trace.map(u64::to_ne_bytes);
    let trace = TraceId::from_bytes(&[high, low].concat());
    let made_for = identity(origin.connection, origin.connection_made);
    let connection = (origin.connection != 0).then_some((made_for, origin.exchange.saturating_sub(1)));
    let join = match probes::join(origin.join.into()) {
        join if trace.is_some() && join != Join::None => join,
        _ if connection.is_some() => Join::Socket,
        _ => Join::None,
    };
    Owner { trace, connection, join }
}
