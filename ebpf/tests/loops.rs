//! Event loops of real programs on the running kernel: each way to wait shows, a loop that does not come back is told
//! with what it does and where, and healthy ones raise nothing.
//!
//! Needs root, BPF, cc, python3, node and nginx. What is missing fails the test and is named: nothing is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its victim has failed")]

#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::{Session, Tier};
use snowshed_engine::model::{LoopInstance, Observation, Pid, SiteId, Spent, Stall, WaitCall};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(20);

fn session(pid: Pid) -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let mut session = whole::start();
    let status = session.status();
    let probe = status.iter().find(|probe| probe.name == "epoll").expect("there is such a probe");
    assert_eq!(probe.tier, Tier::Full, "{} ({})", probe.reason, probe.remedy);
    session.add_target(pid).unwrap();
    session
}

/// Polls until an observation gives a value; whatever else was seen is in the report of a failure.
fn wait<T>(session: &mut Session, what: &str, mut pick: impl FnMut(&Observation) -> Option<T>) -> T {
    let begun = Instant::now();
    let (mut seen, mut told) = (Vec::new(), Vec::new());
    while begun.elapsed() < PATIENCE {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        if let Some(found) = seen.iter().find_map(&mut pick) {
            return found;
        }
        let loops = |one: &&Observation| matches!(one, Observation::Stall(_) | Observation::LoopInstance(_));
        told.extend(seen.iter().filter(loops).map(|one| format!("{one:?}")));
    }
    panic!("not seen within {PATIENCE:?}: {what}; but {told:#?}");
}

fn instance(seen: &Observation, call: WaitCall) -> Option<LoopInstance> {
    match seen {
        Observation::LoopInstance(one) if one.call == call && one.waits > 0 => Some(*one),
        _ => None,
    }
}

/// A stall that is long and has a stack.
fn stall(session: &mut Session, pid: Pid) -> (Stall, Vec<String>) {
    let stall = wait(session, "a stall with its stack", |seen| match seen {
        Observation::Stall(one) => {
            let complete = one.until - one.since > 400_000_000 && one.site != SiteId(0) && one.starved;
            complete.then(|| one.clone())
        }
        _ => None,
    });
    assert_eq!(stall.pid, pid);
    let frames = session.frames(stall.site);
    (stall, frames.into_iter().map(|frame| frame.function).collect())
}

/// Watches for a while that some load goes through; any stall fails.
fn healthy(session: &mut Session, call: WaitCall, pid: Pid) -> LoopInstance {
    let (begun, mut last, mut seen) = (Instant::now(), None, Vec::new());
    while begun.elapsed() < Duration::from_secs(3) || (last.is_none() && begun.elapsed() < PATIENCE) {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        let stalls: Vec<_> = seen.iter().filter(|one| matches!(one, Observation::Stall(_))).collect();
        assert!(stalls.is_empty(), "a healthy loop: {stalls:?}");
        last = seen.iter().find_map(|one| instance(one, call).filter(|one| one.pid == pid)).or(last);
    }
    last.unwrap_or_else(|| panic!("no instance of {call:?} was told: {:?}", session.status()))
}

fn spent(stall: &Stall) -> Spent {
    let spent = stall.spent.expect("the scheduler tells");
    let total = spent.running + spent.queued + spent.blocked;
    assert!(total <= stall.until - stall.since + 300_000_000, "{spent:?} of {stall:?}");
    spent
}

/// Requests over and over, until dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // It does not wait for long: to a loop that stands still ever more requests come.
                drop(request(port, "/", Duration::from_millis(100)));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self(stop)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn request(port: u16, path: &str, patience: Duration) -> std::io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(patience))?;
    client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sends a request and leaves it be.
fn ask(port: u16, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    client
}

fn port(victim: &Victim) -> u16 {
    victim.line().parse().unwrap()
}

/// An asyncio server whose handler does as the path says.
const ASYNCIO: &str = r#"
import asyncio, time, socket
def compute_too_long(seconds):
    end = time.monotonic() + seconds; x = 0
    while time.monotonic() < end: x += 1
async def handle(reader, writer):
    line = (await reader.readline()).decode()
    if '/sleep' in line: time.sleep(1.5)
    if '/compute' in line: compute_too_long(1.5)
    if '/upstream' in line:
        other = socket.create_connection(('127.0.0.1', int(line.split('=')[1].split()[0])), timeout=5)
        other.recv(1)
    writer.write(b'HTTP/1.0 200 OK\r\n\r\nok'); await writer.drain(); writer.close()
async def main():
    server = await asyncio.start_server(handle, '127.0.0.1', 0)
    say(server.sockets[0].getsockname()[1])
    async with server: await server.serve_forever()
asyncio.run(main())
"#;

#[test]
fn a_python_loop_that_sleeps_or_computes_is_told_with_its_stack() {
    let victim = Victim::start(ASYNCIO);
    let port = port(&victim);
    let mut session = session(victim.pid());
    let load = Load::start(port);
    let one = healthy(&mut session, WaitCall::Epoll, victim.pid());
    assert!(one.tid.is_some() && one.threads == 1 && one.instance >= 0 && one.events > Some(0), "{one:?}");
    assert!(one.busy_ns.is_some_and(|busy| busy < one.wait_ns), "mostly idle: {one:?}");

    let client = ask(port, "/sleep");
    let (told, frames) = stall(&mut session, victim.pid());
    assert!(!told.on_cpu && told.starved, "{told:?}");
    assert_eq!(told.syscall.as_deref(), Some("clock_nanosleep"));
    assert!(frames.iter().any(|frame| frame.contains("sleep")), "{frames:?}");
    let time = spent(&told);
    assert!(time.blocked > 10 * time.running, "{time:?}");
    let since = told.since;
    drop(client);

    let _client = ask(port, "/compute");
    let (told, frames) = wait_for_another(&mut session, victim.pid(), since);
    assert!(told.on_cpu && told.syscall.is_none(), "{told:?}");
    let own = frames.iter().position(|frame| frame == "compute_too_long");
    assert!(own.is_some_and(|own| frames[own + 1] == "handle"), "where it computes: {frames:?}");
    let time = spent(&told);
    assert!(time.running + time.queued > 2 * time.blocked, "{time:?}");
    drop(load);
}

/// Another stall than the one that began then.
fn wait_for_another(session: &mut Session, pid: Pid, since: u64) -> (Stall, Vec<String>) {
    let begun = Instant::now();
    loop {
        let (told, frames) = stall(session, pid);
        if told.since > since && told.on_cpu {
            return (told, frames);
        }
        assert!(begun.elapsed() < PATIENCE, "only {told:?}");
    }
}

#[test]
fn a_loop_that_waits_for_one_answer_by_poll_neglects_its_events() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let victim = Victim::start(ASYNCIO);
    let port = port(&victim);
    let mut session = session(victim.pid());
    let _load = Load::start(port);
    wait(&mut session, "the loop", |seen| instance(seen, WaitCall::Epoll));
    let _client = ask(port, &format!("/upstream={}", silent.local_addr().unwrap().port()));
    let (told, _) = stall(&mut session, victim.pid());
    assert!(told.starved && !told.on_cpu, "{told:?}");
    assert_eq!(told.syscall.as_deref(), Some("poll"));
}

/// Node's own server; `/compute` never yields for a while.
const NODE: &str = r"
const http = require('http');
function computeTooLong(ms) { const end = Date.now() + ms; let x = 0; while (Date.now() < end) x += Math.sqrt(x + 1); return x; }
http.createServer((request, response) => { if (request.url === '/compute') computeTooLong(1500); response.end('ok'); })
  .listen(0, '127.0.0.1', function () { console.log(this.address().port); });
";

#[test]
fn a_node_loop_that_computes_is_told_with_its_stack() {
    let victim = Victim::run(Command::new("node").args(["-e", NODE]));
    let port = port(&victim);
    let mut session = session(victim.pid());
    let _load = Load::start(port);
    let one = healthy(&mut session, WaitCall::Epoll, victim.pid());
    assert_eq!(one.batch, 1024, "libuv asks for so many: {one:?}");
    let _client = ask(port, "/compute");
    let (told, frames) = stall(&mut session, victim.pid());
    assert!(told.on_cpu && told.starved, "{told:?}");
    assert!(!frames.is_empty());
    assert!(spent(&told).running > 0);
}

/// Serves by poll or select; stops serving for a while when somebody sends `stall`.
const SELECT: &str = r"
import select, socket, time
listener = socket.create_server(('127.0.0.1', 0)); say(listener.getsockname()[1])
open_ones = [listener]
while True:
    for one in select.select(open_ones, [], [])[0]:
        if one is listener: open_ones.append(listener.accept()[0]); continue
        data = one.recv(4096)
        if b'/sleep' in data: time.sleep(1.5)
        if data: one.send(b'HTTP/1.0 200 OK\r\n\r\nok')
        open_ones.remove(one); one.close()
";

#[test]
fn a_select_loop_shows_and_its_stall_is_told_because_somebody_waits() {
    let victim = Victim::start(SELECT);
    let port = port(&victim);
    let mut session = session(victim.pid());
    // A connection that says nothing keeps the loop waiting for two descriptors.
    let _quiet = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _load = Load::start(port);
    let one = healthy(&mut session, WaitCall::Select, victim.pid());
    assert_eq!((one.instance, one.batch, one.threads), (-1, 0, 1), "{one:?}");
    let _client = ask(port, "/sleep");
    let (told, _) = stall(&mut session, victim.pid());
    assert_eq!((told.starved, told.syscall.as_deref()), (true, Some("clock_nanosleep")), "{told:?}");
}

/// Serves by poll; `ring` instead waits for timeouts of an io_uring, by bare system calls.
const C: &str = include_str!("victim/loop.c");

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("snowshed-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn compiled(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("loop.c"), folder.join("loop"));
    fs::write(&source, C).unwrap();
    let status = Command::new("cc").args(["-O1", "-g", "-o"]).arg(&program).arg(&source).status();
    assert!(status.expect("these tests need cc (Debian: gcc)").success());
    program
}

#[test]
fn a_poll_loop_in_c_shows_and_computes_at_a_named_place() {
    let folder = Folder::new("poll");
    let victim = Victim::run(&mut Command::new(compiled(&folder.0)));
    let port = port(&victim);
    let mut session = session(victim.pid());
    let _quiet = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _load = Load::start(port);
    let one = healthy(&mut session, WaitCall::Poll, victim.pid());
    assert_eq!((one.instance, one.batch, one.threads), (-1, 0, 1), "{one:?}");
    let _client = ask(port, "/compute");
    let (told, frames) = stall(&mut session, victim.pid());
    assert!(told.starved && told.on_cpu, "{told:?}");
    assert!(frames.iter().any(|frame| frame == "spin_here"), "{frames:?}");
    assert!(frames.iter().any(|frame| frame == "main"), "the whole chain: {frames:?}");
}

#[test]
fn an_io_uring_shows_and_what_is_not_fetched_is_told() {
    let folder = Folder::new("ring");
    let victim = Victim::run(Command::new(compiled(&folder.0)).arg("ring"));
    assert_eq!(victim.line(), "ring", "io_uring_setup was refused: this test cannot run here");
    let mut session = session(victim.pid());
    let one = wait(&mut session, "the ring", |seen| instance(seen, WaitCall::IoUring));
    assert!(one.instance >= 0 && one.events.is_none(), "{one:?}");
    let (told, frames) = stall(&mut session, victim.pid());
    assert!(told.starved && told.on_cpu, "{told:?}");
    assert!(frames.iter().any(|frame| frame == "spin_here"), "{frames:?}");
}

#[test]
fn full_batches_show_that_a_loop_is_saturated() {
    let victim = Victim::start(
        r"
import os, select
loop = select.epoll()
for _ in range(8):
    r, w = os.pipe(); os.write(w, b'x'); loop.register(r, select.EPOLLIN)
say('ready'); wait()
while True: loop.poll(0.5, 4); select.select([], [], [], 0.002)
",
    );
    victim.expect("ready");
    let mut session = session(victim.pid());
    victim.go_on();
    let one = wait(&mut session, "the instance", |seen| instance(seen, WaitCall::Epoll));
    assert_eq!((one.batch, one.full), (4, one.waits), "{one:?}");
    assert_eq!(one.events, Some(4 * one.waits));
}

#[test]
fn nginx_shows_and_is_healthy_under_load() {
    let folder = Folder::new("nginx");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = folder.0.display();
    let config = format!(
        "daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;\nevents {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;\n\
         uwsgi_temp_path {path}/d; scgi_temp_path {path}/e; server {{ listen 127.0.0.1:{port}; return 200 ok; }} }}\n"
    );
    let file = folder.0.join("nginx.conf");
    fs::write(&file, config).unwrap();
    assert!(Path::new("/usr/sbin/nginx").exists(), "this test needs nginx (Debian: nginx-light)");
    let victim =
        Victim::run(Command::new("/usr/sbin/nginx").arg("-c").arg(&file).arg("-e").arg(folder.0.join("error.log")));
    let begun = Instant::now();
    while request(port, "/", PATIENCE).is_err() {
        assert!(
            begun.elapsed() < PATIENCE,
            "nginx does not answer: {:?}",
            fs::read_to_string(folder.0.join("error.log"))
        );
        std::thread::yield_now();
    }
    let mut session = session(victim.pid());
    let worker = *session.targets().iter().find(|pid| **pid != victim.pid()).expect("nginx forked its worker");
    let _load = Load::start(port);
    let one = healthy(&mut session, WaitCall::Epoll, worker);
    assert_eq!((one.batch, one.threads), (512, 1), "nginx asks for so many: {one:?}");
    assert!(one.busy_ns.is_some_and(|busy| busy < one.wait_ns), "{one:?}");
    drop(session);
    // Its worker ends with it, but only if it is told so.
    // SAFETY: no pointers; the child has not been waited for, so the number is its own.
    unsafe { libc::kill(victim.pid().cast_signed(), libc::SIGTERM) };
    let begun = Instant::now();
    while Path::new(&format!("/proc/{worker}/exe")).exists() && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}
