//! Who listens at an address: the targets that hold the socket.
//!
//! Invariant: read from `/proc` of the agent's own network namespace, which is where the address is asked too.
//! Blocks for a few milliseconds for each thousand descriptors of the targets.

use procfs::net::{TcpNetEntry, TcpState};
use snowshed_engine::model::Pid;
use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, SocketAddr},
};

/// The targets that hold a socket listening at an address.
pub(super) fn holders(address: SocketAddr, targets: &[Pid]) -> Vec<Pid> {
    let all = procfs::net::tcp().unwrap_or_default().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let listening: Vec<TcpNetEntry> = all.filter(|entry| entry.state == TcpState::Listen).collect();
    let of = |exact: bool| -> HashSet<u64> {
        let fits = |entry: &&TcpNetEntry| takes(entry.local_address, address, exact);
        listening.iter().filter(fits).map(|entry| entry.inode).collect()
    };
    // Whoever is bound to the very address gets the connection, not who is bound to all.
    let inodes = Some(of(true)).filter(|exact| !exact.is_empty()).unwrap_or_else(|| of(false));
    targets.iter().copied().filter(|pid| !inodes.is_empty() && holds(*pid, &inodes)).collect()
}

/// Whether connections to `wanted` come to a socket bound to `bound`.
fn takes(bound: SocketAddr, wanted: SocketAddr, exact: bool) -> bool {
    let ip = bound.ip().to_canonical();
    let same = if exact {
        ip == wanted.ip()
    } else {
        // A socket bound to all of IPv6 mostly takes IPv4 too; if this one does not, another holds the address.
        ip.is_unspecified() && (ip.is_ipv4() == wanted.is_ipv4() || matches!(ip, IpAddr::V6(_)))
    };
    same && bound.port() == wanted.port()
}

fn holds(pid: Pid, inodes: &HashSet<u64>) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| {
        let link = fs::read_link(fd.path()).unwrap_or_default();
        let inode = link.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode: u64| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_is_found_by_the_socket_that_it_listens_on_and_others_are_not() {
        let me = std::process::id();
        for (bind, ask) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1")] {
            let listener = TcpListener::bind(bind).expect("a port");
            let address = SocketAddr::new(ask.parse().expect("an ip"), listener.local_addr().expect("bound").port());
            assert_eq!(holders(address, &[1, me]), [me], "{bind}");
            assert!(holders(address, &[1]).is_empty());
            drop(listener);
            assert!(holders(address, &[me]).is_empty(), "{bind} is closed");
        }
    }

    #[test]
    fn an_address_is_taken_by_who_is_bound_to_it_or_to_all() {
        let takes = |bound: &str, wanted: &str, exact| {
            takes(bound.parse().expect("an address"), wanted.parse().expect("an address"), exact)
        };
        assert!(takes("127.0.0.1:5", "127.0.0.1:5", true) && takes("[::ffff:127.0.0.1]:5", "127.0.0.1:5", true));
        assert!(takes("0.0.0.0:5", "127.0.0.1:5", false) && takes("[::]:5", "127.0.0.1:5", false));
        assert!(!takes("0.0.0.0:5", "[::1]:5", false) && !takes("0.0.0.0:6", "127.0.0.1:5", false));
        assert!(!takes("10.0.0.1:5", "127.0.0.1:5", true) && !takes("10.0.0.1:5", "127.0.0.1:5", false));
    }
}
