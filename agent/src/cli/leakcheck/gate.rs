//! Starting the command, and holding each of its processes for a moment when it is about to end.
//!
//! A seccomp filter, which children inherit, hands `exit_group` to us before the kernel does it: the process is
//! still whole then, and cannot be missed however short it lived. Everything else passes. Unlike ptrace it leaves
//! debuggers and sanitizers alone. Who is killed by a signal does not pass here.
//! Cost: an end waits for one look; other system calls pass by the kernel's own cache of what a filter allows.
//! Needs Linux 5.5. Without CAP_SYS_ADMIN the command runs with `no_new_privs` (so no setuid programs in it).

use snowshed_engine::model::Pid;
use std::{
    ffi::{CString, OsString},
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt as _,
    },
    ptr::{null, null_mut},
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// Signals do not disturb the wait, fatal ones excepted (since 5.19).
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
/// `_IOWR('!', 0, struct seccomp_notif)`, `_IOWR('!', 1, struct seccomp_notif_resp)`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const ANSWER: libc::c_ulong = 0xc018_2101;
/// "Go on as if nobody had looked."
const CONTINUE: u32 = 1;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

#[repr(C)]
struct Notice {
    id: u64,
    tid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    ip: u64,
    arguments: [u64; 6],
}

#[repr(C)]
struct Reply {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// The command, before its first instruction.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pid: Pid,
    /// Where its processes are held.
    pub(super) gate: Gate,
    socket: OwnedFd,
}

/// Processes that are about to end wait here.
#[derive(Debug)]
pub(super) struct Gate(OwnedFd);

/// A process that is about to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    id: u64,
    /// The thread that ends it.
    pub(super) tid: Pid,
}

/// The command's pid, for the handler that passes SIGTERM on.
static COMMAND: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let pid = COMMAND.load(Ordering::Relaxed);
    if pid > 0 {
        // SAFETY: kill takes numbers and may be called from a handler.
        unsafe { libc::kill(pid, signal) };
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Waiting {
    /// Forks; the child waits before it executes the command. With `quiet` its standard output is standard error.
    /// The caller must have one thread only.
    ///
    /// # Errors
    /// No such process can be made here, or the kernel refuses the filter.
    pub(super) fn fork(command: &[OsString], quiet: bool) -> io::Result<Self> {
        let words = command.iter().map(|word| CString::new(word.clone().into_vec()));
        let words: Vec<CString> = words.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let mut arguments: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
        arguments.push(null());
        let mut pair = [0; 2];
        // SAFETY: room for two descriptors; the subreaper flag takes numbers.
        unsafe {
            checked(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()))?;
            // What the command leaves behind becomes our child, so that nothing escapes.
            checked(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))?;
        }
        // SAFETY: just made, owned by nobody else.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) };
        // SAFETY: there is one thread, so the child may do what it likes; it ends in exec or _exit.
        let pid = checked(unsafe { libc::fork() })?;
        if pid == 0 {
            // SAFETY: we are that child; the arguments outlive the call and end with null.
            unsafe { become_command(&arguments, theirs.as_raw_fd(), quiet) }
        }
        drop(theirs);
        let listener = receive(ours.as_raw_fd()).inspect_err(|_| reap(pid))?;
        COMMAND.store(pid, Ordering::Relaxed);
        // SAFETY: the handler only calls kill. A terminal's Ctrl-C reaches the command by itself: we stay to report.
        unsafe {
            for signal in [libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, pass_on as *const () as libc::sighandler_t);
            }
            for signal in [libc::SIGINT, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
        Ok(Self { pid: pid.unsigned_abs(), gate: Gate(listener), socket: ours })
    }

    /// Lets it execute the command; gives the gate at which its processes will be held.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn start(self) -> io::Result<Gate> {
        // SAFETY: one byte of a constant.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), c"".as_ptr().cast(), 1, libc::MSG_NOSIGNAL) };
        if sent == 1 { Ok(self.gate) } else { Err(io::Error::last_os_error()) }
    }
}

/// Waits for a child that is of no more use.
fn reap(pid: libc::pid_t) {
    // SAFETY: our own child; a null status is allowed.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, null_mut(), 0);
    }
}

/// In the child: install the filter, hand over its listener, wait, execute.
///
/// # Safety
/// Only in a fresh child, with pointers that end with null.
unsafe fn become_command(arguments: &[*const libc::c_char], socket: RawFd, quiet: bool) -> ! {
    // SAFETY: plain calls; nothing is allocated between fork and exec.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if quiet {
            libc::dup2(2, 1);
        }
        let listener = install();
        let sent = if listener >= 0 { send(socket, listener) } else { report(socket) };
        if !sent || listener < 0 {
            libc::_exit(125);
        }
        libc::close(listener);
        let mut go = 0_u8;
        if libc::recv(socket, (&raw mut go).cast(), 1, 0) != 1 {
            libc::raise(libc::SIGKILL);
        }
        libc::execvp(arguments[0], arguments.as_ptr());
        // As `env` does: 127 is not found, 126 is found and not executable.
        let code = if *libc::__errno_location() == libc::ENOENT { 127 } else { 126 };
        libc::perror(arguments[0]);
        libc::_exit(code)
    }
}

/// The filter: `exit_group` of this architecture is handed over, everything else is allowed.
unsafe fn install() -> RawFd {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let mut steps = [
        step(LOAD, 0, 0, 4),
        step(EQUAL, 0, 3, ARCHITECTURE),
        step(LOAD, 0, 0, 0),
        step(EQUAL, 0, 1, libc::SYS_exit_group as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    let try_with = |flags: libc::c_ulong| {
        // SAFETY: the program lives on this stack for the length of the call.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) as RawFd }
    };
    let install = || match try_with(NEW_LISTENER | WAIT_KILLABLE) {
        // SAFETY: errno of this thread.
        -1 if unsafe { *libc::__errno_location() } == libc::EINVAL => try_with(NEW_LISTENER),
        listener => listener,
    };
    match install() {
        // SAFETY: as above; prctl takes numbers.
        -1 if unsafe { *libc::__errno_location() } == libc::EACCES => {
            // SAFETY: as above.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            install()
        }
        listener => listener,
    }
}

/// Room for one descriptor beside a message.
#[repr(C, align(8))]
struct Ancillary([u8; 32]);

/// A message of four bytes (an error number) with room for one descriptor.
fn message(errno: &mut i32, part: &mut libc::iovec, beside: &mut Ancillary) -> libc::msghdr {
    *part = libc::iovec { iov_base: std::ptr::from_mut(errno).cast(), iov_len: 4 };
    // SAFETY: all zero is an empty message.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = beside.0.as_mut_ptr().cast();
    // SAFETY: only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    message
}

fn send(socket: RawFd, fd: RawFd) -> bool {
    let (mut none, mut beside) = (0, Ancillary([0; 32]));
    let mut part = libc::iovec { iov_base: null_mut(), iov_len: 0 };
    let message = message(&mut none, &mut part, &mut beside);
    // SAFETY: the header lies in `beside`, which has room for it and the descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) == 4
    }
}

/// Tells the parent why there is no filter.
fn report(socket: RawFd) -> bool {
    // SAFETY: errno of this thread, four bytes.
    unsafe { libc::send(socket, libc::__errno_location().cast(), 4, libc::MSG_NOSIGNAL) == 4 }
}

fn receive(socket: RawFd) -> io::Result<OwnedFd> {
    let (mut errno, mut beside) = (0, Ancillary([0; 32]));
    let mut part = libc::iovec { iov_base: null_mut(), iov_len: 0 };
    let mut message = message(&mut errno, &mut part, &mut beside);
    // SAFETY: everything that the message points to lives on this stack.
    unsafe {
        if libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) != 4 {
            return Err(io::Error::other("the child ended before it began"));
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}

impl Gate {
    /// Waits at most this long for a process that is about to end.
    pub(super) fn next(&self, timeout: Duration) -> Option<Ending> {
        let mut entry = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid entry; the notice is as large as the request says, and zeroed as the kernel wants it.
        unsafe {
            if libc::poll(&raw mut entry, 1, millis) != 1 {
                return None;
            }
            if entry.revents & libc::POLLIN == 0 {
                // Nobody is left who could come here; poll would say so at once and for ever.
                std::thread::sleep(timeout);
                return None;
            }
            const { assert!(size_of::<Notice>() == 80 && size_of::<Reply>() == 24) };
            let mut notice: Notice = zeroed();
            // Who was killed meanwhile has left the queue: then there is nothing to receive.
            (libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut notice) == 0)
                .then_some(Ending { id: notice.id, tid: notice.tid })
        }
    }

    /// Lets it end. It may be gone already, killed.
    pub(super) fn let_go(&self, ending: Ending) {
        let reply = Reply { id: ending.id, value: 0, error: 0, flags: CONTINUE };
        // SAFETY: the reply is as large as the request says.
        unsafe { libc::ioctl(self.0.as_raw_fd(), ANSWER, &raw const reply) };
    }
}
