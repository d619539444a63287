//! How the targets' connections and listeners get on: read from their sockets, once a second and when they close.
//!
//! A socket knows its process by its storage, which the iterator, `connect`, `listen` and `close` fill in, and
//! which a connection inherits from its listener: so one that lives between two looks has its owner too.
//! Cost: a look-up per change of state of any TCP socket of the machine; nothing per segment.

use crate::{
    kernel::{
        TaskFile, clear, count, field,
        holder::{HOLDERS, Holder},
        load, offset, peek, targets, watched,
    },
    wire::{
        Counter, SOCKET_CLOSED, SOCKET_FAILED, SOCKET_MULTIPATH, SOCKET_OWN_ZERO, SOCKET_PEER_ZERO,
        SOCKET_RESET_RECEIVED, SOCKET_RESET_SENT, SocketRecord,
    },
};
use aya_ebpf::{
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_seq_write, bpf_sock_from_file},
    },
    macros::{btf_tracepoint, map},
    maps::{PerCpuArray, RingBuf},
    programs::BtfTracePointContext,
};
use core::{ffi::c_void, ptr::read_volatile};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const FIN_WAIT1: u32 = 4;
const CLOSED: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const LISTEN: u32 = 10;

/// What happened to sockets, some four thousand: the host takes them ten times a second. Over 38,000 closings and
/// resets a second some are lost, and counted as such.
#[map]
static SOCKETS: RingBuf = RingBuf::with_byte_size(512 << 10, 0);

/// What an iterator writes is put together here: one reader at a time has iterators, and they stay on their processor.
#[map]
static RECORD: PerCpuArray<SocketRecord> = PerCpuArray::with_max_entries(1, 0);

/// A byte as a number.
#[inline(always)]
fn number(byte: u8) -> u32 {
    byte as u32
}

/// How soon it is read and answered; the longest time begins anew.
#[inline(always)]
fn fill_reads(record: &mut SocketRecord, holder: &mut Holder) {
    (record.reads, record.read_delay, record.slowest_read) = (holder.reads, holder.delay, holder.slowest);
    (record.given, record.given_time, record.had, record.had_time) =
        (holder.given, holder.given_time, holder.had, holder.had_time);
    (record.had_whole, record.unasked, record.pushed) = (holder.had_whole, holder.unasked, holder.pushed);
    holder.slowest = 0;
}

/// Who owes an answer. What is still on its way, or lies here unread, is not the peer's affair.
#[inline(always)]
fn fill_owing(record: &mut SocketRecord, holder: &Holder, sk: u64) {
    if record.state != ESTABLISHED {
        return;
    }
    let (acknowledged, written): (u32, u32) = (field!(sk, tcp_snd_una), field!(sk, tcp_write_seq));
    let (copied, received): (u32, u32) = (field!(sk, tcp_copied_seq), field!(sk, tcp_rcv_nxt));
    (record.owes, record.owed) = holder.owing();
    record.owed = if acknowledged == written && copied == received { record.owed } else { 0 };
}

/// What its socket says.
#[inline(always)]
fn fill(record: &mut SocketRecord, sk: u64) {
    record.family = field!(sk, sk_family);
    let own: u16 = field!(sk, inet_sport);
    let peer: u16 = field!(sk, sk_dport);
    record.ports = [u16::from_be(own), u16::from_be(peer)];
    if record.family == AF_INET6 {
        record.local = peek(sk + offset!(sk_v6_rcv_saddr) as u64);
        record.peer = peek(sk + offset!(sk_v6_daddr) as u64);
    } else {
        let local: [u8; 4] = field!(sk, sk_rcv_saddr);
        let peer: [u8; 4] = field!(sk, sk_daddr);
        record.local[..4].copy_from_slice(&local);
        record.peer[..4].copy_from_slice(&peer);
    }
    if record.state == LISTEN {
        record.queue = field!(sk, sk_backlog);
        record.limit = field!(sk, sk_max_backlog);
        record.drops = field!(sk, sk_drops);
        return;
    }
    record.segments = field!(sk, tcp_segs_out);
    record.data_segments = field!(sk, tcp_data_segs_out);
    record.resent = field!(sk, tcp_total_retrans);
    record.srtt = field!(sk, tcp_srtt);
    record.least_rtt = field!(sk, tcp_rtt_min);
    if record.state == ESTABLISHED || record.state == CLOSE_WAIT {
        let theirs: u32 = field!(sk, tcp_snd_wnd);
        let own: u32 = field!(sk, tcp_rcv_wnd);
        record.probes = number(field!(sk, csk_probes_out));
        record.flags |= if theirs == 0 { SOCKET_PEER_ZERO } else { 0 };
        record.flags |= if own == 0 { SOCKET_OWN_ZERO } else { 0 };
    }
}

/// Every TCP socket that a process has open.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn tcp_list(ctx: *const TaskFile) -> i32 {
    // SAFETY: the context and what it points to are trusted; null marks the end.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        let file = read_volatile(&raw const (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        let host_tgid: u32 = load(task, offset!(task_tgid));
        if targets::get(host_tgid).is_none() {
            return 0;
        }
        let socket: *const c_void = bpf_sock_from_file(file.cast_mut().cast()).cast();
        if socket.is_null() {
            return 0;
        }
        let sk: *mut c_void = load(socket, offset!(socket_sk));
        if sk.is_null() {
            return 0;
        }
        let protocol: u16 = load(sk, offset!(sk_protocol));
        let family: u16 = load(sk, offset!(sk_family));
        if protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP || family != AF_INET && family != AF_INET6 {
            return 0;
        }
        let mut address = sk as u64;
        let Some(record) = RECORD.get_ptr_mut(0) else { return 0 };
        clear(record);
        let record = &mut *record;
        record.host_tgid = host_tgid;
        if protocol == IPPROTO_MPTCP {
            address = field!(address, mptcp_first);
            record.flags = SOCKET_MULTIPATH;
        } else if let Some(holder) = HOLDERS.get(sk, true) {
            if holder.host_tgid == 0 {
                holder.host_tgid = host_tgid;
            }
            fill_reads(record, holder);
            record.state = number(field!(address, sk_state));
            fill_owing(record, holder, address);
        }
        record.at = bpf_ktime_get_ns();
        record.socket = address;
        record.state = number(field!(address, sk_state));
        if record.state == 0 || record.state == CLOSED {
            return 0;
        }
        fill(record, address);
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), (&raw const *record).cast(), size_of::<SocketRecord>() as u32);
    }
    0
}

/// A socket changes its state. `connect`, `listen` and `close` do so in their own process.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_changed(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let (old, new) = (old as u32, new as u32);
    // SAFETY: the socket is a trusted argument.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        if load::<u16>(sk, offset!(sk_protocol)) != IPPROTO_TCP {
            return 0;
        }
        match new {
            CLOSED => {
                let failed = old == SYN_SENT;
                tell(sk, if failed { SOCKET_FAILED } else { SOCKET_CLOSED }, old);
            }
            SYN_SENT | FIN_WAIT1 | LAST_ACK | LISTEN => {
                if let Some(thread) = watched()
                    && let Some(holder) = HOLDERS.get(sk, true)
                {
                    holder.host_tgid = thread.tgid;
                }
            }
            _ => {}
        }
    }
    0
}

/// Also for packets that no connection expects; those have no socket of a process.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_reset_sent(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the socket is a trusted argument or null.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        if !sk.is_null() {
            tell(sk, SOCKET_RESET_SENT, 0);
        }
    }
    0
}

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_reset_received(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the socket is a trusted argument.
    unsafe { tell(ctx.arg::<*const c_void>(0).cast_mut(), SOCKET_RESET_RECEIVED, 0) };
    0
}

/// Tells what happened to a socket, if it is one of a target.
#[inline(always)]
unsafe fn tell(sk: *mut c_void, kind: u32, state: u32) {
    // SAFETY: the socket is trusted, which also are those that have no storage.
    unsafe {
        let Some(holder) = HOLDERS.get(sk, false) else { return };
        let host_tgid = holder.owner();
        if host_tgid == 0 {
            return;
        }
        count(Counter::Sockets);
        let Some(mut entry) = SOCKETS.reserve::<SocketRecord>(0) else {
            count(Counter::SocketsLost);
            return;
        };
        // In place: of what lies on the stack, older verifiers follow each value.
        clear(entry.as_mut_ptr());
        let record = &mut *entry.as_mut_ptr();
        (record.kind, record.host_tgid, record.state) = (kind, host_tgid, state);
        record.at = bpf_ktime_get_ns();
        record.socket = sk as u64;
        record.error = field!(sk, sk_err);
        fill(record, sk as u64);
        fill_reads(record, holder);
        entry.submit(0);
    }
}
