//! Descriptors on the running kernel: every way in and out against `/proc`, and exactness under load.
//!
//! The truth about ways in is `ways/ways.c`, which says of each descriptor what it is and whether its making can be
//! seen. Needs root, BPF, `cc`, Python and Node; where these are missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "shared with the other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::Session;
use snowshed_engine::model::{Holding, HoldingKind, Holdings, Join, Observation};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program of `ways.c`; it ends with the test.
struct Ways {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Ways {
    fn start() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ways-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("ways");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-g", "-Wall", "-Wno-deprecated-declarations", "-pthread", "-o"]).arg(&program);
        cc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ways/ways.c"));
        assert!(cc.status().expect("this test needs cc").success(), "ways.c does not compile");
        let mut child =
            Command::new(&program).arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, folder }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "ways ended early: {:?}", self.child.wait());
        line.trim_end().to_owned()
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes numbers; the process is a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
}

/// Waits until every thread of a process is stopped.
fn wait_until_stopped(pid: u32) {
    let stopped = |task: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.trim_start().starts_with('T').then_some(())
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| stopped(task).is_some()) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("process {pid} did not stop");
}

/// What `/proc` says: numbers and what they name.
fn truth(pid: u32) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    entries.map(|entry| (number(&entry), fs::read_link(entry.path()).unwrap().display().to_string())).collect()
}

fn assert_equals_proc(view: &Holdings, pid: u32) {
    let mut told: Vec<i32> = view.items.iter().map(|item| item.number).collect();
    told.sort_unstable();
    let truth: Vec<i32> = truth(pid).into_keys().collect();
    assert_eq!(told, truth);
}

fn start(pid: u32) -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let mut session = whole::start();
    session.set_stack_rate(100_000);
    session.add_target(pid).unwrap();
    // Once, so that ports and tables are known.
    session.poll(Duration::ZERO, &mut Vec::new());
    session
}

fn kind(item: &Holding) -> String {
    serde_json::to_value(item.kind).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn every_way_in_and_out() {
    let mut ways = Ways::start();
    let pid = ways.child.id();
    assert_eq!(ways.line(), "ready");
    let before: Vec<i32> = truth(pid).into_keys().collect();
    let mut session = start(pid);
    let begun = Session::now();
    ways.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let (mut expected, mut rings) = (BTreeMap::new(), Vec::new());
    loop {
        let line = ways.line();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["told"] => break,
            ["-", way, ..] => println!("SKIPPED: this kernel refuses {way}: {line}"),
            ["direct", ring, count] => rings.push((ring.parse().unwrap(), count.parse().unwrap())),
            [number, kind, seen] => {
                expected.insert(number.parse::<i32>().unwrap(), (kind.to_owned(), seen != "0", seen == "1"));
            }
            _ => panic!("{line}"),
        }
    }
    wait_until_stopped(pid);
    assert!(expected.len() > 40, "{expected:?}");
    let view = session.holdings(pid).unwrap();
    assert_equals_proc(&view, pid);
    let mut wrong = Vec::new();
    for item in view.items.iter().filter(|item| !before.contains(&item.number)) {
        let Some((what, seen, placed)) = expected.get(&item.number) else {
            wrong.push(format!("{item:?} was not told"));
            continue;
        };
        if kind(item) != *what {
            wrong.push(format!("{} is {what}, not {}", item.number, kind(item)));
        }
        let in_time = item.made.is_some_and(|made| (begun..Session::now()).contains(&made));
        if in_time != *seen || item.made.is_some() != *seen {
            wrong.push(format!("{} ({what}) made {:?}, though seen is {seen}", item.number, item.made));
        }
        if item.owner.join != Join::None {
            wrong.push(format!("{} ({what}) has an owner", item.number));
        }
        // Stacks are not taken of accepted connections, whose owner is whom they will serve; and the tables to
        // unwind one are gone with its process.
        if *placed && what != "tcp_accepted" {
            let frames = session.frames(item.site);
            if !frames.iter().any(|frame| frame.location.as_ref().is_some_and(|place| place.0.ends_with("ways.c"))) {
                wrong.push(format!("{} ({what}) has no place in ways.c: {frames:?}", item.number));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (ring, count) in rings {
        let direct = session.open(pid, &[ring]).unwrap().remove(0).direct.unwrap();
        assert_eq!((direct.room, direct.held), (4, Some(count)), "{direct:?}");
        let [(0, first), (3, second)] = direct.files.as_slice() else { panic!("{direct:?}") };
        assert!(first.ends_with("services") && second.contains("eventfd"), "{direct:?}");
    }
    for item in view.items.iter().filter(|item| before.contains(&item.number)) {
        assert_eq!(item.made, None, "{} is older than the look", item.number);
    }

    // Exec: what is marked goes, what stays keeps its history.
    let kept: BTreeMap<i32, u64> = view.items.iter().map(|item| (item.number, item.key)).collect();
    signal(pid, libc::SIGCONT);
    let begun = Instant::now();
    let executed = || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"ways\0executed"));
    while !executed() && begun.elapsed() < PATIENCE {
        session.poll(Duration::from_millis(1), &mut Vec::new());
    }
    wait_until_stopped(pid);
    let after = session.holdings(pid).unwrap();
    assert_equals_proc(&after, pid);
    assert!(after.items.len() < view.items.len(), "nothing was closed by exec");
    for item in &after.items {
        assert_eq!(kept.get(&item.number), Some(&item.key), "{item:?} is not what it was before exec");
    }
}

const PYTHON: &str = r#"
import os, socket, threading, random
def work(seed):
    chance, held = random.Random(seed), []
    while True:
        for fd in held[:chance.randrange(1 + len(held))]:
            os.close(fd)
            held.remove(fd)
        for _ in range(chance.randrange(40)):
            way = chance.randrange(6)
            if way == 0: held += os.pipe()
            elif way == 1: held.append(os.open('/etc/passwd', os.O_RDONLY))
            elif way == 2: held.append(socket.socket().detach())
            elif way == 3: held.append(os.memfd_create('x'))
            elif way == 4: held += [s.detach() for s in socket.socketpair()]
            elif held: held.append(os.dup(held[0]))
for seed in range(3): threading.Thread(target=work, args=(seed,), daemon=True).start()
say('busy'); wait()
"#;

/// Files by the pool's threads and by the loop's own, connections to itself, watchers and timers.
const NODE: &str = r"
const fs = require('fs'), net = require('net');
const held = [], watchers = [], clients = [];
const server = net.createServer(socket => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1', () => {
    console.log('busy');
    turn();
});
function turn() {
    const chance = Math.random();
    for (let n = 0; n < 20 * chance; n++) held.push(fs.openSync('/etc/passwd', 'r'));
    while (held.length > 200 * Math.random()) fs.closeSync(held.pop());
    fs.open('/etc/hosts', 'r', (error, fd) => { if (!error) fs.close(fd, () => {}); });
    if (clients.length < 20) clients.push(net.connect(server.address().port, '127.0.0.1').on('error', () => {}));
    else clients.shift().destroy();
    if (watchers.length < 5) watchers.push(fs.watch('/etc', () => {})); else watchers.shift().close();
    setImmediate(turn);
}
";

#[test]
fn the_view_is_exact_whenever_python_stops() {
    let kinds = |kind: &str, link: &str| match kind {
        // What the test's own starter left to its children.
        "device" => link.starts_with("/dev/"),
        "pipe" => link.starts_with("pipe:"),
        "memfd" => link.starts_with("/memfd:"),
        "file" => link.starts_with("/etc/"),
        "tcp" | "unix" => link.starts_with("socket:"),
        _ => false,
    };
    exact_at_every_stop(&Victim::start(PYTHON), kinds);
}

#[test]
fn the_view_is_exact_whenever_node_stops() {
    let kinds = |kind: &str, link: &str| match kind {
        "device" => link.starts_with("/dev/"),
        "pipe" => link.starts_with("pipe:"),
        "file" => link.starts_with('/'),
        "tcp" | "tcp_accepted" | "listener" | "unix" => link.starts_with("socket:"),
        "epoll" => link == "anon_inode:[eventpoll]",
        "eventfd" => link == "anon_inode:[eventfd]",
        "inotify" => link == "anon_inode:inotify",
        "io_uring" => link == "anon_inode:[io_uring]",
        _ => false,
    };
    exact_at_every_stop(&Victim::run(Command::new("node").args(["-e", NODE])), kinds);
}

/// Stops it at sixty moments and compares: the numbers, what they are, and what each is called.
fn exact_at_every_stop(victim: &Victim, is_kind: impl Fn(&str, &str) -> bool) {
    victim.expect("busy");
    let pid = victim.pid();
    let mut session = start(pid);
    let mut seen = Vec::new();
    let (mut largest, mut different) = (0, std::collections::BTreeSet::new());
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..60 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A moment of the target's life, not a wait for something.
        session.poll(Duration::from_micros(chance >> 50), &mut seen);
        signal(pid, libc::SIGSTOP);
        wait_until_stopped(pid);
        let view = session.holdings(pid).unwrap();
        assert_equals_proc(&view, pid);
        let links = truth(pid);
        for item in &view.items {
            let (kind, link) = (kind(item), &links[&item.number]);
            let right = is_kind(&kind, link);
            assert!(right, "{} is {kind} here and {link} in /proc", item.number);
        }
        // As /proc calls them, where it is not an address.
        let numbers: Vec<i32> = view.items.iter().map(|item| item.number).collect();
        let open = session.open(pid, &numbers).unwrap();
        assert_eq!(open.len(), numbers.len());
        for one in open.iter().filter(|one| ["file", "pipe", "device"].contains(&kind(&one.item).as_str())) {
            assert_eq!(one.name.as_ref(), links.get(&one.item.number), "{one:?}");
        }
        largest = largest.max(view.items.len());
        different.insert(links.keys().copied().collect::<Vec<_>>());
        signal(pid, libc::SIGCONT);
    }
    println!("60 stops, {} different tables, at most {largest} descriptors", different.len());
    assert!(different.len() > 10 && largest > 20, "{} tables, {largest} descriptors: no load", different.len());
    let lost = seen.iter().filter_map(|seen| match seen {
        Observation::Lost(lost) if lost.probe == "fd" => Some(lost.events),
        _ => None,
    });
    // Stacks may find their ring full while nobody looks; descriptors are never lost.
    println!("{} stacks lost", lost.sum::<u64>());
}

/// Connections of before the agent's time, each of which is read from for the first time while it looks.
const SERVER: &str = "
import socket, time
listener = socket.create_server(('127.0.0.1', 0), backlog=256); say(listener.getsockname()[1])
held = [listener.accept()[0] for _ in range(200)]
say('ready'); wait()
for connection in held:
    connection.recv(1); time.sleep(0.002)
say('read'); wait()
";

#[test]
fn what_is_learned_of_a_file_while_it_is_looked_at_does_not_hide_it() {
    let victim = Victim::start(SERVER);
    let port: u16 = victim.line().parse().unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    victim.expect("ready");
    let mut session = start(victim.pid());
    let view = session.holdings(victim.pid()).unwrap();
    let accepted = |item: &&Holding| item.kind == HoldingKind::TcpAccepted;
    let numbers: Vec<i32> = view.items.iter().filter(accepted).map(|item| item.number).collect();
    assert_eq!(numbers.len(), 200);
    clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
    victim.go_on();
    let read = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            victim.expect("read");
            read.store(true, Ordering::Relaxed);
        });
        while !read.load(Ordering::Relaxed) {
            let told: Vec<i32> =
                session.open(victim.pid(), &numbers).unwrap().iter().map(|open| open.item.number).collect();
            let missing: Vec<_> = numbers.iter().filter(|number| !told.contains(number)).collect();
            assert!(missing.is_empty(), "open, and not told: {missing:?}");
        }
    });
    let known = session.holdings(victim.pid()).unwrap();
    let key = |items: &[Holding], number| items.iter().find(|item| item.number == number).map(|item| item.key);
    let changed = numbers.iter().filter(|number| key(&view.items, **number) != key(&known.items, **number)).count();
    assert!(changed > 100, "only {changed} of 200 were learned of: nothing was shown");
}
