//! Where the running kernel keeps what the programs read.

/// The number that stands for `bpf_rdonly_cast` in the object: the host puts the kernel's own in its place.
pub const CAST: u32 = 0x534e_4f57;

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
    /// Scheduler state; 0 is runnable. (`state` before 5.14.)
    task_state = "task_struct"."__state|state";
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
    /// Time it was runnable and did not run (with `CONFIG_SCHED_INFO`).
    task_run_delay = "task_struct"."sched_info.run_delay";
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
    /// Resident pages of files: the central part of a per-CPU counter (before 6.2 one of four plain counters).
    mm_rss_file = "mm_struct"."rss_stat.0.count|rss_stat.count.0";
    /// Anonymous ones.
    mm_rss_anon = "mm_struct"."rss_stat.1.count|rss_stat.count.1";
    /// Swapped ones.
    mm_rss_swap = "mm_struct"."rss_stat.2.count|rss_stat.count.2";
    /// Of shared memory.
    mm_rss_shmem = "mm_struct"."rss_stat.3.count|rss_stat.count.3";
    /// Where the first thread's stack begins: above it lie arguments and environment.
    mm_start_stack = "mm_struct"."start_stack";
    /// Descriptor table.
    files_fdt = "files_struct"."fdt";
    /// Its size.
    fdt_max_fds = "fdtable"."max_fds";
    /// Its array.
    fdt_fd = "fdtable"."fd";
    /// A list's first word: a pointer.
    list_next = "list_head"."next";
    /// Kind of file.
    file_f_op = "file"."f_op";
    /// How it was opened.
    file_f_mode = "file"."f_mode";
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
    /// Names.
    inode_i_nlink = "inode"."i_nlink";
    /// File system.
    inode_i_sb = "inode"."i_sb";
    /// Buffers written to a pipe.
    pipe_head = "pipe_inode_info"."head";
    /// Buffers read from it.
    pipe_tail = "pipe_inode_info"."tail";
    /// An eventfd's counter.
    eventfd_count = "eventfd_ctx"."count";
    /// The socket's file.
    socket_file = "socket"."file";
    /// The socket's protocol part.
    socket_sk = "socket"."sk";
    /// Back to the socket.
    sk_socket = "sock"."sk_socket";
    /// Packets that nobody has read.
    sk_unread = "sock"."sk_receive_queue.qlen";
    /// Connections that nobody has accepted.
    sk_backlog = "sock"."sk_ack_backlog";
    /// How many they may be.
    sk_max_backlog = "sock"."sk_max_ack_backlog";
    /// Dropped by a listener.
    sk_drops = "sock"."sk_drops";
    /// The error that the next call will return.
    sk_err = "sock"."sk_err";
    /// Own port, network order; it stays when the socket gives the port back.
    inet_sport = "inet_sock"."inet_sport";
    /// A multipath socket's first part.
    mptcp_first = "mptcp_sock"."first";
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
    /// First byte that is not acknowledged.
    tcp_snd_una = "tcp_sock"."snd_una";
    /// Next byte to arrive; a FIN counts as one.
    tcp_rcv_nxt = "tcp_sock"."rcv_nxt";
    /// Next byte that the process will read.
    tcp_copied_seq = "tcp_sock"."copied_seq";
    /// Room that the peer offers.
    tcp_snd_wnd = "tcp_sock"."snd_wnd";
    /// When data was last sent, jiffies.
    tcp_lsndtime = "tcp_sock"."lsndtime";
    /// When the peer last acknowledged anything, jiffies.
    tcp_rcv_tstamp = "tcp_sock"."rcv_tstamp";
    /// When data was last received, jiffies.
    icsk_lrcvtime = "inet_connection_sock"."icsk_ack.lrcvtime";
    /// Times that the first unacknowledged packet was sent again.
    icsk_retransmits = "inet_connection_sock"."icsk_retransmits";
    /// Times that a peer without room was asked.
    icsk_probes_out = "inet_connection_sock"."icsk_probes_out";
    /// A Unix socket's name.
    unix_addr = "unix_sock"."addr";
    /// Its peer.
    unix_peer = "unix_sock"."peer";
    /// Length of a name, its family included.
    unix_name_len = "unix_address"."len";
    /// The name, after its family.
    unix_name = "unix_address"."name";
    /// Bytes received.
    tcp_bytes_received = "tcp_sock"."bytes_received";
    /// Bytes sent.
    tcp_bytes_sent = "tcp_sock"."bytes_sent";
    /// Segments sent.
    tcp_segs_out = "tcp_sock"."segs_out";
    /// Segments with data sent.
    tcp_data_segs_out = "tcp_sock"."data_segs_out";
    /// Segments sent again.
    tcp_total_retrans = "tcp_sock"."total_retrans";
    /// Smoothed round trip.
    tcp_srtt = "tcp_sock"."srtt_us";
    /// Least round trip of late: the value of the filter's best sample.
    tcp_rtt_min = "tcp_sock"."rtt_min.s.0.v";
    /// The window that the peer was given.
    tcp_rcv_wnd = "tcp_sock"."rcv_wnd";
    /// Window probes without an answer.
    csk_probes_out = "inet_connection_sock"."icsk_probes_out";
    /// Control block of a packet.
    skb_cb = "sk_buff"."cb";
    /// First sequence number, inside the control block.
    cb_seq = "tcp_skb_cb"."seq";
    /// One past the last.
    cb_end_seq = "tcp_skb_cb"."end_seq";
    /// Its TCP flags.
    cb_tcp_flags = "tcp_skb_cb"."tcp_flags";
    /// Segments that it is cut into.
    cb_gso_segs = "tcp_skb_cb"."tcp_gso_segs";
    /// Only asked whether it is there: since 6.16 the tracepoint also tells of retransmits that failed, with the error.
    retransmit_error = "trace_event_raw_tcp_retransmit_skb"."err";
    /// Events that are ready.
    ep_rdllist = "eventpoll"."rdllist";
    /// The shared rings of an io_uring.
    ring_rings = "io_ring_ctx"."rings";
    /// Completions: fetched up to here.
    rings_cq_head = "io_rings"."cq.head";
    /// And added up to here.
    rings_cq_tail = "io_rings"."cq.tail";
    /// User registers: frame pointer.
    regs_bp = "pt_regs"."bp";
    /// Fourth argument of a system call.
    regs_r10 = "pt_regs"."r10";
    /// Third argument.
    regs_dx = "pt_regs"."dx";
    /// First argument.
    regs_di = "pt_regs"."di";
    /// Second argument.
    regs_si = "pt_regs"."si";
    /// Number of the system call; -1 outside of one.
    regs_orig_ax = "pt_regs"."orig_ax";
    /// Instruction pointer.
    regs_ip = "pt_regs"."ip";
    /// Stack pointer.
    regs_sp = "pt_regs"."sp";
}
