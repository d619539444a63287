//! The fallback: how often each connection has sent again, asked from the kernel's list of sockets (sock_diag).
//!
//! Nothing is needed for it but a socket; whose connection it is, `/proc/PID/fd` tells. Only the agent's own network
//! namespace can be asked, and nobody knows who wrote the bytes: what is told names no trace and is marked incomplete.
//! Formats: linux/netlink.h, linux/inet_diag.h and `struct tcp_info` of linux/tcp.h. Invariant: whatever the kernel
//! answers is read with bounds. Cost: once a second, time in proportion to the connections of the namespace.

use snowshed_engine::model::{Join, Nanos, Observation, Pid, Retransmit};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::{IpAddr, SocketAddr},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

/// `SOCK_DIAG_BY_FAMILY`, and of `linux/netlink.h` what a list needs.
const BY_FAMILY: u16 = 20;
const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// `INET_DIAG_INFO`, as attribute.
const INFO: u16 = 2;
/// Of `struct tcp_info`: segments sent again since the connection began.
const TOTAL_RETRANS: usize = 100;
/// Every state but those that have no owner (TIME_WAIT, NEW_SYN_RECV) or send nothing (CLOSE, LISTEN).
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// How often the list is asked for.
const EVERY: Nanos = 1_000_000_000;
/// Connections that are remembered.
const MOST: usize = 65_536;

/// A connection as the list tells it.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    inode: u64,
    local: SocketAddr,
    peer: SocketAddr,
    retransmits: u32,
}

/// The fallback.
#[derive(Debug)]
pub(super) struct Diag {
    /// This kernel, and whoever confines the agent, let the list be had.
    answers: bool,
    due: Nanos,
    /// What was told of each socket, by its inode.
    told: HashMap<u64, u32>,
    /// Processes that were there at the last look: what a new socket of theirs has sent again is new.
    known: HashSet<Pid>,
}

impl Default for Diag {
    fn default() -> Self {
        // A list of nothing is refused as any other.
        let answers = list(libc::AF_INET as u8, 0, &mut Vec::new()).is_ok();
        Self { answers, due: 0, told: HashMap::new(), known: HashSet::new() }
    }
}

impl Diag {
    /// What it tells, where it can.
    pub(super) fn serves(&self) -> Option<&'static str> {
        let told = "what the connections of this network namespace have sent again, by sock_diag, without who wrote it";
        self.answers.then_some(told)
    }

    /// Tells what targets have sent again since the last look.
    pub(super) fn look(&mut self, pids: &[Pid], at: Nanos, out: &mut Vec<Observation>) {
        if !self.answers || at < self.due {
            return;
        }
        self.due = at + EVERY;
        let here = namespace("self");
        let mut owners: HashMap<u64, Pid> = HashMap::new();
        for pid in pids.iter().filter(|pid| here.is_some() && namespace(&pid.to_string()) == here) {
            for inode in sockets_of(*pid).into_iter().take(MOST) {
                // A socket that several share is told once, of the oldest.
                owners.entry(inode).or_insert(*pid);
            }
        }
        let mut sockets = Vec::new();
        if !owners.is_empty() {
            for family in [libc::AF_INET, libc::AF_INET6] {
                // What came before an error is told; the rest comes with the next look.
                drop(list(family as u8, STATES, &mut sockets));
            }
        }
        let mut told = HashMap::new();
        for socket in sockets {
            let Some(pid) = owners.get(&socket.inode).filter(|_| told.len() < MOST) else { continue };
            let before = self.told.get(&socket.inode).copied();
            let before = before.or_else(|| self.known.contains(pid).then_some(0)).unwrap_or(socket.retransmits);
            told.insert(socket.inode, socket.retransmits);
            let segments = socket.retransmits.saturating_sub(before);
            if segments > 0 {
                out.push(Observation::Retransmit(Retransmit {
                    pid: Some(*pid),
                    local: socket.local,
                    peer: socket.peer,
                    at,
                    trace: None,
                    join: Join::None,
                    ambiguity: 0,
                    candidates: Vec::new(),
                    complete: false,
                    sequence: (0, 0),
                    segments,
                }));
            }
        }
        self.told = told;
        self.known = pids.iter().copied().collect();
    }
}

fn namespace(process: &str) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|namespace| (namespace.dev(), namespace.ino()))
}

fn sockets_of(pid: Pid) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// The connections of one family in these states.
fn list(family: u8, states: u32, sockets: &mut Vec<Socket>) -> io::Result<()> {
    let mut request = Vec::with_capacity(HEADER + 56);
    request.extend(72_u32.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, libc::IPPROTO_TCP as u8, 1 << (INFO - 1), 0]);
    request.extend(states.to_ne_bytes());
    request.resize(72, 0);
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it, and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a readable buffer of this length.
    if unsafe { libc::send(fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = vec![0_u8; 64 << 10];
    loop {
        // The kernel answers at once, in the thread that asks: what is not there now does not come.
        // SAFETY: a writable buffer of this length.
        let got = unsafe { libc::recv(fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        if parse(answer.get(..got).unwrap_or_default(), sockets)? {
            return Ok(());
        }
    }
}

/// Takes one answer apart; true at the end of the list.
fn parse(mut answer: &[u8], sockets: &mut Vec<Socket>) -> io::Result<bool> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "sock_diag: an answer that is cut short");
    while !answer.is_empty() {
        let length = word(answer, 0).ok_or_else(cut)? as usize;
        let message = answer.get(..length).filter(|message| message.len() >= HEADER).ok_or_else(cut)?;
        match half(message, 4) {
            Some(kind) if i32::from(kind) == libc::NLMSG_DONE => return Ok(true),
            Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => {
                let number = word(message, HEADER).ok_or_else(cut)? as i32;
                return Err(io::Error::from_raw_os_error(-number));
            }
            _ => sockets.extend(socket(&message[HEADER..])),
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8]) -> Option<Socket> {
    let address = |at: usize, port: usize| {
        let port = u16::from_be_bytes(message.get(port..port + 2)?.try_into().ok()?);
        let ip: IpAddr = if i32::from(*message.first()?) == libc::AF_INET {
            <[u8; 4]>::try_from(message.get(at..at + 4)?).ok()?.into()
        } else {
            // A connection of IPv4 on a socket of IPv6 is told as what it is.
            IpAddr::from(<[u8; 16]>::try_from(message.get(at..at + 16)?).ok()?).to_canonical()
        };
        Some(SocketAddr::new(ip, port))
    };
    let (local, peer) = (address(8, 4)?, address(24, 6)?);
    let inode = u64::from(word(message, 68)?);
    let mut rest = message.get(MESSAGE..)?;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let value = rest.get(4..length)?;
        if kind == INFO {
            return Some(Socket { inode, local, peer, retransmits: word(value, TOTAL_RETRANS)? });
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_own_connection_is_on_the_list_with_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = here.as_raw_fd();
        let link = fs::read_link(format!("/proc/self/fd/{inode}")).unwrap();
        assert!(Diag::default().serves().is_some());
        let mut sockets = Vec::new();
        list(libc::AF_INET as u8, STATES, &mut sockets).unwrap();
        let own = sockets.iter().find(|socket| link.to_string_lossy() == format!("socket:[{}]", socket.inode)).unwrap();
        assert_eq!((own.local, own.peer), (here.local_addr().unwrap(), here.peer_addr().unwrap()));
        assert_eq!(own.retransmits, 0);
        assert!(sockets_of(std::process::id()).contains(&own.inode) && sockets_of(0).is_empty());
    }

    #[test]
    fn whatever_is_answered_is_read_with_bounds() {
        for length in [0_u32, 3, 15, 17, 4096, u32::MAX] {
            let mut answer = length.to_ne_bytes().to_vec();
            answer.resize(24, 0xff);
            let read = parse(&answer, &mut Vec::new());
            assert!(read.is_err() || length == 17, "{length}: {read:?}");
        }
        assert_eq!(socket(&[2; MESSAGE]), None);
        let mut cut = vec![2; MESSAGE];
        cut.extend([3, 0, 2, 0]);
        assert_eq!(socket(&cut), None, "an attribute that is shorter than its head");
        let mut refused = vec![20, 0, 0, 0, 2, 0];
        refused.resize(16, 0);
        refused.extend((-libc::EPERM).to_ne_bytes());
        assert_eq!(parse(&refused, &mut Vec::new()).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
