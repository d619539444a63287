//! What a hook adds to a call, measured here when it is attached: a cheap call that passes it is timed in this
//! thread, without the hook and with it.
//!
//! The figure is the least of several rounds: what the machine does besides can only add. Anything that other
//! observers of the machine cost is in both, so only the own hooks are told.
//! Cost: some hundred calls per action, a few milliseconds at the start and nothing after it.

use super::clock;
use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// Calls of a round. A socket takes this many bytes of one call each without waiting.
const CALLS: usize = 100;
/// Rounds of which the least counts.
const ROUNDS: usize = 16;

/// A call that can be repeated cheaply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// A system call that no probe hooks.
    Unhooked,
    /// A descriptor that comes and goes.
    Open,
    /// A look at an event loop without waiting.
    Wait,
    /// A wake-up that nobody waits for.
    Wake,
    /// A read of an empty socket.
    Receive,
    /// A byte to a local socket.
    Send,
    /// A byte to a connection of this machine.
    SendTcp,
    /// The first touch of a page.
    Fault,
}

impl Action {
    const ALL: [Self; 8] =
        [Self::Unhooked, Self::Open, Self::Wait, Self::Wake, Self::Receive, Self::Send, Self::SendTcp, Self::Fault];

    /// What passes this tracepoint once.
    pub(crate) fn of(tracepoint: &str) -> Option<Self> {
        Some(match tracepoint {
            "sys_enter_eventfd2" | "sys_exit_eventfd2" => Self::Open,
            "sys_enter_epoll_wait" | "sys_exit_epoll_wait" => Self::Wait,
            "sys_enter_futex" | "sys_exit_futex" => Self::Wake,
            "sock_recv_length" => Self::Receive,
            "sock_send_length" => Self::Send,
            "page_fault_user" | "rss_stat" => Self::Fault,
            _ => return None,
        })
    }
}

/// What the calls need, and how long each takes as far as was measured.
pub(crate) struct Bench {
    epoll: OwnedFd,
    local: (UnixStream, UnixStream),
    /// A connection to itself; `None` where this network namespace has no loopback.
    tcp: Option<(TcpStream, TcpStream)>,
    last: [f64; Action::ALL.len()],
}

impl Bench {
    /// Measures every action as it is now.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made it, and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let mut bench =
            Self { epoll, local: UnixStream::pair()?, tcp: connection().ok(), last: [0.0; Action::ALL.len()] };
        for action in Action::ALL {
            bench.last[action as usize] = bench.time(action);
        }
        Ok(bench)
    }

    /// Nanoseconds that this action has grown by since it was last measured.
    pub(crate) fn grown(&mut self, action: Action) -> f64 {
        let now = self.time(action);
        let before = std::mem::replace(&mut self.last[action as usize], now);
        (now - before).max(0.0)
    }

    /// Nanoseconds that an action takes longer while something is switched on. Rounds with and without take turns,
    /// so that whatever else changes meanwhile is in both.
    pub(crate) fn apart(&mut self, action: Action, mut switch: impl FnMut(bool)) -> f64 {
        let action = if action == Action::Send && self.tcp.is_some() { Action::SendTcp } else { action };
        let mut least = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            for on in [false, true] {
                switch(on);
                let taken = self.round(action);
                least[usize::from(on)] = least[usize::from(on)].min(taken);
            }
        }
        switch(false);
        (least[1] - least[0]).max(0.0)
    }

    /// The least of several rounds, nanoseconds a call.
    fn time(&mut self, action: Action) -> f64 {
        (0..ROUNDS).map(|_| self.round(action)).fold(f64::INFINITY, f64::min)
    }

    /// One round, nanoseconds a call.
    fn round(&mut self, action: Action) -> f64 {
        let word = 0_u32;
        let (from, to) = (self.local.0.as_raw_fd(), self.local.1.as_raw_fd());
        let epoll = self.epoll.as_raw_fd();
        match action {
            // SAFETY: no arguments.
            Action::Unhooked => round(|| unsafe { libc::getppid() }),
            Action::Open => round(|| unsafe {
                // SAFETY: no pointers; a failed call is only timed.
                libc::close(libc::eventfd(0, libc::EFD_CLOEXEC))
            }),
            Action::Wait => round(|| unsafe {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: room for the one event that is asked for.
                libc::epoll_wait(epoll, &raw mut event, 1, 0)
            }),
            Action::Wake => round(|| unsafe {
                // SAFETY: the word outlives the call, which only uses its address.
                libc::syscall(libc::SYS_futex, &raw const word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1)
            }),
            Action::Receive => round(|| receive(to)),
            Action::Send => sent(from, to),
            Action::SendTcp => match &self.tcp {
                Some((from, to)) => sent(from.as_raw_fd(), to.as_raw_fd()),
                None => 0.0,
            },
            Action::Fault => faults(),
        }
    }
}

/// The mean of a round.
fn round<T>(mut call: impl FnMut() -> T) -> f64 {
    let begun = clock::now();
    for _ in 0..CALLS {
        drop(std::hint::black_box(call()));
    }
    (clock::now() - begun) as f64 / CALLS as f64
}

/// The mean of a round of bytes sent; taking them is not timed.
fn sent(from: i32, to: i32) -> f64 {
    let taken = round(|| send(from));
    while receive(to) > 0 {}
    taken
}

fn send(fd: i32) {
    // SAFETY: one readable byte. A full socket refuses, which is only timed.
    unsafe { libc::send(fd, c"x".as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

fn receive(fd: i32) -> isize {
    let mut room = [0_u8; 256];
    // SAFETY: room as large as told.
    unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) }
}

/// Touches fresh pages.
fn faults() -> f64 {
    const PAGE: usize = 4096;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of its own, touched only inside and unmapped at the end.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), CALLS * PAGE, access, kind, -1, 0);
        if start == libc::MAP_FAILED {
            return f64::INFINITY;
        }
        // A large page would swallow all faults but the first.
        libc::madvise(start, CALLS * PAGE, libc::MADV_NOHUGEPAGE);
        let mut page = start.cast::<u8>();
        let taken = round(|| {
            page.write_volatile(1);
            page = page.add(PAGE);
        });
        libc::munmap(start, CALLS * PAGE);
        taken
    }
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let from = TcpStream::connect(listener.local_addr()?)?;
    from.set_nodelay(true)?;
    let to = listener.accept()?.0;
    close_at_once(&from)?;
    close_at_once(&to)?;
    Ok((from, to))
}

/// Its end leaves nothing behind that the kernel would send again: that would be told of a process nobody watches.
fn close_at_once(connection: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).map_err(io::Error::other)?;
    let fd = connection.as_raw_fd();
    // SAFETY: a valid option of the size told.
    let done = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_with_bytes_that_nobody_read_leaves_nothing_behind() {
        let (from, to) = connection().unwrap();
        send(from.as_raw_fd());
        let [one, other] = [&from, &to].map(|end| format!("0100007F:{:04X} ", end.local_addr().unwrap().port()));
        // Both ports: one of them may be that of an ended connection to somebody else, too.
        let ends = [format!("{one}{other}"), format!("{other}{one}")];
        let sockets = || std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        assert!(ends.iter().all(|end| sockets().contains(end)), "{ends:?} in {}", sockets());
        drop((from, to));
        assert!(!ends.iter().any(|end| sockets().contains(end)), "{ends:?} in {}", sockets());
    }

    #[test]
    fn every_action_takes_time_and_hooks_are_found_by_their_tracepoint() {
        let mut bench = Bench::new().unwrap();
        for action in Action::ALL {
            assert!(bench.last[action as usize] > 1.0, "{action:?}");
            assert!(bench.grown(action) >= 0.0);
        }
        assert!(bench.apart(Action::Open, |_| {}) >= 0.0);
        assert_eq!(Action::of("sys_exit_eventfd2"), Some(Action::Open));
        assert_eq!(Action::of("sched_process_exec"), None);
    }
}
