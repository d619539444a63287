//! Switching faults: names and values as people write them.

use super::{ALL, Fault};

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
    /// It could do nothing here.
    #[error("fault {name}: {missing}")]
    Missing {
        /// The fault.
        name: &'static str,
        /// What it needs and does not find.
        missing: String,
    },
}

/// All names, for people.
fn names() -> String {
    ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
}

/// The fault of this name.
pub(crate) fn find(name: &str) -> Result<&'static dyn Fault, FaultError> {
    ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| FaultError::Unknown(name.to_owned()))
}

/// One line for the command line's short help.
pub(crate) fn names_help() -> String {
    format!("Start with a disease; may be given again: {}", names())
}

/// What the command line's long help says of them, from their own words.
pub(crate) fn help() -> String {
    let mut help = String::from("Start with a disease; may be given again. NAME alone takes the default\n");
    for fault in ALL {
        help.push_str(&format!("\n{}={}\n    {}\n", fault.name(), fault.default_value(), fault.describe()));
    }
    help
}

/// A fault and its value, checked but not yet on.
#[derive(Clone)]
pub(crate) struct Dose {
    fault: &'static dyn Fault,
    value: f64,
    text: String,
}

impl Dose {
    /// Checks a value, and that the fault can do its harm here; an empty value means the default.
    pub(crate) fn new(fault: &'static dyn Fault, value: &str) -> Result<Self, FaultError> {
        let text = if value.is_empty() { fault.default_value() } else { value };
        let wrong = |expected| FaultError::Value { name: fault.name(), value: text.to_owned(), expected };
        let value = fault.parse(text).map_err(wrong)?;
        fault.ready().map_err(|missing| FaultError::Missing { name: fault.name(), missing })?;
        Ok(Self { fault, value, text: text.to_owned() })
    }

    /// Switches it on, for all requests from now on. Call it on the event loop.
    pub(crate) fn give(self) {
        tracing::warn!(fault = self.fault.name(), value = self.text, "fault on");
        self.fault.switch().set(Some((self.value, self.text)));
        self.fault.begin();
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
    fault.switch().text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_names_and_values_are_named() {
        let parse = |text: &str| text.parse::<Dose>().map(|_| ()).expect_err(text).to_string();
        assert_eq!(parse("nope"), format!("no fault \"nope\"; there are {}", names()));
        assert_eq!(parse("loop_stall=soon"), "fault loop_stall: \"soon\": expected milliseconds from 1 to 10000");
        assert_eq!(parse("buffer_leak=0"), "fault buffer_leak: \"0\": expected MiB from 1 to 256");
        assert_eq!(parse("lock_pileup=1s"), "fault lock_pileup: \"1s\": expected milliseconds from 1 to 60000");
        for shared in ["tempfile_fd_leak", "pipe_fd_leak", "body_fd_leak", "task_leak", "timer_leak", "cancel_lost"] {
            for value in ["1.5", "0", "NaN", "-0.1", "all"] {
                let expected = format!("fault {shared}: {value:?}: expected a ratio over 0, at most 1");
                assert_eq!(parse(&format!("{shared}={value}")), expected);
            }
        }
        assert!("loop_stall".parse::<Dose>().is_ok() && "tempfile_fd_leak=0.25".parse::<Dose>().is_ok());
    }

    #[test]
    fn the_help_knows_every_fault_and_its_default() {
        let help = help();
        for fault in ALL {
            let line = format!("\n{}={}\n", fault.name(), fault.default_value());
            assert!(help.contains(&line) && help.contains(fault.describe()), "{}", fault.name());
        }
    }
}
