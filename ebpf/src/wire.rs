//! Record layouts that the kernel programs and the host share. Plain old data only: `repr(C)`, no padding
//! that carries meaning, native endian, never stored. `docs/reference/wire.md` is the byte table.
//!
//! Invariant: a change here changes both sides at once, because both compile this file.

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $path:literal;)*) => {
        /// Byte offsets of kernel structures, read from the running kernel's BTF when the object is
        /// loaded. The programs hold them as frozen read-only data, so the verifier sees constants.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Offsets {
            /// Structure and member path of each field, in the order of the fields.
            #[cfg(not(target_arch = "bpf"))]
            pub(crate) const SOURCES: &'static [(&'static str, &'static str)] = &[$(($structure, $path),)*];

            /// From values in the order of [`Self::SOURCES`].
            #[cfg(not(target_arch = "bpf"))]
            pub(crate) fn from_values(mut next: impl FnMut(usize) -> u64) -> Self {
                let mut index = 0;
                $(let $field = next(index); index += 1;)*
                debug_assert_eq!(index, Self::SOURCES.len());
                Self { $($field,)* }
            }
        }
    };
}

offsets! {
    /// Base of the thread-local storage (x86-64).
    task_fsbase = "task_struct"."thread.fsbase";
    /// Thread id, initial namespace.
    task_pid = "task_struct"."pid";
    /// Process id, initial namespace.
    task_tgid = "task_struct"."tgid";
    /// `struct pid` of the thread.
    task_thread_pid = "task_struct"."thread_pid";
    /// First thread.
    task_group_leader = "task_struct"."group_leader";
    /// Scheduler state; 0 is runnable.
    task_state = "task_struct"."__state";
    /// Running at this moment.
    task_on_cpu = "task_struct"."on_cpu";
    /// Name.
    task_comm = "task_struct"."comm";
    /// Open files.
    task_files = "task_struct"."files";
    /// Address space.
    task_mm = "task_struct"."mm";
    /// What the threads of a process share.
    task_signal = "task_struct"."signal";
    /// Major faults of the thread.
    task_maj_flt = "task_struct"."maj_flt";
    /// Start, `CLOCK_MONOTONIC`.
    task_start_time = "task_struct"."start_time";
    /// CPU time used, nanoseconds.
    task_runtime = "task_struct"."se.sum_exec_runtime";
    /// Times it went to sleep by itself.
    task_nvcsw = "task_struct"."nvcsw";
    /// Depth of the pid namespace.
    pid_level = "pid"."level";
    /// Numbers per namespace.
    pid_numbers = "pid"."numbers";
    /// Threads that have not exited.
    signal_live = "signal_struct"."live";
    /// Threads.
    signal_nr_threads = "signal_struct"."nr_threads";
    /// Resident pages by kind.
    mm_rss_stat = "mm_struct"."rss_stat";
    /// The central part of a per-CPU counter.
    counter_count = "percpu_counter"."count";
    /// Descriptor table.
    files_fdt = "files_struct"."fdt";
    /// Its size.
    fdt_max_fds = "fdtable"."max_fds";
    /// Its array.
    fdt_fd = "fdtable"."fd";
    /// Kind of file.
    file_f_op = "file"."f_op";
    /// Inode.
    file_f_inode = "file"."f_inode";
    /// Position.
    file_f_pos = "file"."f_pos";
    /// The kind's own data.
    file_private_data = "file"."private_data";
    /// Inode number.
    inode_i_ino = "inode"."i_ino";
    /// Type and permissions.
    inode_i_mode = "inode"."i_mode";
    /// The socket's file.
    socket_file = "socket"."file";
    /// The socket's protocol part.
    socket_sk = "socket"."sk";
    /// Back to the socket.
    sk_socket = "sock"."sk_socket";
    /// IPPROTO_*.
    sk_protocol = "sock"."sk_protocol";
    /// AF_*.
    sk_family = "sock_common"."skc_family";
    /// TCP state.
    sk_state = "sock_common"."skc_state";
    /// Local port, host order.
    sk_num = "sock_common"."skc_num";
    /// Peer's port, network order.
    sk_dport = "sock_common"."skc_dport";
    /// Peer's IPv4 address.
    sk_daddr = "sock_common"."skc_daddr";
    /// Own IPv4 address.
    sk_rcv_saddr = "sock_common"."skc_rcv_saddr";
    /// Peer's IPv6 address.
    sk_v6_daddr = "sock_common"."skc_v6_daddr";
    /// Own IPv6 address.
    sk_v6_rcv_saddr = "sock_common"."skc_v6_rcv_saddr";
    /// Next sequence number to write.
    tcp_write_seq = "tcp_sock"."write_seq";
    /// Bytes received.
    tcp_bytes_received = "tcp_sock"."bytes_received";
    /// Bytes sent.
    tcp_bytes_sent = "tcp_sock"."bytes_sent";
    /// Control block of a packet.
    skb_cb = "sk_buff"."cb";
    /// First sequence number, inside the control block.
    cb_seq = "tcp_skb_cb"."seq";
    /// One past the last.
    cb_end_seq = "tcp_skb_cb"."end_seq";
    /// Events that are ready.
    ep_rdllist = "eventpoll"."rdllist";
    /// User registers: frame pointer.
    regs_bp = "pt_regs"."bp";
    /// Fourth argument of a system call.
    regs_r10 = "pt_regs"."r10";
    /// First argument.
    regs_di = "pt_regs"."di";
    /// Number of the system call; -1 outside of one.
    regs_orig_ax = "pt_regs"."orig_ax";
    /// Instruction pointer.
    regs_ip = "pt_regs"."ip";
    /// Stack pointer.
    regs_sp = "pt_regs"."sp";
}

/// A watched process, by its tgid in the initial pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    /// Where the thread's context pointer lies, relative to the thread pointer; 0: it publishes none.
    pub tls: i64,
    /// The trace in which the process was forked; zero: none.
    pub inherited: [u64; 2],
}

/// What a thread published: the first 24 bytes of the standard's record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// W3C trace id, as bytes in memory order.
    pub trace: [u64; 2],
    /// W3C span id.
    pub span: u64,
}

/// [`FileOrigin::join`]: nothing is known.
pub const JOIN_NONE: u32 = 0;
/// The thread had published the context.
pub const JOIN_THREAD: u32 = 1;
/// Inherited by the process.
pub const JOIN_INHERITED: u32 = 2;

/// [`FileOrigin::via`]: an ordinary way in.
pub const VIA_OPEN: u32 = 1;
/// `accept`, `accept4`.
pub const VIA_ACCEPT: u32 = 2;
/// A server connection older than the probe.
pub const VIA_EXISTING: u32 = 3;

/// Remembered when a file comes in; keyed by the `struct file`'s address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOrigin {
    /// Its inode number: a recycled address has another, or reads unknown.
    pub ino: u64,
    /// When it came in.
    pub made: u64,
    /// In which context.
    pub context: Context,
    /// The server connection that the thread last read from: its `struct file`, 0 for none.
    pub connection: u64,
    /// When that connection was made: together they are its identity.
    pub connection_made: u64,
    /// How the context was found (`JOIN_*`).
    pub join: u32,
    /// How it came in (`VIA_*`).
    pub via: u32,
}

/// One open descriptor, as `iter/task_file` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FdRecord {
    /// Address of the `struct file`.
    pub file: u64,
    /// Its operations, which tell the kind of anonymous inodes.
    pub f_op: u64,
    /// Position in the file.
    pub position: u64,
    /// Inode number.
    pub ino: u64,
    /// For sockets: bytes received and sent, added up.
    pub bytes: u64,
    /// Where it came from; all zero if that was not seen.
    pub origin: FileOrigin,
    /// The descriptor.
    pub fd: u32,
    /// Inode type and permissions.
    pub mode: u32,
    /// For sockets: family, protocol, TCP state, local port; 16 bits each.
    pub socket: [u16; 4],
}

/// Depth of pid namespaces that are told; deeper ones are rare and read as unknown.
pub const LEVELS: usize = 4;

/// One thread, as `iter.s/task` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadRecord {
    /// Thread id and process id, initial namespace.
    pub host: [u32; 2],
    /// Thread id per namespace level.
    pub numbers: [u32; LEVELS],
    /// Process id per namespace level.
    pub leader: [u32; LEVELS],
    /// Depth of its pid namespace.
    pub level: u32,
    /// Scheduler state.
    pub state: u32,
    /// Running at this moment.
    pub on_cpu: u32,
    /// Threads of the process.
    pub threads: u32,
    /// Name.
    pub comm: [u8; 16],
    /// Start of the thread.
    pub started: u64,
    /// CPU time used.
    pub runtime: u64,
    /// Major faults of the thread.
    pub major_faults: u64,
    /// Resident pages of the process: file, anonymous, swapped, shared memory.
    pub rss: [u64; 4],
    /// Times it went to sleep by itself: equal in two looks means that it has not slept and woken between them.
    pub sleeps: u64,
    /// 1: the epoll instance it waited on last has events that nobody has fetched.
    pub ready: u64,
    /// System call it is in; -1 or stale while it runs.
    pub syscall: i64,
    /// What it published.
    pub context: Context,
    /// What it does with event loops.
    pub task: TaskState,
}

/// Kept per thread in task storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskState {
    /// When the present wait began; 0 outside of one.
    pub wait_since: u64,
    /// When the last wait ended.
    pub wait_ended: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Time in waits.
    pub wait_ns: u64,
    /// Time between waits.
    pub busy_ns: u64,
    /// The server connection last read from.
    pub connection: u64,
    /// When that was made.
    pub connection_made: u64,
    /// The epoll descriptor waited on last.
    pub epoll: u64,
}

/// Stack pages that are copied, from the one that holds the stack pointer upwards.
pub const STACK_PAGES: usize = 4;
/// Size of a page.
pub const PAGE: usize = 4096;

/// User registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
}

/// A copied user stack. Copies may hold secrets: they are unwound and dropped at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StackRecord {
    /// Process, initial namespace.
    pub host_tgid: u32,
    /// Pages that could be read.
    pub pages: u32,
    /// For which file; 0: for a thread.
    pub file: u64,
    /// When that file came in.
    pub made: u64,
    /// Where the thread was.
    pub registers: Registers,
    /// The pages, starting at `registers.sp` rounded down.
    pub stack: [[u8; PAGE]; STACK_PAGES],
}

/// [`Event::kind`]: a watched process forked.
pub const EVENT_FORK: u32 = 1;
/// It executed another program.
pub const EVENT_EXEC: u32 = 2;
/// Its last thread ended.
pub const EVENT_EXIT: u32 = 3;
/// Segments were sent again.
pub const EVENT_RETRANSMIT: u32 = 4;

/// A rare event, on the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// `EVENT_*`.
    pub kind: u32,
    /// Process, initial namespace; 0: unknown.
    pub host_tgid: u32,
    /// When.
    pub at: u64,
    /// Fork: the child's id in the initial namespace.
    pub child: u32,
    /// Retransmit: requests that may have written the bytes; 0: unknown.
    pub ambiguity: u32,
    /// Fork: the child's id per namespace level.
    pub numbers: [u32; LEVELS],
    /// Retransmit: the writer's context.
    pub context: Context,
    /// Retransmit: own and peer's address (IPv4 in the first four bytes).
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
    /// Own and peer's port, host order.
    pub ports: [u16; 2],
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// Bytes sent again, at most 65,535.
    pub bytes: u16,
}

/// Rows of the counter table: what was delivered and what was lost, per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Files that came in.
    Files,
    /// Files that could not be remembered (the table refused).
    FilesLost,
    /// Stacks copied.
    Stacks,
    /// Stacks that found the ring full.
    StacksLost,
    /// Retransmits of watched sockets.
    Retransmits,
    /// Retransmits that found the ring full.
    RetransmitsLost,
    /// Waits of event loops.
    Waits,
    /// Waits whose thread could not be remembered.
    WaitsLost,
    /// Forks, execs and exits that found the ring full.
    LifecycleLost,
}

/// Rows of the counter table.
pub const COUNTERS: u32 = 9;
