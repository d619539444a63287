//! The probes on the running kernel, against small Python programs whose doings are known.
//!
//! Needs root and BPF. Where these are missing the tests fail and say so: they are not skipped in silence.

mod seen;
mod victim;
mod whole;

use seen::wait;
use snowshed_ebpf::{Options, Session, SessionError, Tier};
use snowshed_engine::model::{HoldingKind, Holdings, Join, Observation, Pid, Resource, SiteId};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use victim::Victim;

/// Only a hang takes this long, also on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let session = whole::start();
    // In a virtual machine with an older kernel, what it is known to lack is told by whoever started that.
    let known = std::env::var("SNOWSHED_LACKS").unwrap_or_default();
    for probe in session.status().iter().filter(|probe| !known.split(',').any(|known| known == probe.name)) {
        assert_eq!(probe.tier, Tier::Full, "{}: {} ({})", probe.name, probe.reason, probe.remedy);
    }
    session
}

/// Keeps all processors busy while this value lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let on = Arc::new(AtomicBool::new(true));
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let on = on.clone();
            std::thread::spawn(move || while on.load(Ordering::Relaxed) {});
        }
        Self(on)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn measuring_its_own_cost_leaves_nothing_that_could_be_taken_for_a_targets() {
    // Packets then wait so long for their answer that they are sent again.
    let _busy = Busy::start();
    for _ in 0..2 {
        let mut session = session();
        let mut seen = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            session.poll(Duration::from_millis(50), &mut seen);
        }
        let told = seen.iter().find(|one| matches!(one, Observation::Retransmit(_) | Observation::Lost(_)));
        assert!(told.is_none(), "{told:?}");
        for probe in session.status() {
            assert_eq!((probe.events, probe.lost), (0, 0), "{}", probe.name);
        }
    }
}

fn fds(observation: &Observation, pid: Pid) -> Option<&Holdings> {
    match observation {
        Observation::Holdings(holdings) if holdings.pid == pid => Some(holdings),
        _ => None,
    }
}

#[test]
fn the_view_equals_proc_and_knows_kinds() {
    let victim = Victim::start(
        r#"
import os, socket, select, signal
keep = [open('/etc/passwd'), os.open('/etc', os.O_RDONLY), os.pipe(), select.epoll(), socket.socket()]
listener = socket.create_server(('127.0.0.1', 0)); keep.append(socket.socketpair()); keep.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
keep += [open('/dev/null') for _ in range(500)]
say('ready'); os.kill(os.getpid(), signal.SIGSTOP)
"#,
    );
    victim.expect("ready");
    victim.wait_until_stopped();
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let view = wait(&mut session, "a snapshot", |seen| fds(seen, victim.pid()).cloned());
    let mut told: Vec<i32> = view.items.iter().map(|item| item.number).collect();
    told.sort_unstable();
    assert_eq!(told, victim.fds());
    assert_eq!(view.limit, victim.limit());
    let count = |kind| view.items.iter().filter(|item| item.kind == kind).count();
    assert_eq!(count(HoldingKind::Directory), 1);
    assert_eq!(count(HoldingKind::Epoll), 1);
    assert_eq!(count(HoldingKind::Listener), 1);
    assert_eq!((count(HoldingKind::Tcp), count(HoldingKind::Udp), count(HoldingKind::Unix)), (1, 1, 2));
    assert!(count(HoldingKind::Device) >= 500 && count(HoldingKind::File) == 1 && count(HoldingKind::Pipe) >= 2);
}

#[test]
fn a_file_belongs_to_the_connection_that_asked_for_it() {
    let victim = Victim::start(
        r#"
import socket
listener = socket.create_server(('127.0.0.1', 0)); say(listener.getsockname()[1])
keep = []
connection, _ = listener.accept()
connection.recv(100); keep.append(open('/etc/passwd')); connection.send(b'ok')
connection.recv(100); say('gone'); wait()
"#,
    );
    let port: u16 = victim.line().parse().unwrap();
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    wait(&mut session, "the listener", |seen| fds(seen, victim.pid()).map(|_| ()));
    let client = victim::ask(port);
    let (file, connection) = wait(&mut session, "an owned file", |seen| {
        let items = &fds(seen, victim.pid())?.items;
        let file = *items.iter().find(|item| item.owner.connection.is_some())?;
        Some((file, *items.iter().find(|item| item.kind == HoldingKind::TcpAccepted)?))
    });
    assert_eq!((file.kind, file.owner.join, file.owner.trace), (HoldingKind::File, Join::Socket, None));
    assert_eq!(file.owner.connection, Some((connection.key, 0)));
    assert!(file.made.is_some_and(|made| made < Session::now()));
    let frames = wait(&mut session, "the open site", |seen| {
        let file = fds(seen, victim.pid())?.items.iter().find(|item| item.key == file.key)?;
        (file.site != SiteId(0)).then_some(file.site)
    });
    let frames = session.frames(frames);
    assert!(frames.iter().any(|frame| frame.function.contains("open")), "{frames:?}");
    drop(client);
    victim.expect("gone");
    // The connection is still open on the victim's side; the file keeps its owner.
    let owner = wait(&mut session, "the file", |seen| {
        fds(seen, victim.pid())?.items.iter().find(|item| item.key == file.key).map(|item| item.owner)
    });
    assert_eq!(owner, file.owner);
}

#[test]
fn children_are_followed_from_fork_to_exit() {
    let victim = Victim::start(
        r#"
import subprocess
wait(); subprocess.run(['sleep', '0.3']); say('done'); wait()
"#,
    );
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    wait(&mut session, "the victim", |seen| fds(seen, victim.pid()).map(|_| ()));
    victim.go_on();
    let child = wait(&mut session, "the child, executed", |seen| match seen {
        Observation::Process(process) if process.parent == Some(victim.pid()) && process.name == "sleep" => {
            Some(process.pid)
        }
        _ => None,
    });
    assert!(session.targets().contains(&child));
    wait(&mut session, "its exit", |seen| match seen {
        Observation::Exit(exit) if exit.pid == child => Some(()),
        _ => None,
    });
    assert_eq!(session.targets(), vec![victim.pid()]);
    let pid = victim.pid();
    drop(victim);
    wait(&mut session, "the victim's exit", |seen| match seen {
        Observation::Exit(exit) if exit.pid == pid => Some(()),
        _ => None,
    });
}

#[test]
fn an_event_loop_that_sleeps_is_a_stall_and_one_that_waits_is_not() {
    let victim = Victim::start(
        r#"
import select, time, os
loop = select.epoll(); r, w = os.pipe(); loop.register(r, select.EPOLLIN)
loop.poll(0.01); say('ready'); wait()
for _ in range(20): loop.poll(0.1)
os.write(w, b'x'); loop.poll(0.1); say('stalling'); time.sleep(1.5); loop.poll(0.1); say('done'); wait()
"#,
    );
    victim.expect("ready");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    wait(&mut session, "the victim", |seen| fds(seen, victim.pid()).map(|_| ()));
    victim.go_on();
    let (mut waits, mut early) = (0, false);
    let stall = wait(&mut session, "a stall", |seen| match seen {
        Observation::LoopTime(time) => {
            waits += time.waits;
            None
        }
        Observation::Stall(stall) => {
            early |= waits == 0;
            (stall.until - stall.since > 800_000_000).then(|| stall.clone())
        }
        _ => None,
    });
    // Reading the test's go-ahead blocks outside epoll; the loop of 20 waits must not count as a stall.
    // All of them are told, also those before the first look that found the loop at work.
    assert!(waits >= 19, "{waits} waits told");
    assert_eq!(stall.pid, victim.pid());
    assert_eq!(stall.syscall.as_deref(), Some("clock_nanosleep"), "{stall:?} early {early}");
    assert!(!stall.on_cpu && stall.starved, "{stall:?}");
    let frames = session.frames(stall.site);
    assert!(frames.iter().any(|frame| frame.function.contains("sleep")), "{frames:?}");
}

#[test]
fn what_the_ring_cannot_hold_is_counted_and_the_view_heals() {
    let victim = Victim::start(
        r#"
import os
wait()
for _ in range(2000):
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
say('forked'); wait()
"#,
    );
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    wait(&mut session, "the victim", |seen| fds(seen, victim.pid()).map(|_| ()));
    victim.go_on();
    // Nobody takes anything off the ring meanwhile: 4,000 forks and exits are more than it holds.
    victim.expect("forked");
    let lost = wait(&mut session, "the loss", |seen| match seen {
        Observation::Lost(lost) if lost.probe == "lifecycle" => Some(lost.events),
        _ => None,
    });
    assert!((1..4_000).contains(&lost), "{lost} of 4,000 events lost");
    let begun = Instant::now();
    while session.targets() != [victim.pid()] && begun.elapsed() < PATIENCE {
        session.poll(Duration::from_millis(50), &mut Vec::new());
    }
    assert_eq!(session.targets(), [victim.pid()], "processes whose exit was lost are still watched");
}

#[test]
fn children_that_do_not_fit_are_counted() {
    let victim = Victim::start(
        r#"
import os
end, hold = os.pipe()
wait()
for _ in range(300):
    if os.fork() == 0:
        os.close(hold); os.read(end, 1); os._exit(0)
say('forked'); wait()
"#,
    );
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    wait(&mut session, "the victim", |seen| fds(seen, victim.pid()).map(|_| ()));
    victim.go_on();
    let (mut followed, mut unfollowed) = (0, 0);
    wait(&mut session, "all children, one way or the other", |seen| {
        match seen {
            Observation::Process(process) if process.parent == Some(victim.pid()) => followed += 1,
            Observation::Lost(lost) if lost.probe == "targets" => unfollowed += lost.events,
            _ => {}
        }
        (followed + unfollowed == 300).then_some(())
    });
    assert_eq!(
        (session.targets().len(), unfollowed),
        (256, 45),
        "the table holds 256 processes, the victim one of them"
    );
}

#[test]
fn memory_growth_shows() {
    let victim = Victim::start("wait(); keep = bytearray(64 << 20); say('grown'); wait()");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let pid = victim.pid();
    let anonymous = move |seen: &Observation| match seen {
        Observation::Level(level) if level.pid == pid && level.resource == Resource::RssAnon => Some(level.value),
        _ => None,
    };
    let before = wait(&mut session, "a level", anonymous);
    victim.go_on();
    victim.expect("grown");
    wait(&mut session, "64 MiB more", |seen| anonymous(seen).filter(|after| *after >= before + (60 << 20)));
}

#[test]
fn without_kernel_programs_proc_serves_and_says_why() {
    let victim = Victim::start("keep = [open('/etc/passwd') for _ in range(7)]; say('ready'); wait()");
    victim.expect("ready");
    let mut session = Session::start(Options { no_bpf: true });
    session.add_target(victim.pid()).unwrap();
    let view = wait(&mut session, "a snapshot", |seen| fds(seen, victim.pid()).cloned());
    assert_eq!(view.items.iter().filter(|item| item.kind == HoldingKind::File).count(), 7);
    let status = session.status();
    // Sockets are listed where the kernel has the module for it, which a small guest need not have.
    let tcp = status.iter().find(|probe| probe.name == "tcp").unwrap();
    assert_eq!(tcp.tier == Tier::Reduced, tcp.reason.contains("sock_diag"), "{tcp:?}");
    let tiers: Vec<_> = status.iter().map(|probe| (probe.name, probe.tier)).collect();
    assert_eq!(
        tiers,
        [
            ("fd", Tier::Reduced),
            ("tcp", tcp.tier),
            ("epoll", Tier::Off),
            ("memory", Tier::Reduced),
            ("tasks", Tier::Off),
            // It reads files only.
            ("host", Tier::Full),
            ("dns", Tier::Off)
        ]
    );
    let programs = status.iter().filter(|probe| probe.name != "host");
    assert!(programs.clone().all(|probe| !probe.reason.is_empty() && !probe.remedy.is_empty()), "{status:?}");
}

#[test]
fn a_pid_that_is_not_there_is_named() {
    let mut session = Session::start(Options { no_bpf: true });
    let error = session.add_target(4_194_304).unwrap_err();
    assert!(matches!(error, SessionError::NoSuchProcess(4_194_304)));
    assert_eq!(error.to_string(), "pid 4194304: no such process");
}
