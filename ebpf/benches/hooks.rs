//! What the probes add to a system call: for the watched process, and for one that nobody watches.
//!
//! `cargo bench -p snowshed-ebpf` (root). Pairs of runs with and without, alternating, in CPU time of this
//! thread; medians and quartiles of the differences. The watched process is this one.

use snowshed_ebpf::{Options, Session};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

const ROUNDS: usize = 25;

/// Name, calls per run, call.
type Case = (&'static str, u32, Box<dyn FnMut()>);

fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer and a clock that every Linux has.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn open_close() {
    // SAFETY: a constant path; the descriptor is closed at once.
    unsafe { libc::close(libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY)) };
}

fn unhooked() {
    // SAFETY: closing no descriptor fails and does nothing.
    unsafe { libc::close(-1) };
}

/// Pages touched first, in one mapping.
const PAGES: usize = 512;

fn touch_pages() {
    // SAFETY: a new private mapping of this length, written inside it and given back.
    unsafe {
        let length = PAGES * 4096;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(start, libc::MAP_FAILED, "no mapping of {length} bytes");
        for page in 0..PAGES {
            start.cast::<u8>().add(page * 4096).write_volatile(1);
        }
        libc::munmap(start, length);
    }
}

fn per_call(calls: u32, call: &mut dyn FnMut()) -> f64 {
    let begun = cpu_ns();
    for _ in 0..calls {
        call();
    }
    (cpu_ns() - begun) as f64 / f64::from(calls)
}

/// Median and quartiles.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() / 4], values[3 * values.len() / 4])
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let mut sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (mut receiver, _) = listener.accept().expect("accepts");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while receiver.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    // Corked: most sends put no packet on the wire, so the noise of the network stack's own work is small.
    let one: libc::c_int = 1;
    // SAFETY: a valid option of the size told.
    unsafe {
        libc::setsockopt(sender.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const one).cast(), 4);
    }
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(0) };
    // SAFETY: all-zero is a valid event.
    let mut event: libc::epoll_event = unsafe { std::mem::zeroed() };
    let mut calls: Vec<Case> = vec![
        ("close(-1), which is not hooked", 20_000, Box::new(unhooked)),
        ("open and close", 4_000, Box::new(open_close)),
        // SAFETY: room for one event.
        (
            "epoll_wait, enter and exit",
            10_000,
            Box::new(move || unsafe {
                libc::epoll_wait(epoll, &raw mut event, 1, 0);
            }),
        ),
        ("512 page faults, mmap and munmap", 24, Box::new(touch_pages)),
        ("send of 8 bytes", 10_000, Box::new(move || sender.write_all(&[0; 8]).expect("the receiver reads"))),
    ];
    println!("{:32} {:>10} {:>26} {:>26}", "ns per call", "without", "unwatched adds", "watched adds");
    for (name, count, call) in &mut calls {
        let (mut base, mut unwatched, mut watched) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            per_call(*count / 4, call);
            let without = per_call(*count, call);
            let mut session = Session::start(Options::default());
            per_call(*count / 4, call);
            let attached = per_call(*count, call);
            session.add_target(std::process::id()).expect("may watch itself");
            session.poll(Duration::ZERO, &mut Vec::new());
            per_call(*count / 4, call);
            let targeted = per_call(*count, call);
            base.push(without);
            unwatched.push(attached - without);
            watched.push(targeted - without);
        }
        let show = |values| {
            let (median, low, high) = spread(values);
            format!("{median:+.0} ({low:+.0} to {high:+.0})")
        };
        println!("{name:32} {:>10.0} {:>26} {:>26}", spread(base).0, show(unwatched), show(watched));
    }
}
