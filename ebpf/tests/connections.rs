//! What descriptors lead to, and what connections wait for, on the running kernel.
//!
//! The truth is the victim's own: paths, `getsockname`, `getpeername`, and what the test did to each connection.
//! Needs root, BPF and Python; where these are missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "shared with the other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::{OpenFd, Session};
use snowshed_engine::model::{Connections, HoldingKind, Observation, TcpState};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(40);

fn start(pid: u32) -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let mut session = whole::start();
    session.add_target(pid).unwrap();
    let fd = session.status().into_iter().find(|probe| probe.name == "fd").unwrap();
    assert!(!fd.reason.contains("Unix"), "{}", fd.reason);
    session
}

/// Everything that is open.
fn open(session: &mut Session, pid: u32) -> BTreeMap<i32, OpenFd> {
    let numbers: Vec<i32> = session.holdings(pid).unwrap().items.iter().map(|item| item.number).collect();
    session.open(pid, &numbers).unwrap().into_iter().map(|one| (one.item.number, one)).collect()
}

#[test]
fn descriptors_tell_their_path_or_peer() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("names-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = r#"
import os, socket
folder = sys.argv[1]
kept = []
def told(fd, name): say(f'{fd if isinstance(fd, int) else fd.fileno()} {name}')
def file(name, gone=False):
    path = f'{folder}/{name}'
    kept.append(os.open(path, os.O_RDWR | os.O_CREAT))
    if gone: os.unlink(path)
    told(kept[-1], path.replace('\n', '\\u{a}').replace('\x1b', '\\u{1b}') + (' (deleted)' if gone else ''))
file('plain')
file('gone', True)
file('says so (deleted)')
file('two\nlines\x1b[2J')
file('ünïcode')
kept.append(os.memfd_create('scratch')); told(kept[-1], 'memfd:scratch')
told(os.open('/etc', os.O_DIRECTORY), '/etc')
ends = os.pipe(); [told(end, os.readlink(f'/proc/self/fd/{end}')) for end in ends]
unix = socket.socket(socket.AF_UNIX); unix.bind(f'{folder}/u'); unix.listen(); told(unix, f'{folder}/u')
client = socket.socket(socket.AF_UNIX); client.connect(f'{folder}/u')
served = unix.accept()[0]
told(client, f'? <-> {folder}/u')
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); abstract.bind(f'\0snowshed-{os.getpid()}')
told(abstract, f'@snowshed-{os.getpid()}')
pair = socket.socketpair()
for one, other in (pair, pair[::-1]): told(one, '? <-> ' + os.readlink(f'/proc/self/fd/{other.fileno()}'))
def where(address):
    host, port = address[:2]
    if host.startswith('::ffff:'): host = host[7:]
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
def between(one): return f'{where(one.getsockname())} <-> {where(one.getpeername())}'
for family, host in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_INET6, '::ffff:127.0.0.1'):
    listener = socket.socket(family); listener.bind((host, 0)); listener.listen(); told(listener, where(listener.getsockname()))
    near = socket.socket(family); near.connect(listener.getsockname())
    far = listener.accept()[0]
    told(near, between(near)); told(far, between(far))
    kept += [listener, near, far]
    far = socket.socket(family, socket.SOCK_DGRAM); far.bind((host, 0)); told(far, where(far.getsockname()))
    near = socket.socket(family, socket.SOCK_DGRAM); near.connect(far.getsockname()); told(near, between(near))
    kept += [near, far]
fresh = socket.socket(); told(fresh, '0.0.0.0:0 not connected')
say('told'); wait()
"#;
    let prelude = "import sys\ndef say(text): print(text, flush=True)\ndef wait(): sys.stdin.readline()\n";
    let mut command = std::process::Command::new("/usr/bin/python3");
    let victim = Victim::run(command.args(["-c", &format!("{prelude}{program}")]).arg(&folder));
    let mut expected = BTreeMap::new();
    loop {
        let line = victim.line();
        if line == "told" {
            break;
        }
        let (number, name) = line.split_once(' ').unwrap();
        expected.insert(number.parse::<i32>().unwrap(), name.to_owned());
    }
    let mut session = start(victim.pid());
    let all = open(&mut session, victim.pid());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(expected.len() > 25, "{expected:#?}");
    let mut wrong = Vec::new();
    for (number, name) in &expected {
        let one = &all[number];
        // An unnamed socket is called by its inode.
        let told = match (&one.name, one.item.kind) {
            (Some(inode), HoldingKind::Unix) if inode.starts_with("socket:[") => one.to_string().replace(inode, "?"),
            _ => one.to_string(),
        };
        if told != *name {
            wrong.push(format!("{number} is {name}, not {told}"));
        }
        assert!(!told.contains(char::is_control), "{told:?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(all.values().filter(|one| one.deleted).count(), 1);
    assert_eq!(all.values().filter(|one| one.state == Some(TcpState::Listen)).count(), 3);
    let none = session.open(victim.pid(), &[9_999]).unwrap();
    assert!(none.is_empty(), "{none:?}");
}

/// A peer that does to each connection what its first word asks for.
fn serve(mut stream: TcpStream) {
    let mut word = [0; 6];
    stream.read_exact(&mut word).unwrap();
    match &word {
        b"closed" => {}
        b"unread" => {
            stream.write_all(b"nobody reads this").unwrap();
            std::mem::forget(stream);
        }
        b"stuck " | b"idle  " => std::mem::forget(stream),
        b"busy  " => {
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_connection_waits_for_is_told_and_a_healthy_one_waits_for_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let victim = Victim::start(&format!(
        r#"
import os, socket, threading, time
def connect(word):
    one = socket.create_connection(('127.0.0.1', {port}))
    one.sendall(word)
    say(f'{{one.fileno()}} {{word.decode().strip()}}')
    return one
closed, unread, stuck, idle, busy = [connect(word) for word in (b'closed', b'unread', b'stuck ', b'idle  ', b'busy  ')]
again = os.dup(closed.fileno())
stuck.setblocking(False)
try:
    while True: stuck.send(bytes(65536))
except BlockingIOError: pass
def work():
    while True:
        busy.sendall(b'x'); busy.recv(1); time.sleep(0.001)
threading.Thread(target=work, daemon=True).start()
say('ready')
wait()
unread.recv(100); closed.close(); os.close(again)
say('mended'); wait()
"#
    ));
    let mut number = BTreeMap::new();
    loop {
        let line = victim.line();
        let Some((fd, word)) = line.split_once(' ') else { break };
        number.insert(word.to_owned(), fd.parse::<i32>().unwrap());
    }
    let pid = victim.pid();
    let mut session = start(pid);
    // Until a look satisfies, or patience ends with the last look.
    let wait_for = |session: &mut Session, is_right: &dyn Fn(&Connections) -> bool| {
        let (begun, mut last, mut seen) = (Instant::now(), None, Vec::new());
        while begun.elapsed() < PATIENCE {
            session.poll(Duration::from_millis(100), &mut seen);
            for told in seen.drain(..) {
                if let Observation::Connections(told) = told {
                    assert!(told.troubled.iter().all(|one| one.number != number["busy"]), "{told:?}");
                    if is_right(&told) {
                        return told;
                    }
                    last = Some(told);
                }
            }
        }
        panic!("{last:?}");
    };
    let told = wait_for(&mut session, &|told| {
        let counts = told.counts;
        (counts.close_wait, counts.stuck_send, counts.unread) == (1, 1, 1) && counts.idle >= 1
    });
    // The duplicate is the same connection; nothing else was made.
    assert_eq!(told.counts.all, 5, "{told:?}");
    assert_eq!(told.troubled.len(), 3, "{told:?}");
    assert!(told.idle_longest.unwrap() >= 10_000_000_000);
    let all = open(&mut session, pid);
    let of = |word: &str| all[&number[word]].connection.unwrap();
    let (closed, unread, stuck, idle, busy) = (of("closed"), of("unread"), of("stuck"), of("idle"), of("busy"));
    assert!(closed.state == TcpState::CloseWait && closed.close_wait.unwrap() >= 5_000_000_000, "{closed:?}");
    assert_eq!((closed.unread, closed.stuck_send, closed.idle), (0, None, None), "a FIN is no data: {closed:?}");
    assert!(unread.unread == 17 && unread.unread_for.unwrap() >= 5_000_000_000, "{unread:?}");
    assert!(stuck.unsent > 65_536 && stuck.stuck_send.unwrap() >= 5_000_000_000, "{stuck:?}");
    assert!(idle.idle.unwrap() >= 10_000_000_000 && idle.trouble().is_none(), "{idle:?}");
    assert!(busy.trouble().is_none() && busy.close_wait.is_none() && busy.idle < idle.idle, "{busy:?}");
    let label = all[&number["closed"]].to_string();
    assert!(label.ends_with(&format!(" <-> 127.0.0.1:{port} CLOSE_WAIT")), "{label}");

    victim.go_on();
    victim.expect("mended");
    let told = wait_for(&mut session, &|told| told.counts.close_wait == 0 && told.counts.unread == 0);
    assert_eq!((told.counts.stuck_send, told.counts.all), (1, 4), "{told:?}");
}
