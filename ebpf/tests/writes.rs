//! Threads that stand in writes, and who does not read, on the running kernel.
//!
//! Needs root, BPF and Python. Where these are missing the test fails and says so.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod seen;
#[allow(dead_code, reason = "shared with the other suites of this crate")]
mod victim;
mod whole;

use seen::wait;
use snowshed_engine::model::{Observation, WriteEnd};
use victim::Victim;

#[test]
fn a_write_that_nobody_reads_is_told_with_who_does_not() {
    let victim = Victim::start(
        "
import socket, subprocess, threading
keeper = subprocess.Popen(['sleep', '600'], stdin=subprocess.PIPE)
listener = socket.create_server(('127.0.0.1', 0))
peer = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
def log():
    keeper.stdin.write(bytes(1 << 20))
def send():
    peer.sendall(bytes(64 << 20))
threading.Thread(target=log, name='log', daemon=True).start()
say(str(keeper.pid))
wait()
keeper.kill(); keeper.wait()
threading.Thread(target=send, name='send', daemon=True).start()
say(str(listener.getsockname()[1]))
wait()
",
    );
    let keeper: u32 = victim.line().parse().unwrap();
    let mut session = whole::start();
    session.add_target(victim.pid()).unwrap();
    let mut blocked = |what: &str, is: &dyn Fn(&WriteEnd) -> bool| {
        wait(&mut session, what, |seen| match seen {
            Observation::BlockedWrite(told) if told.pid == victim.pid() && is(&told.to) => Some(told.clone()),
            _ => None,
        })
    };
    let pipe = WriteEnd::Pipe { reader: Some(keeper), name: Some("sleep".to_owned()) };
    let told = blocked("a write to a pipe", &|to| *to == pipe);
    assert!(told.syscall == "write" && told.wait_ns > 0 && told.site.0 != 0, "{told:?}");
    victim.go_on();
    let port = victim.line().parse().unwrap();
    let to = WriteEnd::Socket { peer: Some(std::net::SocketAddr::from(([127, 0, 0, 1], port))) };
    let told = blocked("a write to a socket", &|seen| *seen == to);
    assert_eq!(told.syscall, "sendto");
}
