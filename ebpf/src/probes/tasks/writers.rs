//! Threads that stand in a write because nobody reads: for how long, and who is at the other end.
//!
//! A signal reaches them, unlike those that wait for a disk. Whose end it is is looked up once for each wait that two
//! looks saw, by what `/proc` says of the descriptor; the reader of a pipe is sought among all processes, each pipe once
//! in a while.
//! Invariant: nothing here waits for what the thread waits for. Cost: nothing but for such a wait; then a look at the
//! descriptors of [`PROCESSES`] processes at most, every [`AGAIN`].
//! Limits: descriptors that do not block (event loops, Go, Node) never hold a thread in a write: what is not read there
//! piles up in their memory.

use super::{
    user::number,
    waits::{Longest, Waits},
};
use crate::{probes::epoll::syscall_name, wire::TaskRecord};
use snowshed_engine::model::{BlockedWrite, Nanos, Observation, Pid, SiteId, WriteEnd};
use std::{
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr},
};

/// The scheduler's `TASK_INTERRUPTIBLE`.
const INTERRUPTIBLE: u32 = 1;
/// Calls that wait for room, with the argument that is the descriptor written to (x86-64): write, writev, sendto, sendmsg,
/// sendmmsg, vmsplice, pwritev2; sendfile; splice; tee.
const WRITES: &[(i64, usize)] =
    &[(1, 0), (20, 0), (44, 0), (46, 0), (307, 0), (278, 0), (328, 0), (40, 0), (275, 2), (276, 1)];
/// Processes whose descriptors are looked at for the reader of a pipe, and descriptors of each.
const PROCESSES: usize = 1_024;
const DESCRIPTORS: usize = 4_096;
/// Who reads a pipe is looked up again after this time.
const AGAIN: Nanos = 30_000_000_000;
/// As much of the table of connections is read.
const TABLE: u64 = 4 << 20;

/// Writes that wait since the last telling.
#[derive(Default)]
pub(super) struct Writers {
    waits: Waits<(WriteEnd, SiteId)>,
    end: End,
}

/// Where the last wait's descriptor led, and when that was looked up.
#[derive(Default)]
struct End(Option<(String, Nanos, WriteEnd)>);

impl Writers {
    /// Takes a look, which stands for a stretch of time.
    pub(super) fn look(
        &mut self,
        times: (Nanos, Nanos),
        records: &[TaskRecord],
        mut place: impl FnMut(&TaskRecord) -> SiteId,
        pid: Pid,
    ) {
        let Self { waits, end } = self;
        let blocked = records.iter().filter(|record| is_blocked(record));
        // A first look is met by every write that is over at once.
        waits.look(times, false, blocked, |record| (end.of(times.0, pid, record), place(record)));
    }

    /// What there is to tell since it was last asked.
    pub(super) fn tell(&mut self, pid: Pid, at: Nanos, level: usize) -> Option<Observation> {
        let (wait_ns, Longest { length, record, seen }) = self.waits.tell()?;
        let (to, site) = seen.unwrap_or((WriteEnd::Unknown, SiteId(0)));
        Some(Observation::BlockedWrite(BlockedWrite {
            pid,
            at,
            wait_ns,
            longest_ns: length,
            tid: number(&record, level),
            thread: super::groups::name(&record),
            syscall: syscall_name(record.syscall),
            to,
            site,
        }))
    }
}

impl End {
    /// Who is at the other end of what a thread writes to.
    fn of(&mut self, now: Nanos, pid: Pid, record: &TaskRecord) -> WriteEnd {
        let Some(fd) = descriptor(record) else { return WriteEnd::Unknown };
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default().display().to_string();
        if let Some((known, at, end)) = &self.0
            && *known == link
            && now.saturating_sub(*at) < AGAIN
        {
            return end.clone();
        }
        let inode = |kind: &str| link.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse::<u64>().ok();
        let end = if inode("pipe").is_some() {
            let (reader, name) = reader(pid, &link).unzip();
            WriteEnd::Pipe { reader, name }
        } else if let Some(inode) = inode("socket") {
            WriteEnd::Socket { peer: peer(pid, inode) }
        } else {
            WriteEnd::Unknown
        };
        self.0 = Some((link, now, end.clone()));
        end
    }
}

/// It stands in a write, and a signal would reach it.
pub(super) fn is_blocked(record: &TaskRecord) -> bool {
    record.state == INTERRUPTIBLE && record.on_cpu == 0 && descriptor(record).is_some()
}

/// The descriptor that a thread writes to.
fn descriptor(record: &TaskRecord) -> Option<u32> {
    let (_, argument) = WRITES.iter().find(|(call, _)| *call == record.syscall)?;
    u32::try_from(record.arguments[*argument]).ok()
}

/// A process, other than the writer, that holds the end of a pipe which is read from; the newest, if several do.
fn reader(writer: Pid, link: &str) -> Option<(Pid, String)> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    let mut pids: Vec<Pid> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    let mut among = pids.into_iter().filter(|pid| *pid != writer).take(PROCESSES);
    let pid = among.find(|pid| holds(*pid, link)).or_else(|| holds(writer, link).then_some(writer))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim_end().to_owned()))
}

/// Whether a process can read from this pipe.
fn holds(pid: Pid, link: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().take(DESCRIPTORS).any(|entry| {
        let is_it = fs::read_link(entry.path()).is_ok_and(|path| path.as_os_str() == link);
        is_it && reads(&fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", entry.file_name().display())))
    })
}

/// Whether a descriptor was opened for reading alone, or for both.
fn reads(info: &std::io::Result<String>) -> bool {
    let flags = info.as_ref().ok().and_then(|info| info.lines().find_map(|line| line.strip_prefix("flags:")));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 3 != 1)
}

/// To whom a TCP socket of a process is connected.
fn peer(pid: Pid, inode: u64) -> Option<SocketAddr> {
    ["tcp", "tcp6"].iter().find_map(|table| {
        let mut text = String::new();
        let file = fs::File::open(format!("/proc/{pid}/net/{table}")).ok()?;
        file.take(TABLE).read_to_string(&mut text).ok()?;
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_whitespace();
            let address = fields.nth(2)?;
            (fields.nth(6)?.parse() == Ok(inode)).then(|| socket_address(address))?
        })
    })
}

/// `0100007F:1F90` as the kernel prints it: words of the machine's own order, and the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let ip = match words?.as_slice() {
        [one] => IpAddr::from(*one),
        four @ [_, _, _, _] => IpAddr::from(<[u8; 16]>::try_from(four.concat()).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write as _, process::Stdio};

    const MS: Nanos = 1_000_000;

    fn record(tid: u32, sleeps: u64, state: u32, syscall: i64) -> TaskRecord {
        let mut record = TaskRecord { host: [tid, 1], state, sleeps, syscall, ..TaskRecord::default() };
        (record.numbers[0], record.arguments[0]) = (tid, u64::from(u32::MAX >> 1));
        record
    }

    #[test]
    fn a_write_that_two_looks_saw_counts_and_the_longest_is_told() {
        let mut writers = Writers::default();
        for step in 0..10 {
            let records = [record(5, 1, 1, 1), record(6, step, 1, 44), record(7, 1, 2, 1), record(8, 1, 1, 0)];
            writers.look((step * 50 * MS, 50 * MS), &records, |_| SiteId(9), 0);
        }
        let told = writers.tell(0, 500 * MS, 0);
        let Some(Observation::BlockedWrite(told)) = told else { panic!("{told:?}") };
        assert_eq!((told.tid, told.longest_ns, told.syscall.as_str(), told.site), (5, 450 * MS, "write", SiteId(9)));
        assert_eq!(told.wait_ns, 2 * 9 * 50 * MS, "nine looks at two threads; one of them gets on, bit by bit");
        assert!(writers.tell(0, 600 * MS, 0).is_none());
    }

    #[test]
    fn who_does_not_read_a_pipe_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"nobody reads it").unwrap();
        let own = std::os::fd::AsRawFd::as_raw_fd(&input).unsigned_abs();
        let mut one = record(1, 1, 1, 1);
        one.arguments[0] = own.into();
        let end = End::default().of(0, std::process::id(), &one);
        drop(child.kill());
        drop(child.wait());
        assert_eq!(end, WriteEnd::Pipe { reader: Some(child.id()), name: Some("sleep".to_owned()) });
    }

    #[test]
    fn the_peer_of_a_connection_is_found_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let own = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut one = record(1, 1, 1, 44);
            one.arguments[0] = u64::from(std::os::fd::AsRawFd::as_raw_fd(&own).unsigned_abs());
            let end = End::default().of(0, std::process::id(), &one);
            assert_eq!(end, WriteEnd::Socket { peer: Some(listener.local_addr().unwrap()) });
        }
    }

    #[test]
    fn odd_tables_are_no_address() {
        for odd in ["", ":", "0100007F", "0100007F:", "é100007F:1F90", "0100007F0100007F:1F90", "XX00007F:1F90"] {
            assert_eq!(socket_address(odd), None, "{odd}");
        }
        assert!(!reads(&Ok("pos:\t0\nflags:\t0100001\n".to_owned())) && reads(&Ok("flags:\t0100000\n".to_owned())));
    }
}
