//! Switchable diseases, so that a diagnosis can be checked against the truth.
//!
//! One file each, listed in [`ALL`]. Invariant: with all of them off a request pays one relaxed load of an atomic and
//! runs no code of theirs.

mod loop_stall;
mod tempfile_fd_leak;

use axum::body::Body;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a fault makes of a request: the upload that is transcoded in the end.
pub(crate) type Infected = Pin<Box<dyn Future<Output = io::Result<Body>> + Send>>;

/// A disease.
pub(crate) trait Fault: Sync {
    /// Its name on the command line and in the API.
    fn name(&self) -> &'static str;
    /// The kind of cause that it must be diagnosed as.
    fn cause(&self) -> &'static str;
    /// The value where none is given.
    fn default_value(&self) -> &'static str;
    /// What it does and what the value means, in one sentence.
    fn describe(&self) -> &'static str;
    /// Its switch.
    fn switch(&self) -> &Switch;
    /// Reads a value.
    ///
    /// # Errors
    /// What would have been right.
    fn parse(&self, value: &str) -> Result<f64, String>;
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
pub(crate) static ALL: [&dyn Fault; 2] = [&tempfile_fd_leak::TempfileFdLeak, &loop_stall::LoopStall];

/// How many are on: the one thing that healthy requests look at.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// A fault's value while it is on.
pub(crate) struct Switch(Mutex<Option<(f64, String)>>);

impl Switch {
    const fn off() -> Self {
        Self(Mutex::new(None))
    }

    fn set(&self, value: Option<(f64, String)>) {
        // Nothing under this lock can panic.
        let mut held = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (held.is_some(), value.is_some()) {
            (false, true) => ACTIVE.fetch_add(1, Ordering::Relaxed),
            (true, false) => ACTIVE.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        *held = value;
    }

    fn get(&self) -> Option<(f64, String)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Why a fault could not be switched.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultError {
    /// There is none of this name.
    #[error("no fault {_0:?}; there are {all}", all = names())]
    Unknown(String),
    /// The value does not fit.
    #[error("fault {name}: {value:?}: expected {expected}")]
    Value {
        /// The fault.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
}

fn names() -> String {
    ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
}

/// The fault of this name.
pub(crate) fn find(name: &str) -> Result<&'static dyn Fault, FaultError> {
    ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| FaultError::Unknown(name.to_owned()))
}

/// A fault and its value, checked but not yet on.
#[derive(Clone)]
pub(crate) struct Dose {
    fault: &'static dyn Fault,
    value: f64,
    text: String,
}

impl Dose {
    /// Checks a value; an empty one means the default.
    pub(crate) fn new(fault: &'static dyn Fault, value: &str) -> Result<Self, FaultError> {
        let text = if value.is_empty() { fault.default_value() } else { value };
        let wrong = |expected| FaultError::Value { name: fault.name(), value: text.to_owned(), expected };
        Ok(Self { fault, value: fault.parse(text).map_err(wrong)?, text: text.to_owned() })
    }

    /// Switches it on, for all requests from now on.
    pub(crate) fn give(self) {
        tracing::warn!(fault = self.fault.name(), value = self.text, "fault on");
        self.fault.switch().set(Some((self.value, self.text)));
    }
}

impl std::str::FromStr for Dose {
    type Err = FaultError;

    /// `NAME` or `NAME=VALUE`.
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Self::new(find(name)?, value)
    }
}

/// Switches a fault off and gives back what it holds.
pub(crate) fn cure(fault: &dyn Fault) {
    fault.switch().set(None);
    fault.heal();
    tracing::warn!(fault = fault.name(), "fault off");
}

/// The value of a fault that is on, as it was written.
pub(crate) fn value(fault: &dyn Fault) -> Option<String> {
    fault.switch().get().map(|(_, text)| text)
}

/// Lets every fault that is on have its way with a request.
///
/// # Errors
/// What a disease broke (no more files, for one).
pub(crate) async fn infect(mut upload: Body) -> io::Result<Body> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return Ok(upload);
    }
    for fault in ALL {
        if let Some((value, _)) = fault.switch().get() {
            upload = fault.infect(value, upload).await?;
        }
    }
    Ok(upload)
}

/// The same with the result on its way to the client.
pub(crate) fn infect_result(mut result: Body) -> Body {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return result;
    }
    for fault in ALL {
        if let Some((value, _)) = fault.switch().get() {
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
            assert!(["fd_leak", "event_loop_stall"].contains(&fault.cause()));
            assert!(std::ptr::addr_eq(find(fault.name()).expect("listed"), fault));
            assert_eq!(value(fault), None, "off unless switched on");
        }
    }

    #[test]
    fn wrong_names_and_values_are_named() {
        let parse = |text: &str| text.parse::<Dose>().map(|_| ()).expect_err(text).to_string();
        assert_eq!(parse("nope"), "no fault \"nope\"; there are tempfile_fd_leak, loop_stall");
        assert_eq!(parse("loop_stall=soon"), "fault loop_stall: \"soon\": expected milliseconds from 1 to 10000");
        for wrong in ["tempfile_fd_leak=1.5", "tempfile_fd_leak=0", "tempfile_fd_leak=NaN", "loop_stall=0"] {
            assert!(wrong.parse::<Dose>().is_err(), "{wrong} passed");
        }
        assert!("loop_stall".parse::<Dose>().is_ok() && "tempfile_fd_leak=0.25".parse::<Dose>().is_ok());
    }
}
