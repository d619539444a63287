//! How connections and listeners of real programs get on: what is told against what they did.
//!
//! Needs root, BPF and Python. Where these are missing the tests fail and say so.

mod whole;

use snowshed_ebpf::Session;
use snowshed_engine::model::{Observation, TcpListener, TcpPeer};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A program that is watched, and all that was told of it.
struct Watched {
    child: Child,
    lines: BufReader<ChildStdout>,
    session: Session,
    peers: Vec<TcpPeer>,
    listeners: Vec<TcpListener>,
    /// Retransmits, none of which has a writer: nobody wrote a SYN.
    resent: u32,
    looks: u32,
    zero_windows: u64,
}

impl Watched {
    /// Python that says a line, and goes on at each line of its input.
    fn python(script: &str) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        line(&mut lines);
        let mut session = whole::start();
        session.add_target(child.id()).expect("a target");
        let (peers, listeners) = (Vec::new(), Vec::new());
        let mut watched = Self { child, lines, session, peers, listeners, resent: 0, looks: 0, zero_windows: 0 };
        watched.until("the first look", |seen| seen.looks > 0);
        watched
    }

    fn go_on(&mut self) -> String {
        self.child.stdin.as_mut().expect("its input").write_all(b"\n").expect("it listens");
        line(&mut self.lines)
    }

    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?} {:?}", self.peers, self.listeners);
            let mut out = Vec::new();
            self.session.poll(Duration::from_millis(50), &mut out);
            for one in out {
                if let Observation::Retransmit(told) = &one {
                    assert!(told.trace.is_none() && told.candidates.is_empty() && !told.complete, "{told:?}");
                    assert_eq!(told.pid, Some(self.child.id()), "{told:?}");
                    self.resent += 1;
                }
                let Observation::Tcp(look) = one else { continue };
                assert_eq!(look.pid, self.child.id());
                self.looks += 1;
                self.zero_windows += look.zero_windows.unwrap_or(0);
                self.peers.extend(look.peers);
                self.listeners = look.listeners;
            }
        }
    }

    fn sum(&self, of: impl Fn(&TcpPeer) -> u64) -> u64 {
        self.peers.iter().map(of).sum()
    }

    fn failed(&self, error: u32) -> u64 {
        let with = |one: &TcpPeer| one.failures.iter().filter(|(known, _)| *known == error).map(|(_, n)| *n).sum();
        self.sum(with)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn line(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).expect("a line") > 0, "it ended early");
    line.trim_end().to_owned()
}

/// Each of these connections lives between two looks; the program tells the kernel's own counts before it closes them.
#[test]
fn connections_that_live_between_two_looks_lose_no_counts() {
    let mut watched = Watched::python(
        "
import socket, struct, sys
print('ready', flush=True)
sys.stdin.readline()
data = 0
for bind, to in (('127.0.0.1', '127.0.0.1'), ('::1', '::1'), ('::', '::ffff:127.0.0.1')):
    family = socket.AF_INET6 if ':' in bind else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((bind, 0)); listener.listen(8)
    for i in range(20):
        client = socket.socket(family)
        client.connect((to, listener.getsockname()[1]))
        server, _ = listener.accept()
        for n in range(5):
            client.sendall(b'x'); server.recv(1)
            server.sendall(b'y'); client.recv(1)
        for one in (client, server):
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            data += struct.unpack_from('I', info, 156)[0]
        client.close(); server.recv(1); server.close()
    listener.close()
print(data, flush=True)
sys.stdin.readline()
",
    );
    let data: u64 = watched.go_on().parse().expect("a number");
    assert_eq!(data, 3 * 200);
    watched.until("all that was sent", |seen| seen.sum(|one| one.data_segments) >= data);
    assert_eq!(watched.sum(|one| one.data_segments), data, "{:?}", watched.peers);
    assert!(watched.sum(|one| one.segments) > data && watched.sum(|one| one.resent) == 0);
    // IPv4 in IPv6 is told as what it is.
    let of = |address: &str| {
        let is = |one: &&TcpPeer| one.peer.is_some_and(|peer| peer.address.to_string() == address);
        watched.peers.iter().filter(is).map(|one| one.data_segments).sum::<u64>()
    };
    assert_eq!((of("127.0.0.1"), of("::1")), (400, 200), "{:?}", watched.peers);
}

/// One that reads late, and one that reads at once.
#[test]
fn bytes_that_lie_unread_are_told_with_their_time() {
    let mut watched = Watched::python(
        "
import socket, sys, time
late = socket.create_server(('127.0.0.1', 0))
soon = socket.create_server(('::1', 0), family=socket.AF_INET6)
pairs = []
for one in (late, soon):
    client = socket.create_connection(one.getsockname()[:2]); pairs.append((client, one.accept()[0]))
print('ready', flush=True)
sys.stdin.readline()
for client, server in pairs:
    for i in range(10):
        client.sendall(b'x')
        if client is pairs[0][0]: time.sleep(0.02)
        server.recv(1)
print('read', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    watched.until("all that was read", |seen| seen.sum(|one| one.reads) >= 20);
    let of = |address: &str| {
        let is = |one: &&TcpPeer| one.peer.is_some_and(|peer| peer.address.to_string() == address);
        let of = |value: fn(&TcpPeer) -> u64| watched.peers.iter().filter(is).map(value);
        let sum = |value| of(value).sum::<u64>();
        (sum(|one| one.reads), sum(|one| one.read_delay_us), of(|one| one.slowest_read_us.into()).max())
    };
    let (late, soon) = (of("127.0.0.1"), of("::1"));
    assert_eq!((late.0, soon.0), (10, 10));
    // Less than was waited where an acknowledgement left meanwhile.
    assert!(late.1 >= 60_000 && late.2 >= Some(15_000), "{late:?}");
    assert!(soon.1 < late.1 / 2, "{soon:?} of one that reads at once, {late:?} of one that waits");
}

/// Of three servers one does not answer, one has answered what nobody has read yet, and one is sent more and more.
#[test]
fn answers_that_do_not_come_are_told_apart_from_those_that_nobody_reads_or_needs() {
    let mut watched = Watched::python(
        "
import socket, sys, time
pairs = []
for address in ('127.0.0.1', '127.0.0.2', '127.0.0.3'):
    listener = socket.create_server((address, 0))
    client = socket.create_connection(listener.getsockname()); pairs.append((client, listener.accept()[0], listener))
print('ready', flush=True)
sys.stdin.readline()
for client, server, _ in pairs:
    client.sendall(b'question'); server.recv(8)
    server.sendall(b'answer'); client.recv(6)
(silent, _, _), (unread, server, _), (framed, _, _) = pairs
silent.sendall(b'question')
unread.sendall(b'question'); server.sendall(b'answer')
for i in range(6):
    framed.sendall(b'frame'); time.sleep(0.1)
print('asked', flush=True)
sys.stdin.readline()
pairs[0][1].sendall(b'answer'); silent.recv(6)
print('answered', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    let of = |seen: &Watched, address: &str, value: fn(&TcpPeer) -> u64| -> Vec<u64> {
        let is =
            |one: &&TcpPeer| one.peer.is_some_and(|peer| peer.port.is_some() && peer.address.to_string() == address);
        seen.peers.iter().filter(is).map(value).collect()
    };
    watched.until("an answer that is waited for", |seen| {
        of(seen, "127.0.0.1", |one| one.awaited_us).iter().any(|us| *us >= 1_500_000)
    });
    assert!(of(&watched, "127.0.0.1", |one| one.awaited.into()).iter().all(|count| *count <= 1));
    let sum = |address, value| of(&watched, address, value).iter().sum::<u64>();
    assert_eq!(sum("127.0.0.2", |one| one.awaited.into()), 0, "it was answered: {:?}", watched.peers);
    assert_eq!((sum("127.0.0.3", |one| one.unasked), sum("127.0.0.3", |one| one.answers)), (5, 1));
    assert_eq!((sum("127.0.0.1", |one| one.unasked), sum("127.0.0.2", |one| one.unasked)), (0, 0));
    watched.go_on();
    let (before, looks) = (watched.peers.len(), watched.looks);
    watched.until("two looks", |seen| seen.looks >= looks + 3);
    watched.peers.drain(..before);
    let late = of(&watched, "127.0.0.1", |one| one.awaited.into());
    // A look that was under way may still tell of it.
    assert!(late.iter().rev().take(2).all(|count| *count == 0), "{late:?}");
}

/// Two clients ask in two parts each, one of them with frames of its own between; then nobody is answered.
#[test]
fn requests_that_are_not_answered_are_told_where_turns_are_taken() {
    let mut watched = Watched::python(
        "
import socket, sys, threading, time
listener = socket.create_server(('127.0.0.1', 0))
clients = [socket.create_connection(listener.getsockname()) for _ in 'ab']
servers = [listener.accept()[0] for _ in 'ab']
def ask():
    for i in range(10):
        for one in clients:
            one.sendall(b'ques'); time.sleep(0.02); one.sendall(b'tion'); one.recv(6)
        clients[1].sendall(b'frame'); time.sleep(0.15)
    clients[0].sendall(b'question')
def answer(one):
    text = b''
    for i in range(10):
        while not text.endswith(b'question'): text += one.recv(8)
        one.sendall(b'answer'); text = b''
    one.recv(8)
print('ready', flush=True)
sys.stdin.readline()
all = [threading.Thread(target=answer, args=(one,)) for one in servers] + [threading.Thread(target=ask)]
[one.start() for one in all]; [one.join() for one in all]
print('asked', flush=True)
sys.stdin.readline()
servers[0].sendall(b'answer')
print('answered', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    watched.until("one that waits", |seen| seen.peers.iter().any(|one| one.unanswered > 0));
    let asked = watched.looks;
    watched.until("looks enough for the other to count", |seen| seen.looks >= asked + 3);
    assert!(watched.peers.iter().all(|one| one.unanswered <= 1), "a frame needs no answer: {:?}", watched.peers);
    watched.go_on();
    watched.peers.clear();
    let accepted = |one: &TcpPeer| one.peer.is_some_and(|peer| peer.port.is_none()) && one.connections > 0;
    watched.until("none that waits", |seen| seen.peers.iter().any(|one| accepted(one) && one.unanswered == 0));
}

#[test]
fn failed_connects_and_resets_are_counted_with_their_errno() {
    let mut watched = Watched::python(
        "
import errno, socket, struct, sys
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen(8)
closed = socket.socket(); closed.bind(('127.0.0.1', 0))
print('ready', flush=True)
sys.stdin.readline()
for i in range(3):
    try: socket.create_connection(closed.getsockname())
    except ConnectionRefusedError: pass
for i in range(4):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()
    try: server.recv(1)
    except ConnectionResetError: pass
    server.close()
print('done', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    watched.until("refused connects", |seen| seen.failed(111) >= 3);
    watched.until("resets", |seen| seen.sum(|one| one.resets_received) >= 4);
    assert_eq!(watched.failed(111), 3);
    let resets = (watched.sum(|one| one.resets_sent), watched.sum(|one| one.resets_received));
    // A refused connect receives a reset, too; the socket of a closed port sends none of a process.
    assert_eq!(resets, (4, 4 + 3), "{:?}", watched.peers);
}

#[test]
fn windows_that_are_shut_are_seen_from_both_ends() {
    let mut watched = Watched::python(
        "
import socket, sys
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(('127.0.0.1', 0)); listener.listen(8)
print('ready', flush=True)
sys.stdin.readline()
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.setblocking(False)
try:
    while True: client.send(b'x' * 65536)
except BlockingIOError: pass
print('full', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    watched.until("a window that is shut", |seen| {
        let (peer, own) = (seen.sum(|one| one.peer_zero.into()), seen.sum(|one| one.own_zero.into()));
        peer > 0 && own > 0
    });
    watched.until("what the namespace counts", |seen| seen.zero_windows > 0);
    assert!(watched.peers.iter().any(|one| one.rtt_us.is_some() && one.least_rtt_us.is_some()), "{:?}", watched.peers);
}

#[test]
fn listeners_that_do_not_accept_overflow_also_by_multipath() {
    let mut watched = Watched::python(
        "
import socket, sys
listeners = []
for protocol in (0, 262):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    listener.bind(('127.0.0.1', 0)); listener.listen(2); listeners.append(listener)
print('ready', flush=True)
sys.stdin.readline()
clients = []
for i in range(16):
    client = socket.socket(); client.setblocking(False)
    client.connect_ex(listeners[i % 2].getsockname()); clients.append(client)
print('done', flush=True)
sys.stdin.readline()
",
    );
    watched.go_on();
    let full = |one: &TcpListener| one.dropped > 0 && one.queue > one.limit;
    watched.until("overflows", |seen| seen.listeners.len() == 2 && seen.listeners.iter().all(full));
    for one in &watched.listeners {
        assert_eq!((one.limit, one.queue), (2, 3), "{one:?}");
        assert!(one.address.ip().is_loopback() && one.address.port() != 0, "{one:?}");
    }
    assert_ne!(watched.listeners[0].multipath, watched.listeners[1].multipath, "{:?}", watched.listeners);
    // What the queue has no room for is sent again, and told although no send was stamped.
    watched.until("a SYN that is sent again", |seen| seen.resent > 0 && seen.sum(|one| one.resent) > 0);
}
