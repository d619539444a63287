//! Segments sent again, and whose bytes they were. Retransmits run in foreign contexts, so the socket is
//! stamped when bytes are written and the stamps are looked up here; the current thread says nothing.

mod sockets;

use crate::{
    kernel::{
        clear, context, count, field,
        holder::{HOLDERS, Holder},
        is_there, load, offset, peek,
        stamps::{Connection, OLD, OLDER, RECENT, STAMPS, Stamp, before, overlapping},
        watched,
    },
    probes::dns,
    wire::{Counter, RetransmitRecord, WRITER_FORGOTTEN, WRITER_LATE, WRITER_OPEN, WRITER_UNSURE, WRITERS_NAMED},
};
use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, map},
    maps::RingBuf,
    programs::BtfTracePointContext,
};
use core::{ffi::c_void, ptr::read_volatile};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const FLAG_FIN: u8 = 1;
const FLAG_SYN: u8 = 2;

/// Retransmits, about a thousand of them: the host takes them ten times a second.
#[map]
static RETRANSMITS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// After a send: the bytes up to `write_seq` are this thread's.
#[btf_tracepoint(function = "sock_send_length")]
pub fn tcp_sent(ctx: BtfTracePointContext) -> i32 {
    let length: i32 = ctx.arg(1);
    if length <= 0 && !dns::is_unreachable(length) {
        return 0;
    }
    let Some(thread) = watched() else { return 0 };
    // SAFETY: the socket is a trusted argument; loads go through its types.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        if dns::is_asked(sk) {
            dns::asked(sk, thread, length);
            return 0;
        }
        if length <= 0 {
            return 0;
        }
        let family: u16 = load(sk, offset!(sk_family));
        if load::<u16>(sk, offset!(sk_protocol)) != IPPROTO_TCP || family != AF_INET && family != AF_INET6 {
            return 0;
        }
        let Some(holder) = HOLDERS.get(sk, true) else {
            count(Counter::StampsLost);
            return 0;
        };
        holder.gave();
        let (context, _) = context::of_current(thread.target());
        let connection = &mut holder.connection;
        if !connection.take() {
            count(Counter::StampsLost);
            return 0;
        }
        connection.host_tgid = thread.tgid;
        let end: u32 = field!(sk, tcp_write_seq);
        let acked: u32 = field!(sk, tcp_snd_una);
        match connection.stamp(sk, length as u32, end, acked, context.trace) {
            Some(stamp) => {
                if connection.is_awaited() {
                    late(connection, sk, stamp);
                }
            }
            None => count(Counter::StampsLost),
        }
        connection.release();
    }
    0
}

/// A retransmit came before the send returned: this is who it was.
#[inline(always)]
unsafe fn late(connection: &Connection, sk: *mut c_void, stamp: Stamp) {
    let Some(mut entry) = RETRANSMITS.reserve::<RetransmitRecord>(0) else {
        count(Counter::RetransmitsLost);
        return;
    };
    let mut record = RetransmitRecord {
        socket: sk as u64,
        host_tgid: connection.host_tgid,
        flags: WRITER_LATE | if connection.unclaimed == 0 { 0 } else { WRITER_UNSURE },
        seq: stamp.start,
        end: stamp.end,
        writers: 1,
        ..RetransmitRecord::default()
    };
    record.traces[0] = stamp.trace;
    // SAFETY: always allowed.
    record.at = unsafe { bpf_ktime_get_ns() };
    entry.write(record);
    entry.submit(0);
}

/// In the context of whoever is interrupted.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmitted(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: socket and packet are trusted arguments.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        let Some(holder) = HOLDERS.get(sk, false) else { return 0 };
        if holder.owner() == 0 {
            return 0;
        }
        // Nothing was sent again, and the kernel will try once more. Older kernels tell only of success.
        if is_there(offset!(retransmit_error)) && ctx.arg::<i32>(2) != 0 {
            count(Counter::RetransmitsFailed);
            return 0;
        }
        tell(holder, sk, ctx.arg(1));
    }
    0
}

#[inline(always)]
unsafe fn tell(holder: &mut Holder, sk: *mut c_void, skb: *const c_void) {
    count(Counter::Retransmits);
    let Some(mut entry) = RETRANSMITS.reserve::<RetransmitRecord>(0) else {
        count(Counter::RetransmitsLost);
        return;
    };
    // SAFETY: loads go through types that the verifier knows; the entry is written first.
    unsafe {
        clear(entry.as_mut_ptr());
        let record = &mut *entry.as_mut_ptr();
        record.at = bpf_ktime_get_ns();
        record.socket = sk as u64;
        record.host_tgid = holder.owner();
        let flags: u8 = load(skb, offset!(skb_cb) + offset!(cb_tcp_flags));
        // SYN and FIN take a sequence number each, and nobody wrote them.
        let seq = load::<u32>(skb, offset!(skb_cb) + offset!(cb_seq)).wrapping_add((flags & FLAG_SYN != 0) as u32);
        let end = load::<u32>(skb, offset!(skb_cb) + offset!(cb_end_seq)).wrapping_sub((flags & FLAG_FIN != 0) as u32);
        (record.seq, record.end) = (seq, end);
        let segments: u16 = load(skb, offset!(skb_cb) + offset!(cb_gso_segs));
        record.segments = segments.max(1) as u32;
        address(record, sk);
        let connection = &mut holder.connection;
        if connection.host_tgid == 0 {
            // No send of this socket was stamped.
            record.flags = WRITER_FORGOTTEN;
        } else if connection.take() {
            writers(record, connection, sk);
            connection.release();
        } else {
            record.flags = WRITER_UNSURE;
        }
    }
    entry.submit(0);
}

/// Who wrote the bytes, and how sure that is.
#[inline(always)]
unsafe fn writers(record: &mut RetransmitRecord, connection: &mut Connection, sk: *mut c_void) {
    let (seq, end) = (record.seq, record.end);
    if connection.stamped == 0 || before(connection.end, end) {
        record.flags |= WRITER_OPEN;
        connection.await_stamp(end);
    }
    if connection.stamped == 0 {
        return;
    }
    if connection.unclaimed != 0 && before(connection.run_start, end) {
        record.flags |= WRITER_UNSURE;
    }
    if before(seq, connection.forgotten) {
        record.flags |= WRITER_FORGOTTEN;
    }
    if connection.stamped == 1 {
        if before(seq, connection.first.end) && before(connection.first.start, end) {
            record.traces[0] = connection.first.trace;
            record.writers = 1;
        }
        return;
    }
    // SAFETY: the socket is trusted; the rings hold as many stamps as are read.
    unsafe {
        let Some(ring) = STAMPS.get(sk, false) else { return };
        // All are looked through before any is named: the verifier follows each way through a naming, and would follow
        // the next look anew for each of them.
        let recent = overlapping(ring.at.as_ptr(), seq, end, ring.next);
        let older = if ring.turn != 0 { OLDER.get(sk, false) } else { None };
        let mut bits = [0; OLD / 64];
        if let Some(older) = &older {
            for (block, bits) in bits.iter_mut().enumerate() {
                let first = block * 64;
                let used = older.next.saturating_sub(first as u64);
                *bits = overlapping(older.at.as_ptr().add(first), seq, end, used);
            }
        }
        name(record, &ring.at, 0, recent);
        if let Some(older) = older {
            for (block, bits) in bits.iter().enumerate() {
                name(record, &older.at, block * 64, *bits);
            }
        }
    }
    const { assert!(OLD.is_multiple_of(64) && RECENT == 64) };
}

/// Notes the traces of the stamps whose bit is set.
#[inline(always)]
fn name<const N: usize>(record: &mut RetransmitRecord, stamps: &[Stamp; N], first: usize, bits: u64) {
    let mut bits = bits;
    // Volatile, or the compiler proves the masks needless and drops them, and the verifier cannot follow.
    let (mask, most) = (63_usize, WRITERS_NAMED - 1);
    for _ in 0..WRITERS_NAMED {
        if bits == 0 || record.writers as usize >= WRITERS_NAMED {
            break;
        }
        // SAFETY: masked to the arrays' sizes.
        unsafe {
            let from = first + (bits.trailing_zeros() as usize & read_volatile(&raw const mask));
            let to = record.writers as usize & read_volatile(&raw const most);
            // Word by word: a copy of sixteen bytes becomes a call of a loop, which the verifier walks byte by byte.
            let (stamp, slot) = (stamps.as_ptr().add(from), record.traces.as_mut_ptr().add(to).cast::<u64>());
            slot.write_volatile((&raw const (*stamp).trace[0]).read_volatile());
            slot.add(1).write_volatile((&raw const (*stamp).trace[1]).read_volatile());
        }
        record.writers += 1;
        bits &= bits - 1;
    }
    record.writers += bits.count_ones();
}

#[inline(always)]
unsafe fn address(record: &mut RetransmitRecord, sk: *const c_void) {
    // SAFETY: the socket is trusted.
    unsafe {
        record.family = load(sk, offset!(sk_family));
        record.ports = [load(sk, offset!(sk_num)), u16::from_be(load(sk, offset!(sk_dport)))];
    }
    let base = sk as u64;
    if record.family == AF_INET6 {
        record.local = peek(base + offset!(sk_v6_rcv_saddr) as u64);
        record.peer = peek(base + offset!(sk_v6_daddr) as u64);
    } else {
        let local: [u8; 4] = field!(base, sk_rcv_saddr);
        let peer: [u8; 4] = field!(base, sk_daddr);
        record.local[..4].copy_from_slice(&local);
        record.peer[..4].copy_from_slice(&peer);
    }
}
