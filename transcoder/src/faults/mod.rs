//! Switchable diseases, so that a diagnosis can be checked against the truth.
//!
//! One file each, listed in [`ALL`]. Each is what a careless colleague might have written, in functions that are not
//! inlined, so that a stack names the line. Invariant: with all of them off a request pays one relaxed load of an
//! atomic at each of its two doors, and runs no code of theirs.

mod body_fd_leak;
mod buffer_leak;
mod cancel_lost;
mod dose;
mod hoard;
mod lock_pileup;
mod loop_stall;
mod pipe_fd_leak;
mod share;
mod switch;
mod task_leak;
mod tempfile_fd_leak;
mod timer_leak;

pub(crate) use dose::{Dose, FaultError, cure, find, help, names_help, value};
pub(crate) use switch::Switch;

use axum::body::Body;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;

/// What a fault makes of a request: the upload that is transcoded in the end.
pub(crate) type Infected = Pin<Box<dyn Future<Output = io::Result<Body>> + Send>>;

/// A disease.
pub(crate) trait Fault: Sync {
    /// Its name on the command line and in the API.
    fn name(&self) -> &'static str;
    /// The kind of cause that it must be diagnosed as.
    fn cause(&self) -> &'static str;
    /// What it does and what the value means, in one sentence.
    fn describe(&self) -> &'static str;
    /// Its switch.
    fn switch(&self) -> &Switch;
    /// The value where none is given.
    fn default_value(&self) -> &'static str {
        "1"
    }
    /// Reads a value: a share of the requests, where a fault does not say otherwise.
    ///
    /// # Errors
    /// What would have been right.
    fn parse(&self, value: &str) -> Result<f64, String> {
        share::parse(value)
    }
    /// Whether it can do its harm on this machine.
    ///
    /// # Errors
    /// What is missing.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    /// Begins what it does beside requests. On the event loop, and again when it is on already.
    fn begin(&self) {}
    /// What it does to a request, in the request's span on the event loop's thread, before transcoding.
    fn infect(&self, _value: f64, upload: Body) -> Infected {
        Box::pin(async { Ok(upload) })
    }
    /// What it does to the result on its way to the client, in the request's span.
    fn infect_result(&self, _value: f64, result: Body) -> Body {
        result
    }
    /// Gives back what it has heaped up, as a restart of the repaired version would.
    fn heal(&self) {}
}

/// All faults.
pub(crate) static ALL: [&dyn Fault; 9] = [
    &buffer_leak::BufferLeak,
    &pipe_fd_leak::PipeFdLeak,
    &tempfile_fd_leak::TempfileFdLeak,
    &body_fd_leak::BodyFdLeak,
    &loop_stall::LoopStall,
    &task_leak::TaskLeak,
    &timer_leak::TimerLeak,
    &cancel_lost::CancelLost,
    &lock_pileup::LockPileup,
];

/// Where this service can be reached by itself.
static OWN_ADDRESS: OnceLock<SocketAddr> = OnceLock::new();

/// Says where this service listens. The first word counts.
pub(crate) fn listening_on(address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    OWN_ADDRESS.get_or_init(|| SocketAddr::new(ip, address.port()));
}

/// Lets every fault that is on have its way with a request.
///
/// # Errors
/// What a disease broke (no more files, for one).
pub(crate) async fn infect(mut upload: Body) -> io::Result<Body> {
    if !switch::any_is_on() {
        return Ok(upload);
    }
    for fault in ALL {
        if let Some(value) = fault.switch().value() {
            upload = fault.infect(value, upload).await?;
        }
    }
    Ok(upload)
}

/// The same with the result on its way to the client.
pub(crate) fn infect_result(mut result: Body) -> Body {
    if !switch::any_is_on() {
        return result;
    }
    for fault in ALL {
        if let Some(value) = fault.switch().value() {
            result = fault.infect_result(value, result);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and kinds that others rely on.
    #[test]
    fn every_fault_is_described_and_takes_its_own_default() {
        for fault in ALL {
            assert!(Dose::new(fault, "").is_ok(), "{}", fault.name());
            assert!(fault.describe().len() > 20 && fault.name().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
            assert!(std::ptr::addr_eq(find(fault.name()).expect("listed"), fault), "{} twice", fault.name());
            assert_eq!(value(fault), None, "off unless switched on");
        }
        let kinds = ALL.map(|fault| (fault.name(), fault.cause()));
        assert_eq!(
            kinds,
            [
                ("buffer_leak", "memory_growth"),
                ("pipe_fd_leak", "fd_leak"),
                ("tempfile_fd_leak", "fd_leak"),
                ("body_fd_leak", "fd_leak"),
                ("loop_stall", "event_loop_stall"),
                ("task_leak", "task_leak"),
                ("timer_leak", "task_leak"),
                ("cancel_lost", "task_leak"),
                ("lock_pileup", "lock_contention"),
            ]
        );
    }
}
