//! The host layer on the running kernel: what is provoked here is bounded, and inside a network namespace of the
//! victim's own.

#![allow(clippy::unwrap_used, reason = "a test, where a panic is the report")]

#[allow(dead_code, reason = "other suites use the rest")]
mod victim;

use snowshed_ebpf::{Options, Session};
use snowshed_engine::model::{HostItem, HostLook, HostScope, HostSignal, Observation, Pid};
use std::time::{Duration, Instant};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(20);

/// The next look at a scope of a process.
fn look(session: &mut Session, pid: Option<Pid>, scope: HostScope, after: u64) -> HostLook {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < PATIENCE {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        for one in &seen {
            if let Observation::Host(look) = one
                && look.pid == pid
                && look.scope == scope
                && look.since >= after
            {
                return look.clone();
            }
        }
    }
    panic!("no look at {scope:?} of {pid:?} within {PATIENCE:?}");
}

fn item<'a>(look: &'a HostLook, signal: HostSignal, place: &str) -> Option<&'a HostItem> {
    look.items.iter().find(|item| item.signal == signal && item.place == place)
}

#[test]
fn an_accept_queue_that_overflows_is_counted_in_its_own_namespace() {
    // The victim listens and never accepts; six clients do not fit a queue of one. It leaves this
    // machine's namespace first, so that nothing else counts there.
    let victim = Victim::start(
        r#"
import ctypes, os, socket, struct, fcntl
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000) != 0: raise OSError(ctypes.get_errno(), 'unshare')
up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(up, 0x8914, struct.pack('16sh22x', b'lo', 1 | 0x40))
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen(0)
say('ready'); wait()
clients = []
for _ in range(6):
    one = socket.socket(); one.setblocking(False); one.connect_ex(listener.getsockname()); clients.append(one)
say('asked'); wait()
"#,
    );
    victim.expect("ready");
    let bystander = Victim::start("say('ready'); wait()");
    bystander.expect("ready");
    // No kernel program is needed.
    let mut session = Session::start(Options { no_bpf: true });
    session.add_target(victim.pid()).unwrap();
    session.add_target(bystander.pid()).unwrap();
    let quiet = look(&mut session, Some(victim.pid()), HostScope::Network, 1);
    assert_eq!(item(&quiet, HostSignal::ListenOverflows, "").map(|item| item.amount), Some(0), "{quiet:?}");
    let begun = quiet.until;
    victim.go_on();
    victim.expect("asked");
    let mut overflows = 0;
    let mut after = begun;
    while overflows == 0 {
        let told = look(&mut session, Some(victim.pid()), HostScope::Network, after);
        overflows = item(&told, HostSignal::ListenOverflows, "").map_or(0, |item| item.amount);
        after = told.until;
        assert!(after - begun < 15_000_000_000, "no overflow is told");
        if overflows > 0 {
            assert!(
                item(&told, HostSignal::ListenDrops, "").is_some_and(|drops| drops.amount >= overflows),
                "{told:?}"
            );
            assert!(item(&told, HostSignal::NicRxDropped, "lo").is_some_and(|drops| drops.amount == 0), "{told:?}");
        }
    }
    // The other process is in this machine's namespace, and sees its interfaces and counters.
    let other = look(&mut session, Some(bystander.pid()), HostScope::Network, 1);
    let places =
        |look: &HostLook| look.items.iter().map(|item| item.place.clone()).filter(|place| !place.is_empty()).count();
    let inside = look(&mut session, Some(victim.pid()), HostScope::Network, 1);
    assert!(places(&other) >= places(&inside) && places(&inside) > 0, "{other:?} {inside:?}");
}

#[test]
fn a_machine_whose_processors_are_all_asked_for_is_under_pressure() {
    if !std::path::Path::new("/proc/pressure/cpu").exists() {
        println!("SKIPPED: pressure: this kernel has no /proc/pressure");
        return;
    }
    // More computing threads than processors, for as long as the test looks.
    let victim = Victim::start(
        r#"
import os
children = []
for _ in range(2 * os.cpu_count()):
    pid = os.fork()
    if pid == 0:
        import ctypes; ctypes.CDLL(None).prctl(1, 9)
        while True: pass
    children.append(pid)
say('busy'); wait()
"#,
    );
    victim.expect("busy");
    let mut session = Session::start(Options { no_bpf: true });
    session.add_target(victim.pid()).unwrap();
    let first = look(&mut session, None, HostScope::Machine, 1);
    let waited = item(&first, HostSignal::CpuSome, "").expect("a cpu line").amount;
    let length = first.until - first.since;
    assert!(waited > length / 5, "somebody waited {waited} of {length} ns");
    assert!(item(&first, HostSignal::SoftnetDropped, "").is_some(), "{first:?}");
}
