//! Segments sent again, and whose bytes they were. Retransmits run in foreign contexts, so the socket is
//! stamped when bytes are written and the stamp is looked up here; the current thread says nothing.

use crate::{
    kernel::{context, emit, load, offset, peek, storage::SocketStorage, target, tgid},
    wire::{Context, Counter, EVENT_RETRANSMIT, Event},
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_skc_to_tcp_sock},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

/// The last writer of a socket, and the sequence numbers it wrote.
#[repr(C)]
pub struct Stamp {
    host_tgid: u32,
    start: u32,
    end: u32,
    _pad: u32,
    context: Context,
}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static WRITERS: SocketStorage<Stamp> = SocketStorage::new();

const AF_INET6: u16 = 10;

/// After a send: the bytes up to `write_seq` are this thread's.
#[btf_tracepoint(function = "sock_send_length")]
pub fn tcp_sent(ctx: BtfTracePointContext) -> i32 {
    let length: i32 = ctx.arg(1);
    if length <= 0 {
        return 0;
    }
    let Some(target) = target() else { return 0 };
    // SAFETY: the socket is a trusted argument.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast();
        if tcp.is_null() {
            return 0;
        }
        let Some(stamp) = WRITERS.get(sk, true) else { return 0 };
        let end: u32 = load(tcp, offset!(tcp_write_seq));
        let (context, _) = context::of_current(target);
        stamp.host_tgid = tgid();
        if stamp.context != context || stamp.end != end.wrapping_sub(length as u32) {
            stamp.start = end.wrapping_sub(length as u32);
            stamp.context = context;
        }
        stamp.end = end;
    }
    0
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmitted(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: socket and packet are trusted arguments; loads go through their types.
    unsafe {
        let sk: *mut c_void = ctx.arg::<*const c_void>(0).cast_mut();
        let Some(stamp) = WRITERS.get(sk, false) else { return 0 };
        let skb: *const c_void = ctx.arg(1);
        let seq: u32 = load(skb, offset!(skb_cb) + offset!(cb_seq));
        let end: u32 = load(skb, offset!(skb_cb) + offset!(cb_end_seq));
        let mut event = Event {
            kind: EVENT_RETRANSMIT,
            host_tgid: stamp.host_tgid,
            at: bpf_ktime_get_ns(),
            family: load(sk, offset!(sk_family)),
            bytes: end.wrapping_sub(seq).min(u16::MAX as u32) as u16,
            ..Event::default()
        };
        // Exact only if all these bytes were written in the last context; older writers are not kept here.
        let after_start = seq.wrapping_sub(stamp.start) as i32 >= 0;
        let before_end = stamp.end.wrapping_sub(end) as i32 >= 0;
        if after_start && before_end && stamp.context.trace != [0; 2] {
            event.context = stamp.context;
            event.ambiguity = 1;
        }
        let local: u16 = load(sk, offset!(sk_num));
        let peer: u16 = load(sk, offset!(sk_dport));
        event.ports = [local, u16::from_be(peer)];
        let base = sk as u64;
        if event.family == AF_INET6 {
            event.local = peek(base + offset!(sk_v6_rcv_saddr) as u64);
            event.peer = peek(base + offset!(sk_v6_daddr) as u64);
        } else {
            let local: [u8; 4] = peek(base + offset!(sk_rcv_saddr) as u64);
            let peer: [u8; 4] = peek(base + offset!(sk_daddr) as u64);
            event.local[..4].copy_from_slice(&local);
            event.peer[..4].copy_from_slice(&peer);
        }
        crate::kernel::count(Counter::Retransmits);
        emit(event, Counter::RetransmitsLost);
    }
    0
}
