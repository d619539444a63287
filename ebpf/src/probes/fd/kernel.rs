//! Ways in: remember whose a file is, by its `struct file`. Which files are open is read, not mirrored:
//! the iterator tells it, so dup, fork, exec, SCM_RIGHTS and close need no hook.

use crate::{
    kernel::{
        TaskFile, Watched, count, divisor, field, file_of, holder, load, offset, origin as origins, sampled, stack,
        storage::TASKS, targets, watched,
    },
    probes::dns,
    wire::{
        ALONE, ConnectionRecord, Counter, FdRecord, FileOrigin, SAMPLE_CONNECTIONS, SAMPLE_FD, TaskState, VIA_ACCEPT,
        VIA_EXISTING, VIA_OPEN, short_peer,
    },
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user, generated::bpf_seq_write},
    macros::{btf_tracepoint, map, tracepoint},
    maps::{HashMap, LruHashMap},
    programs::{BtfTracePointContext, TracePointContext},
};
use core::{ffi::c_void, ptr::read_volatile};

#[path = "sockets.rs"]
mod sockets;

/// Origins by `struct file`. The iterator looks every open file up, so the ones evicted are closed ones.
#[map]
static FILES: LruHashMap<u64, Kept> = LruHashMap::with_max_entries(65536, 0);

/// An origin, and of which file; odd in its turn while it is being written.
#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    of: u64,
    turn: u64,
    origin: FileOrigin,
}

/// Ports on which targets listen: a connection on one of them serves requests.
#[map]
static PORTS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// Remembers where a file came from. The kernel gives addresses out again and again, so mostly there is an entry for
/// it, and writing over that is less work than making another one. Should the table give it to another file
/// meanwhile, `of` tells that one's readers, who then know nothing of it.
#[inline(always)]
fn keep(file: u64, origin: FileOrigin) -> bool {
    let Some(known) = FILES.get_ptr_mut(file) else {
        return FILES.insert(file, Kept { of: file, turn: 0, origin }, 0).is_ok();
    };
    // SAFETY: the entry stays readable and writable until this program ends; only its own words are touched.
    unsafe {
        let turn = (&raw const (*known).turn).read_volatile();
        (&raw mut (*known).turn).write_volatile(turn | 1);
        (&raw mut (*known).of).write_volatile(file);
        (&raw mut (*known).origin).write_volatile(origin);
        (&raw mut (*known).turn).write_volatile((turn | 1).wrapping_add(1));
    }
    true
}

/// What is remembered of a file; nothing while it is being written.
#[inline(always)]
fn kept(file: u64) -> Option<FileOrigin> {
    let known = FILES.get_ptr(file)?;
    // SAFETY: as above.
    unsafe {
        let before = (&raw const (*known).turn).read_volatile();
        let origin = (&raw const (*known).origin).read_volatile();
        let of = (&raw const (*known).of).read_volatile();
        let after = (&raw const (*known).turn).read_volatile();
        (before & 1 == 0 && before == after && of == file).then_some(origin)
    }
}

/// Whether a thread has taken a request from a connection, and nobody has written to that since.
/// Every address is read with a check.
#[inline(always)]
pub fn owes(task: &TaskState) -> bool {
    if task.connection == 0 {
        return false;
    }
    let Some(origin) = kept(task.connection) else { return false };
    let socket: u64 = field!(task.connection, file_private_data);
    let sk: u64 = field!(socket, socket_sk);
    let written: u32 = field!(sk, tcp_write_seq);
    let is_same = origin.made == task.connection_made && (origin.exchange ^ task.exchange as u32) & !ALONE == 0;
    is_same && written == origin.written
}

/// What the exit of a system call returned.
#[inline(always)]
fn returned(ctx: &TracePointContext) -> i64 {
    // SAFETY: `ret` lies at this offset in every sys_exit record.
    unsafe { read_volatile(ctx.as_ptr().cast::<u8>().add(16).cast()) }
}

#[inline(always)]
fn remember(thread: Watched, fd: i64, via: u16) {
    // SAFETY: the thread's task is trusted.
    let file = unsafe { file_of(thread.task.cast(), fd as u32) };
    if file == 0 {
        return;
    }
    let (origin, is_whole) = origin(thread, via);
    note(file, origin);
    if is_whole {
        thread.copy_stack([file, 0], origin.made);
    }
}

/// Where what this thread makes now comes from, but for which file it is; and whether its owner is part of that.
#[inline(always)]
fn origin(thread: Watched, via: u16) -> (FileOrigin, bool) {
    // SAFETY: always allowed.
    let made = unsafe { bpf_ktime_get_ns() };
    let mut origin = FileOrigin { made, via, ..FileOrigin::default() };
    // SAFETY: the thread's task is trusted.
    origin.maker = unsafe { load(thread.task.cast(), offset!(task_pid)) };
    // Over the budget only some learn their owner; when and where from is remembered of all, or a recycled address
    // would read as what it was before.
    let is_whole = via == VIA_OPEN && sampled(SAMPLE_FD);
    if is_whole {
        // A connection belongs to whom it will serve, not to the thread that happened to accept it.
        let mut state = thread.state();
        let (context, join) = origins::of_current(state.as_deref_mut(), thread.target());
        (origin.context, origin.join) = (context, join as u16);
        if let Some(task) = state {
            origin.connection = task.connection;
            origin.connection_made = task.connection_made;
            (origin.exchange, origin.written) = (task.exchange as u32, (task.exchange >> 32) as u32);
        }
    }
    (origin, is_whole)
}

#[inline(always)]
fn note(file: u64, mut origin: FileOrigin) {
    let inode: u64 = field!(file, file_f_inode);
    origin.ino = field!(inode, inode_i_ino);
    count(if keep(file, origin) { Counter::Files } else { Counter::FilesLost });
}

/// A call has returned a descriptor, or an error.
#[inline(always)]
fn came_in(ctx: &TracePointContext, via: u16) {
    let fd = returned(ctx);
    if fd >= 0
        && let Some(thread) = watched()
    {
        remember(thread, fd, via);
    }
}

/// At the exit of every call that returns one new descriptor.
#[tracepoint]
pub fn fd_opened(ctx: TracePointContext) -> u32 {
    came_in(&ctx, VIA_OPEN);
    0
}

/// At the exit of accept and accept4.
#[tracepoint]
pub fn fd_accepted(ctx: TracePointContext) -> u32 {
    came_in(&ctx, VIA_ACCEPT);
    0
}

/// At the exit of pipe, pipe2 and socketpair: two descriptors in user memory, by the first argument or the fourth.
#[tracepoint]
pub fn fd_paired(ctx: TracePointContext) -> u32 {
    if returned(&ctx) != 0 {
        return 0;
    }
    let Some(thread) = watched() else { return 0 };
    // SAFETY: the call's number lies at this offset in every sys_exit record; typed registers; the helper checks the user
    // address.
    unsafe {
        let call: i32 = read_volatile(ctx.as_ptr().cast::<u8>().add(8).cast());
        let registers = stack::registers();
        let (first, fourth): (u64, u64) = (load(registers, offset!(regs_di)), load(registers, offset!(regs_r10)));
        let pointer = if call == SOCKETPAIR { fourth } else { first };
        let Ok(fds) = bpf_probe_read_user(pointer as *const [i32; 2]) else { return 0 };
        let files = fds.map(|fd| file_of(thread.task.cast(), fd as u32));
        // Both were made at once, by the same.
        let (origin, is_whole) = origin(thread, VIA_OPEN);
        for file in files {
            if file != 0 {
                note(file, origin);
            }
        }
        let things = if files[0] == 0 { [files[1], 0] } else { files };
        if is_whole && things[0] != 0 {
            thread.copy_stack(things, origin.made);
        }
    }
    0
}

/// A thread read from a socket: if it serves requests, what the thread opens next is for that connection.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn fd_received(ctx: BtfTracePointContext) -> i32 {
    let length: i32 = ctx.arg(1);
    if length <= 0 && !dns::is_unreachable(length) {
        return 0;
    }
    let Some(thread) = watched() else { return 0 };
    // SAFETY: the socket is a trusted argument; the loads go through typed pointers.
    unsafe {
        let sk: *const c_void = ctx.arg(0);
        if dns::is_asked(sk) {
            dns::answered(sk.cast_mut(), thread, length);
            return 0;
        }
        if length <= 0 {
            return 0;
        }
        holder::took(sk.cast_mut());
        let socket: *const c_void = load(sk, offset!(sk_socket));
        if socket.is_null() {
            return 0;
        }
        let file: u64 = load(socket, offset!(socket_file));
        let written: u32 = field!(sk, tcp_write_seq);
        let known = FILES.get_ptr_mut(file).filter(|known| (**known).of == file);
        let (made, exchange) = match known.map(|known| &raw mut (*known).origin) {
            Some(origin) if (*origin).via == VIA_OPEN => return 0,
            Some(origin) => {
                // What was written since the last read answered that: now another exchange begins.
                if (*origin).exchange == 0 || (*origin).written != written {
                    (*origin).exchange = (*origin).exchange.wrapping_add(1) & !ALONE;
                    (*origin).written = written;
                }
                ((*origin).made, (*origin).exchange)
            }
            None => {
                let port: u16 = load(sk, offset!(sk_num));
                if PORTS.get(port as u32).is_none() {
                    return 0;
                }
                let inode: u64 = field!(file, file_f_inode);
                let ino = field!(inode, inode_i_ino);
                let made = bpf_ktime_get_ns();
                let origin = FileOrigin { ino, made, via: VIA_EXISTING, exchange: 1, written, ..FileOrigin::default() };
                if !keep(file, origin) {
                    count(Counter::FilesLost);
                    return 0;
                }
                (made, 1)
            }
        };
        if let Some(task) = TASKS.get(thread.task, true) {
            if task.connection == file && task.connection_made == made {
                task.exchange = task.exchange & (!0 << 32 | ALONE as u64) | exchange as u64;
                return 0;
            }
            let alone = if task.connection == 0 && task.origin.made > made { ALONE } else { 0 };
            thread.serves();
            let family: u16 = load(sk, offset!(sk_family));
            let peer = short_peer(sockets::peer(sk as u64, family));
            task.connection = file;
            task.connection_made = made;
            task.exchange = (peer as u64) << 32 | (exchange | alone) as u64;
        }
    }
    0
}

/// At the exit of signalfd and signalfd4: given a descriptor they change that one, which stays what it was.
#[tracepoint]
pub fn fd_signalled(ctx: TracePointContext) -> u32 {
    let Some(thread) = watched() else { return 0 };
    // SAFETY: typed registers.
    let given: u64 = unsafe { load(stack::registers(), offset!(regs_di)) };
    if given as i32 == -1 && returned(&ctx) >= 0 {
        remember(thread, returned(&ctx), VIA_OPEN);
    }
    0
}

/// The system call's number on x86-64.
const SOCKETPAIR: i32 = 53;

pub const S_IFMT: u16 = 0o170_000;
pub const S_IFSOCK: u16 = 0o140_000;
const S_IFIFO: u16 = 0o010_000;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const TCP_LISTEN: u16 = 10;

/// Every open descriptor of one process (the host passes its pid when it opens the iterator).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn fd_list(ctx: *const TaskFile) -> i32 {
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
        let mut record = FdRecord {
            file: file as u64,
            f_op: load(file, offset!(file_f_op)),
            position: load(file, offset!(file_f_pos)),
            ino: load(inode, offset!(inode_i_ino)),
            sb: load(inode, offset!(inode_i_sb)),
            fd: read_volatile(&raw const (*ctx).fd),
            mode: load(inode, offset!(inode_i_mode)),
            links: load(inode, offset!(inode_i_nlink)),
            file_mode: load(file, offset!(file_f_mode)),
            ..FdRecord::default()
        };
        if let Some(origin) = kept(record.file)
            && origin.ino == record.ino
        {
            record.origin = origin;
        }
        let private: u64 = load(file, offset!(file_private_data));
        let mut internet = 0;
        if record.mode & S_IFMT == S_IFIFO {
            let written: u32 = field!(private, pipe_head);
            let read: u32 = field!(private, pipe_tail);
            record.mark = (written as u64) << 32 | read as u64;
        } else if record.mode & S_IFMT != S_IFSOCK {
            // The host knows which are eventfds; of others this is any word or none, and is not used.
            record.mark = field!(private, eventfd_count);
        } else {
            let socket = private;
            let sk: u64 = field!(socket, socket_sk);
            let protocol: u16 = field!(sk, sk_protocol);
            let state: u8 = field!(sk, sk_state);
            let family: u16 = field!(sk, sk_family);
            record.socket = [family, protocol, state as u16, field!(sk, sk_num)];
            if protocol == IPPROTO_TCP {
                let received: u64 = field!(sk, tcp_bytes_received);
                let sent: u64 = field!(sk, tcp_bytes_sent);
                record.bytes = received.wrapping_add(sent);
            }
            record.peer = sockets::peer(sk, family);
            if (family == AF_INET || family == AF_INET6) && divisor(SAMPLE_CONNECTIONS) <= 1 {
                internet = sk;
                record.tail = size_of::<ConnectionRecord>() as u16;
            }
        }
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<FdRecord>() as u32);
        if internet != 0 {
            // Should the buffer be full now, the kernel takes both back and comes again.
            // Of multipath TCP the parts know, to which nothing leads from here; who listens has no connection.
            let [family, protocol, state, _] = record.socket;
            sockets::write_connection(seq, internet, family, protocol == IPPROTO_TCP && state != TCP_LISTEN);
        }
    }
    0
}
