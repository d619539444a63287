//! Two hosts with a link that loses packets between them, and what was told against what is true.
//!
//! The hosts are network namespaces. Packets are dropped where they arrive: a drop at the sender's end is a
//! local one, and nothing is sent again. The truth are the sender's own sequence numbers.

#![allow(clippy::unwrap_used, dead_code, reason = "support of tests and benches, where a panic is the report")]

use snowshed_engine::model::{Observation, Retransmit, TraceId};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Where the sender is, and the receiver.
pub(crate) const HERE: [&str; 2] = ["198.18.78.1", "fd00:5e0::1"];
pub(crate) const THERE: [&str; 2] = ["198.18.78.2", "fd00:5e0::2"];
/// The receiver by IPv4, as a program says it that knows IPv6 only.
pub(crate) const THERE_MAPPED: &str = "::ffff:198.18.78.2";
pub(crate) const PORT: &str = "5301";
const PATIENCE: Duration = Duration::from_secs(90);

/// Two hosts that go away with this value.
pub(crate) struct Hosts {
    sender: String,
    receiver: String,
}

impl Hosts {
    /// With this share of the sender's larger packets lost.
    pub(crate) fn make(loss: f64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hosts = Self { sender: format!("snowshed-s{id}"), receiver: format!("snowshed-r{id}") };
        let (near, far) = (format!("ls{id}"), format!("lr{id}"));
        run("ip", &["netns", "add", &hosts.sender]);
        run("ip", &["netns", "add", &hosts.receiver]);
        let link = ["link", "add", &near, "netns", &hosts.sender, "type", "veth", "peer", &far, "netns"];
        run("ip", &[&link[..], &[&hosts.receiver]].concat());
        for (host, link, addresses) in [(&hosts.sender, &near, HERE), (&hosts.receiver, &far, THERE)] {
            run("ip", &["-n", host, "address", "add", &format!("{}/24", addresses[0]), "dev", link]);
            run("ip", &["-n", host, "address", "add", &format!("{}/64", addresses[1]), "dev", link, "nodad"]);
            run("ip", &["-n", host, "link", "set", link, "up"]);
            // A host that cannot be reached is told by a packet to oneself.
            run("ip", &["-n", host, "link", "set", "lo", "up"]);
        }
        let share = loss.to_string();
        for firewall in ["iptables", "ip6tables"] {
            let inside = format!("--net=/run/netns/{}", hosts.receiver);
            let large = ["-A", "INPUT", "-p", "tcp", "-m", "length", "--length", "200:65535"];
            let some = ["-m", "statistic", "--mode", "random", "--probability", &share, "-j", "DROP"];
            run("nsenter", &[&[inside.as_str(), firewall][..], &large, &some].concat());
        }
        hosts
    }

    /// Python where the sender is.
    pub(crate) fn python(&self, script: &str) -> Spoken {
        self.spawn(&self.sender, "/usr/bin/python3", &["-c", script])
    }

    fn spawn(&self, host: &str, program: &str, arguments: &[&str]) -> Spoken {
        let mut child = Command::new("nsenter")
            // Not by `ip netns exec`, which hides tracefs.
            .arg(format!("--net=/run/netns/{host}"))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter (Debian: util-linux)");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Spoken { child, lines }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.sender, &self.receiver] {
            drop(Command::new("ip").args(["netns", "delete", host]).status());
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A process that says lines. It ends with this value.
pub(crate) struct Spoken {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Spoken {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended early");
        line.trim_end().to_owned()
    }

    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The sender's program, compiled into a folder.
pub(crate) fn sender(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lossy/sender.c");
    let program = folder.join("sender");
    let (source, target) = (source.display().to_string(), program.display().to_string());
    run("cc", &["-O1", "-rdynamic", "-o", &target, &source]);
    program
}

/// How two programs meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// The sender connects to this address.
    Connect(&'static str),
    /// The sender accepts on a multipath listener, as Go does, and the other side knows nothing of that.
    Listener,
}

/// What was told, and what is true.
pub(crate) struct Told {
    pub(crate) pid: u32,
    pub(crate) retransmits: Vec<Retransmit>,
    /// Request, first and one past the last sequence number.
    pub(crate) truth: Vec<(u64, u32, u32)>,
    pub(crate) observations: Vec<Observation>,
    pub(crate) lost: u64,
    /// Packets to be sent again that this host itself dropped: its sockets count them, though none was sent.
    pub(crate) dropped_here: u64,
}

/// A retransmit waits for the send that it belongs to, at most two seconds.
const SETTLED: Duration = Duration::from_millis(2_500);

/// Runs so many requests, at most `window` of them unanswered at a time.
pub(crate) fn run_requests(hosts: &Hosts, program: &Path, way: Way, requests: u64, window: u64) -> Told {
    run_sized(hosts, program, way, requests, window, 40_000)
}

/// Likewise, with requests up to this long.
pub(crate) fn run_sized(hosts: &Hosts, program: &Path, way: Way, requests: u64, window: u64, longest: u64) -> Told {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lossy/receiver.py").display().to_string();
    let program = program.display().to_string();
    let (requests, window, longest) = (requests.to_string(), window.to_string(), longest.to_string());
    let six = matches!(way, Way::Connect(address) if address.contains(':') && !address.contains('.'));
    let receive =
        |mode: &str, address: &str| hosts.spawn(&hosts.receiver, "/usr/bin/python3", &[&script, mode, address, PORT]);
    let (_receiver, mut sender) = match way {
        Way::Connect(to) => {
            let mut receiver = receive("accept", THERE[usize::from(six)]);
            assert_eq!(receiver.line(), "listening");
            (receiver, hosts.spawn(&hosts.sender, &program, &["connect", to, PORT, &requests, &window, &longest]))
        }
        Way::Listener => {
            let mut sender =
                hosts.spawn(&hosts.sender, &program, &["listen", "::", PORT, &requests, &window, &longest]);
            assert_eq!(sender.line(), "listening");
            (receive("connect", HERE[0]), sender)
        }
    };
    assert_eq!(sender.line(), "ready");
    let pid = sender.child.id();
    let mut session = super::whole::start();
    session.add_target(pid).unwrap();
    let (mut truth, mut observations) = (Vec::new(), Vec::new());
    // What a socket counted before it was first looked at is nobody's gain.
    let begun = Instant::now();
    while !observations.iter().any(|one| matches!(one, Observation::Tcp(_))) {
        assert!(begun.elapsed() < PATIENCE, "the sockets were not looked at");
        session.poll(Duration::from_millis(20), &mut observations);
    }
    sender.go_on();
    // Lines are read beside the session, which has to go on meanwhile.
    let (tell, lines) = std::sync::mpsc::sync_channel(1024);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let line = sender.line();
                let is_done = line == "done";
                tell.send(line).unwrap();
                if is_done {
                    break;
                }
            }
        });
        let begun = Instant::now();
        let mut ended = None;
        // Until all that waited for its writer is told, and the sockets were looked at after that.
        let mut looked = false;
        while !looked || ended.is_none_or(|at: Instant| at.elapsed() < SETTLED) {
            assert!(begun.elapsed() < PATIENCE, "the sender did not come to its end");
            let told = observations.len();
            session.poll(Duration::from_millis(20), &mut observations);
            let news = &observations[told..];
            looked = news.iter().any(|one| matches!(one, Observation::Tcp(_)));
            for line in lines.try_iter() {
                let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
                match numbers.as_slice() {
                    [request, start, end] => truth.push((*request, *start as u32, *end as u32)),
                    _ => ended = Some(Instant::now()),
                }
            }
        }
        let tcp = session.status().into_iter().find(|probe| probe.name == "tcp").unwrap();
        let retransmits = observations.iter().filter_map(|seen| match seen {
            Observation::Retransmit(retransmit) => Some(retransmit.clone()),
            _ => None,
        });
        let dropped_here = tcp.counts["retransmits_failed_inside_this_host"];
        let (retransmits, lost) = (retransmits.collect(), tcp.lost);
        Told { pid, retransmits, truth: Vec::new(), lost, dropped_here, observations: Vec::new() }
    });
    Told { truth, observations, ..told }
}

/// How right it was.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) events: usize,
    /// All true writers named and nobody else, and marked as complete.
    pub(crate) right: usize,
    /// Of these, over several requests.
    pub(crate) several: usize,
    /// Marked as incomplete, nobody wrong among the named.
    pub(crate) incomplete: usize,
    /// Somebody named who did not write these bytes, or said to be complete and is not.
    pub(crate) wrong: usize,
}

impl Told {
    pub(crate) fn score(&self) -> Score {
        let mut score = Score::default();
        for told in &self.retransmits {
            let (seq, end) = told.sequence;
            if seq == end {
                // An end of the connection: nobody wrote it.
                continue;
            }
            score.events += 1;
            let overlaps = |from: u32, to: u32| before(from, end) && before(seq, to);
            let wanted = self.truth.iter().filter(|(_, from, to)| overlaps(*from, *to));
            let wanted: Vec<TraceId> = wanted.map(|(request, ..)| trace(*request)).collect();
            let named: Vec<TraceId> = told.trace.iter().chain(&told.candidates).copied().collect();
            let nobody_wrong = named.iter().all(|trace| wanted.contains(trace));
            let all = wanted.iter().all(|trace| named.contains(trace));
            match told.complete {
                true if nobody_wrong && all && !named.is_empty() => {
                    score.right += 1;
                    score.several += usize::from(named.len() > 1);
                }
                false if nobody_wrong => score.incomplete += 1,
                _ => {
                    eprintln!("wrong: {told:?}, the writers are {wanted:?}");
                    score.wrong += 1;
                }
            }
        }
        score
    }
}

fn trace(request: u64) -> TraceId {
    TraceId::from_bytes(&[request.to_ne_bytes(), (!request).to_ne_bytes()].concat()).unwrap()
}

fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}
