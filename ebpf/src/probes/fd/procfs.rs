//! The fallback: descriptors from `/proc/PID/fd`. Presence and kind are right; nobody owns anything.

use snowshed_engine::model::{Holding, HoldingKind, Owner, Pid, SiteId};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Descriptors of a process; `None` if it may not be looked at or is gone.
pub(super) fn list(pid: Pid) -> Option<Vec<Holding>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.flatten().filter_map(|entry| holding(&entry.path())).collect())
}

fn holding(path: &Path) -> Option<Holding> {
    let number: i32 = path.file_name()?.to_str()?.parse().ok()?;
    let link = fs::read_link(path).ok()?;
    let metadata = fs::metadata(path).ok();
    let inode = metadata.as_ref().map_or(0, MetadataExt::ino);
    let kind = kind(&link.to_string_lossy(), metadata.as_ref().map_or(0, MetadataExt::mode));
    // Without the `struct file` the descriptor and its inode are the best identity there is.
    let key = inode.rotate_left(24) ^ u64::from(number.unsigned_abs());
    Some(Holding {
        key,
        number,
        kind,
        site: SiteId(0),
        owner: Owner::default(),
        made: None,
        use_mark: 0,
        exchanges: 0,
        leads_to: 0,
        maker: 0,
    })
}

fn kind(link: &str, mode: u32) -> HoldingKind {
    match link {
        "anon_inode:[eventpoll]" => return HoldingKind::Epoll,
        "anon_inode:[eventfd]" => return HoldingKind::Eventfd,
        "anon_inode:[timerfd]" => return HoldingKind::Timerfd,
        "anon_inode:[signalfd]" => return HoldingKind::Signalfd,
        "anon_inode:inotify" => return HoldingKind::Inotify,
        "anon_inode:[fanotify]" => return HoldingKind::Fanotify,
        "anon_inode:[pidfd]" => return HoldingKind::Pidfd,
        "anon_inode:[io_uring]" => return HoldingKind::IoUring,
        "anon_inode:[userfaultfd]" => return HoldingKind::Userfaultfd,
        "anon_inode:[perf_event]" => return HoldingKind::PerfEvent,
        _ if link.starts_with("anon_inode:bpf") => return HoldingKind::Bpf,
        _ if link.starts_with("anon_inode:") => return HoldingKind::Anon,
        _ if link.starts_with("/memfd:") => return HoldingKind::Memfd,
        // Since 6.9 each has an inode of its own.
        _ if link.starts_with("pidfd:") => return HoldingKind::Pidfd,
        _ => {}
    }
    match mode & libc::S_IFMT {
        libc::S_IFREG => HoldingKind::File,
        libc::S_IFDIR => HoldingKind::Directory,
        libc::S_IFCHR | libc::S_IFBLK => HoldingKind::Device,
        libc::S_IFIFO => HoldingKind::Pipe,
        libc::S_IFSOCK => HoldingKind::Socket,
        _ => HoldingKind::Anon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn lists_what_this_process_holds() {
        let file = fs::File::open("/proc/self/maps").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = list(std::process::id()).unwrap();
        let kind_of = |fd: i32| all.iter().find(|holding| holding.number == fd).map(|holding| holding.kind);
        assert_eq!(kind_of(file.as_raw_fd()), Some(HoldingKind::File));
        assert_eq!(kind_of(socket.as_raw_fd()), Some(HoldingKind::Socket));
        assert_eq!(kind("anon_inode:[eventpoll]", 0), HoldingKind::Epoll);
        assert!(list(0).is_none());
    }
}
