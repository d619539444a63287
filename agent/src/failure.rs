//! How a command ends when it does not succeed: an exit code and a sentence.

/// An exit code and what to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What is said on standard error; empty says nothing.
    pub(crate) message: String,
}

impl Failure {
    /// What was asked for cannot be done here and now.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// What was asked for makes no sense, or cannot be looked at.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// An exit code that says all.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, message: String::new() }
    }
}
