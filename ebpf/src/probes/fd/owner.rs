//! Whose an open file is, from the record that the kernel keeps of how it came in.
//!
//! Invariant: a trace is told with the join that found it, never with a better one; without either nobody is told.

use crate::{
    probes,
    wire::{ALONE, FdRecord, JOIN_CREATOR, VIA_ACCEPT, VIA_EXISTING, short_peer},
};
use snowshed_engine::model::{Join, Owner, TraceId};

/// A number for an open file: the address alone is recycled within microseconds.
pub(super) fn identity(file: u64, distinct: u64) -> u64 {
    file.rotate_left(17) ^ distinct.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whose it is, and how that is known.
pub(super) fn owner(record: &FdRecord) -> Owner {
    let origin = &record.origin;
    if matches!(origin.via, VIA_ACCEPT | VIA_EXISTING) {
        return Owner { peer: short_peer(record.peer), ..Owner::default() };
    }
    let lent = u32::from(origin.join) == JOIN_CREATOR;
    // Who reads requests by itself works for these, whoever made it.
    let context = if lent && origin.connection != 0 { Default::default() } else { origin.context };
    let [high, low] = context.trace.map(u64::to_ne_bytes);
    let trace = TraceId::from_bytes(&[high, low].concat());
    let made_for = identity(origin.connection, origin.connection_made);
    let exchange = (origin.exchange & !ALONE).saturating_sub(1);
    let connection = (origin.connection != 0).then_some((made_for, exchange));
    let join = match probes::join(origin.join.into()) {
        join if trace.is_some() && join != Join::None => join,
        _ if connection.is_some() => Join::Socket,
        _ => Join::None,
    };
    Owner {
        trace,
        connection,
        join,
        lent: lent && trace.is_some(),
        peer: if connection.is_some() { origin.written } else { 0 },
        alone: connection.is_some() && origin.exchange & ALONE != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Context, FileOrigin, JOIN_THREAD, VIA_OPEN};

    fn of(origin: FileOrigin) -> Owner {
        owner(&FdRecord { origin, peer: 7, ..FdRecord::default() })
    }

    #[test]
    fn what_was_made_tells_its_connection_and_a_connection_its_peer() {
        let made =
            FileOrigin { via: VIA_OPEN, connection: 1, exchange: 3 | ALONE, written: 9, ..FileOrigin::default() };
        let owner = of(made);
        assert_eq!((owner.connection.map(|(_, exchange)| exchange), owner.peer), (Some(2), 9));
        assert_eq!((owner.join, owner.alone, owner.lent), (Join::Socket, true, false));
        let accepted = of(FileOrigin { via: VIA_ACCEPT, exchange: 3, written: 9, ..FileOrigin::default() });
        assert_eq!(accepted, Owner { peer: short_peer(7), ..Owner::default() });
        assert_eq!(of(FileOrigin { via: VIA_OPEN, written: 9, ..FileOrigin::default() }), Owner::default());
    }

    #[test]
    fn what_a_threads_creator_worked_for_is_lent() {
        let context = Context { trace: [1, 2], span: 0 };
        let with = |join: u32| of(FileOrigin { via: VIA_OPEN, context, join: join as u16, ..FileOrigin::default() });
        assert_eq!((with(JOIN_CREATOR).join, with(JOIN_CREATOR).lent), (Join::Inherited, true));
        let reads =
            FileOrigin { via: VIA_OPEN, context, join: JOIN_CREATOR as u16, connection: 1, ..FileOrigin::default() };
        assert_eq!((of(reads).trace, of(reads).join, of(reads).lent), (None, Join::Socket, false));
        assert_eq!((with(JOIN_THREAD).join, with(JOIN_THREAD).lent), (Join::ThreadContext, false));
    }
}
