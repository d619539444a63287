//! Questions to resolvers, told against what the program that asked counted itself.
//!
//! The resolver is a thread of it that answers each question as its first byte says: with a code, late, or not at all.
//! Needs root, BPF, Python and port 53 of an own loopback address. Where these are missing the test fails and says so.

mod whole;

use snowshed_engine::model::{Observation, Resolver};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = "
import os, socket, sys, threading, time
SILENT, LATE = 200, 201

def resolver(family, address):
    # Not connected to anybody, so it is nobody who asks.
    own = socket.socket(family, socket.SOCK_DGRAM)
    own.bind((address, 53))
    def serve():
        while True:
            told, whom = own.recvfrom(512)
            if told[0] == SILENT:
                continue
            if told[0] == LATE:
                time.sleep(0.05)
            code = told[0] if told[0] < 16 else 0
            own.sendto(told[:2] + bytes([0x81, 0x80 | code]) + told[4:], whom)
    threading.Thread(target=serve, daemon=True).start()

def ask(asked, number, take):
    asked.send(bytes([number]) + bytes(29))
    if number != SILENT:
        take(asked)

resolver(socket.AF_INET, '127.0.0.9')
resolver(socket.AF_INET6, '::1')
print('ready', flush=True)
sys.stdin.readline()
for family, address in ((socket.AF_INET, '127.0.0.9'), (socket.AF_INET6, '::1')):
    for n in range(10):
        # As resolver libraries do: a socket for each name, two questions on it.
        asked = socket.socket(family, socket.SOCK_DGRAM)
        asked.connect((address, 53))
        for number in (0, 2, 3, LATE, SILENT):
            ask(asked, number, lambda one: one.recv(512))
        ask(asked, 5, lambda one: os.read(one.fileno(), 512))
        asked.close()
# Nobody listens there: the first send is answered with an ICMP message, which the receive returns.
for n in range(7):
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.connect(('127.0.0.10', 53))
    asked.send(bytes(30))
    try:
        asked.recv(512)
    except ConnectionRefusedError:
        pass
    asked.close()
# No resolver at all.
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(('127.0.0.9', 5353))
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.connect(('127.0.0.9', 5353))
for n in range(5):
    other.send(b'x')
print('done', flush=True)
sys.stdin.readline()
";

/// More resolvers than the table has room for, of which nobody answers; and then others.
const MANY: &str = "
import socket, sys
def ask(address):
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.connect((address, 53))
    asked.send(bytes(30))
    asked.close()
print('ready', flush=True)
sys.stdin.readline()
for n in range(400):
    ask('127.9.%d.%d' % (n // 200, n % 200 + 1))
print('done', flush=True)
sys.stdin.readline()
for n in range(100):
    ask('127.8.0.%d' % (n + 1))
print('done', flush=True)
sys.stdin.readline()
";

/// What was told of each resolver that a program asks, until the last of its phases is told whole: for each the beginning
/// of its resolvers' addresses, and how many questions are to be told at least.
fn told(program: &str, phases: &[(&str, u64)]) -> (BTreeMap<IpAddr, Resolver>, u64) {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let (mut input, mut lines) =
        (child.stdin.take().expect("its input"), BufReader::new(child.stdout.take().expect("its output")));
    let mut line = || {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "it ended early");
        line
    };
    line();
    let mut session = whole::start();
    session.add_target(child.id()).expect("a target");
    let (mut sums, mut looks) = (BTreeMap::<IpAddr, Resolver>::new(), 0);
    let mut until = |is: &dyn Fn(&BTreeMap<IpAddr, Resolver>, u32) -> bool| {
        let begun = Instant::now();
        while !is(&sums, looks) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{sums:?}");
            let mut out = Vec::new();
            session.poll(Duration::from_millis(50), &mut out);
            for one in out {
                looks += u32::from(matches!(one, Observation::Tcp(_)));
                let Observation::Dns(told) = one else { continue };
                assert_eq!(told.pid, child.id());
                for one in told.resolvers {
                    let empty = Resolver { address: one.address, ..nothing() };
                    let sum = sums.entry(one.address).or_insert(empty);
                    sum.asked += one.asked;
                    sum.answered += one.answered;
                    sum.unreachable += one.unreachable;
                    sum.failed += one.failed;
                    sum.unknown += one.unknown;
                    sum.answer_us += one.answer_us;
                }
            }
        }
    };
    until(&|_, looks| looks > 1);
    for (begins, asked) in phases {
        input.write_all(b"\n").expect("it listens");
        line();
        until(&|sums, _| {
            let of = sums.iter().filter(|(address, _)| address.to_string().starts_with(begins));
            of.map(|(_, one)| one.asked).sum::<u64>() >= *asked
        });
        // Some looks in which nothing is asked.
        let first = std::cell::OnceCell::new();
        until(&|_, looks| looks > first.get_or_init(|| looks) + 2);
    }
    drop(input);
    drop(child.wait());
    let status = session.status();
    let own = status.iter().find(|probe| probe.name == "dns").expect("the probe is listed");
    (sums, own.lost)
}

#[test]
fn a_full_table_makes_room_for_who_is_asked_now() {
    let (sums, lost) = told(MANY, &[("127.9.", 200), ("127.8.", 100)]);
    let later = sums.keys().filter(|address| address.to_string().starts_with("127.8.")).count();
    assert_eq!(later, 100, "of {}", sums.len());
    // All at once found no room, and that is counted.
    assert_eq!(sums.len() as u64 + lost, 500);
}

#[test]
fn questions_and_what_comes_of_them_are_counted_by_resolver() {
    let (sums, lost) = told(PROGRAM, &[("", 127)]);
    assert_eq!(lost, 0);
    let of = |address: &str| sums.get(&address.parse().expect("an address")).copied().expect(address);
    for address in ["127.0.0.9", "::1"] {
        let told = of(address);
        let took = told.answer_us;
        assert!((500_000..1_500_000).contains(&took), "ten of the answers took 50 ms: {took} us");
        let expected = Resolver { asked: 60, answered: 50, failed: 20, unknown: 10, answer_us: took, ..told };
        assert_eq!(told, Resolver { unreachable: 0, ..expected });
    }
    let gone = of("127.0.0.10");
    assert_eq!((gone.asked, gone.answered, gone.unreachable), (7, 0, 7), "{gone:?}");
    assert_eq!(sums.len(), 3, "{sums:?}");
}

fn nothing() -> Resolver {
    let address = IpAddr::from([0, 0, 0, 0]);
    Resolver { address, asked: 0, answered: 0, unreachable: 0, failed: 0, unknown: 0, answer_us: 0 }
}
