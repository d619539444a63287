//! What is read of sockets: a connection's addresses, queues and times with every look, the names of Unix sockets
//! when somebody asks.
//!
//! Invariant: only loads that may fail. A socket changes while it is read: each figure was true at some moment of the
//! look.
//! Cost: some fourteen such loads for each internet socket of a target and look, nothing per packet.

use super::{S_IFMT, S_IFSOCK};
use crate::{
    kernel::{TaskFile, field, is_there, load, offset, peek, targets},
    wire::{ConnectionRecord, UNIX_NAME, UnixRecord, peer_v4, peer_v6},
};
use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_jiffies64, bpf_probe_read_kernel, bpf_seq_write},
};
use core::{ffi::c_void, ptr::read_volatile};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Reads as many bytes as there is room; leaves zeros if they cannot be read.
#[inline(always)]
fn read<const N: usize>(into: &mut [u8; N], from: u64) {
    // SAFETY: the room is as large as told; the helper checks the kernel address.
    unsafe { bpf_probe_read_kernel(into.as_mut_ptr().cast(), N as u32, from as *const c_void) };
}

/// To whom a socket is connected, as a number: equal for equal peers; 0 if to nobody.
#[inline(always)]
pub fn peer(sk: u64, family: u16) -> u64 {
    match family {
        AF_INET | AF_INET6 => {
            let port: u16 = field!(sk, sk_dport);
            if family == AF_INET {
                peer_v4(field!(sk, sk_daddr), port)
            } else {
                let address = sk + offset!(sk_v6_daddr) as u64;
                peer_v6([peek(address), peek(address + 8)], port)
            }
        }
        // The name's place: whoever listens shares it with the connections made to it.
        AF_UNIX => {
            let other: u64 = field!(sk, unix_peer);
            // As a number: what a typed load brings is a pointer, which cannot be reckoned with.
            if other == 0 { 0 } else { peek(other + offset!(unix_addr) as u64) }
        }
        _ => 0,
    }
}

/// Writes the second part of an internet socket's record; `socket` is that of its [`FdRecord`](crate::wire::FdRecord).
/// A function of its own in the kernel too, for the room on its stack.
///
/// # Safety
/// `seq` must be the iterator's own.
#[inline(never)]
pub unsafe fn write_connection(seq: *mut c_void, sk: u64, family: u16, is_tcp: bool) -> i32 {
    let port: u16 = field!(sk, sk_dport);
    let mut record = ConnectionRecord { peer_port: u16::from_be(port), ..ConnectionRecord::default() };
    if family == AF_INET6 {
        read(&mut record.local, sk + offset!(sk_v6_rcv_saddr) as u64);
        read(&mut record.peer, sk + offset!(sk_v6_daddr) as u64);
    } else {
        // Only the first four are read: what follows is something else.
        let words: [u32; 2] = [field!(sk, sk_rcv_saddr), field!(sk, sk_daddr)];
        // SAFETY: both are sixteen bytes of plain data, aligned as the record is.
        unsafe {
            record.local.as_mut_ptr().cast::<u32>().write(words[0]);
            record.peer.as_mut_ptr().cast::<u32>().write(words[1]);
        }
    }
    // A member that a kernel lacks would read as zero, which is a time long ago.
    let times = [offset!(tcp_lsndtime), offset!(icsk_lrcvtime), offset!(tcp_rcv_tstamp)];
    let numbers = [offset!(tcp_snd_una), offset!(tcp_write_seq), offset!(tcp_copied_seq), offset!(tcp_rcv_nxt)];
    if is_tcp && times.iter().chain(&numbers).all(|offset| is_there(*offset)) {
        // SAFETY: no arguments, always valid.
        let jiffies = unsafe {
            record.now = bpf_ktime_get_ns();
            bpf_jiffies64() as u32
        };
        record.since_sent = jiffies.wrapping_sub(field!(sk, tcp_lsndtime));
        record.since_received = jiffies.wrapping_sub(field!(sk, icsk_lrcvtime));
        record.since_heard = jiffies.wrapping_sub(field!(sk, tcp_rcv_tstamp));
        record.acknowledged = field!(sk, tcp_snd_una);
        let written: u32 = field!(sk, tcp_write_seq);
        record.unsent = written.wrapping_sub(record.acknowledged);
        record.copied = field!(sk, tcp_copied_seq);
        let received: u32 = field!(sk, tcp_rcv_nxt);
        record.unread = received.wrapping_sub(record.copied);
        record.window = field!(sk, tcp_snd_wnd);
        record.resent = field!(sk, icsk_retransmits);
        record.probed = field!(sk, icsk_probes_out);
    }
    // SAFETY: the caller's promise; the record lies on this stack.
    unsafe { bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<ConnectionRecord>() as u32) as i32 }
}

/// A name with its length, without the family in front of it.
#[inline(always)]
fn name(sk: u64, into: &mut [u8; UNIX_NAME]) -> u16 {
    let address: u64 = field!(sk, unix_addr);
    if address == 0 {
        return 0;
    }
    let length: u32 = field!(address, unix_name_len);
    let length = length.saturating_sub(2);
    if length == 0 || length >= UNIX_NAME as u32 {
        return 0;
    }
    // The verifier does not follow the comparison above as it is compiled; a mask it believes.
    // SAFETY: a local variable; volatile, or the compiler would drop the mask.
    let length = unsafe { read_volatile(&raw const length) } & (UNIX_NAME as u32 - 1);
    // The address has as many bytes as the name needs: read no more of it.
    // SAFETY: the mask holds the length to the size of the room; the helper checks the kernel address.
    let failed = unsafe {
        let from = address + offset!(unix_name) as u64 + 2;
        bpf_probe_read_kernel(into.as_mut_ptr().cast(), length, from as *const c_void)
    };
    if failed == 0 { length as u16 } else { 0 }
}

/// The Unix sockets among the descriptors of one process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn unix_list(ctx: *const TaskFile) -> i32 {
    // SAFETY: the context and what it points to are trusted; null marks the end.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        let file = read_volatile(&raw const (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        if targets::get(load::<u32>(task, offset!(task_tgid))).is_none() {
            return 0;
        }
        let inode: *const c_void = load(file, offset!(file_f_inode));
        let mode: u16 = load(inode, offset!(inode_i_mode));
        if mode & S_IFMT != S_IFSOCK {
            return 0;
        }
        let socket: u64 = load(file, offset!(file_private_data));
        let sk: u64 = field!(socket, socket_sk);
        let family: u16 = field!(sk, sk_family);
        if family != AF_UNIX {
            return 0;
        }
        let mut record = UnixRecord {
            fd: read_volatile(&raw const (*ctx).fd),
            own_length: 0,
            peer_length: 0,
            peer_ino: 0,
            own: [0; UNIX_NAME],
            peer: [0; UNIX_NAME],
        };
        record.own_length = name(sk, &mut record.own);
        let peer: u64 = field!(sk, unix_peer);
        if peer != 0 {
            record.peer_length = name(peer, &mut record.peer);
            let socket: u64 = field!(peer, sk_socket);
            let file: u64 = field!(socket, socket_file);
            let inode: u64 = field!(file, file_f_inode);
            record.peer_ino = field!(inode, inode_i_ino);
        }
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<UnixRecord>() as u32);
    }
    0
}
