//! Child processes that cannot outlive their starter, and what the kernel says about a process.
//!
//! Invariant: a [`Child`] that goes out of scope is gone (SIGTERM, then SIGKILL after a bound), and the kernel kills
//! it if the thread that started it dies first. So start children only from a thread that lives as long as they should.
//! Cost: polling with 20 ms of sleep; nothing runs between calls.

mod bpf;
mod child;
mod clock;
mod kernel_view;

pub use bpf::{links_held_by, programs_held_by, programs_loaded};
pub use child::{Child, Spawn};
pub use clock::{Machine, clock_seconds, cpu_clock};
pub use kernel_view::{
    Descriptor, children, cpu_seconds, descriptors, is_alive, marked, namespaced_pid, peak_resident, resident,
    settings, threads,
};

use crate::program;
use anyhow::{Context as _, bail};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

/// Set by Ctrl-C after [`end_on_interrupt`]; every [`wait_until`] then gives up.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Below are those of well-known services.
const LEAST_PORT: u16 = 10_000;

/// The workspace's folder.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo puts what it builds.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A release binary of this workspace.
///
/// # Errors
/// It has not been built; the message says how to.
pub fn binary(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = target_dir().join("release").join(name);
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --release -p {package}` first", path.display());
    }
    Ok(path)
}

/// Builds release binaries of this workspace as a user would run them; where they are up to date that takes a moment.
///
/// # Errors
/// One does not compile.
pub fn build(packages: &[&str]) -> anyhow::Result<()> {
    let chosen = packages.iter().flat_map(|package| ["-p", package]);
    program::run(program::cargo().args(["build", "--release", "--quiet", "--locked"]).args(chosen).current_dir(root()))
}

/// Builds those of a service and its agent that are not there. One that is there may be older than its source, or be one
/// that is being compared: it is taken as it is.
///
/// # Errors
/// One does not compile.
pub fn build_missing() -> anyhow::Result<()> {
    let all = [("snowshed", "snowshed-agent"), ("snowshed-transcoder", "snowshed-transcoder")];
    let missing: Vec<&str> =
        all.into_iter().filter_map(|(name, package)| binary(name, package).err().map(|_| package)).collect();
    if missing.is_empty() { Ok(()) } else { build(&missing) }
}

/// Fails unless the caller is root.
///
/// # Errors
/// Says that root is needed, and for what.
pub fn require_root(purpose: &str) -> anyhow::Result<()> {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("{purpose} needs root (BPF programs, network namespaces): run it with sudo");
    }
    Ok(())
}

/// Ports of the loopback that are free now, all different. None is of those that the kernel gives to whoever connects:
/// until it is listened on, any client of this machine could be given it.
///
/// # Errors
/// There are none left.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    /// Turns, so that two runs side by side do not get the same one; from somewhere, for those of other processes.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    let below = LEAST_PORT..first_of_clients()?;
    let mut free = (0..=u16::MAX).filter_map(|_| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % u16::try_from(below.len()).ok().filter(|some| *some > 0)?;
        let port = below.start + turn;
        TcpListener::bind(loopback(port)).is_ok().then_some(port)
    });
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free.next().with_context(|| format!("none of the ports {below:?} is free"))?;
    }
    Ok(ports)
}

/// The first port of those that the kernel gives to whoever connects.
fn first_of_clients() -> anyhow::Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").context("ports of clients")?;
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.with_context(|| format!("ports of clients: {range:?}"))
}

/// The loopback address with this port.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Asks until there is an answer; `None` from `ask` means "not yet".
///
/// # Errors
/// The deadline passed (the message names `what`), `ask` failed, or Ctrl-C was pressed.
pub fn wait_until<T>(
    what: &str,
    bound: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > bound {
            bail!("waited {:.0} s in vain for {what}", bound.as_secs_f64());
        }
        pause(Duration::from_millis(20))?;
    }
}

/// Sleeps, but gives up at once when Ctrl-C is pressed.
///
/// # Errors
/// Ctrl-C was pressed.
pub fn pause(time: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Turns Ctrl-C and SIGTERM into an error from the next wait, so that everything is ended on the way out.
pub fn end_on_interrupt() {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Sends a signal; `false` if there is no such process any more.
///
/// # Errors
/// The kernel refused for another reason.
pub fn signal(pid: u32, signal: i32) -> anyhow::Result<bool> {
    let raw = libc::pid_t::try_from(pid).with_context(|| format!("pid {pid}"))?;
    // SAFETY: kill takes two integers.
    if unsafe { libc::kill(raw, signal) } == 0 {
        return Ok(true);
    }
    match std::io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error).with_context(|| format!("signal {signal} to pid {pid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports: Vec<u16> = (0..8).flat_map(|_| free_ports::<4>().unwrap()).collect();
        let of_clients = first_of_clients().unwrap();
        for (at, port) in ports.iter().enumerate() {
            assert!(!ports[..at].contains(port), "{port} twice in {ports:?}");
            assert!((LEAST_PORT..of_clients).contains(port), "{port}");
            TcpListener::bind(loopback(*port)).unwrap();
        }
    }

    #[test]
    fn a_wait_names_what_it_waited_for() {
        let error = wait_until::<()>("the moon", Duration::from_millis(30), || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }
}
