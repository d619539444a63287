//! What a process runs with.

use super::{Nanos, Pid};
use serde::{Deserialize, Serialize};

/// What a process runs with, read once when it is found and once after each exec. A digest is of text that may hold
/// secrets, and keyed: it can be held against another of the same agent's run, and tells nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The process.
    pub pid: Pid,
    /// When it was read.
    pub at: Nanos,
    /// The build id of its executable; `None`: it has none, or could not be read.
    #[serde(default)]
    pub build: Option<String>,
    /// Digest of its arguments; `None`: they could not be read, or it wrote over them.
    #[serde(default)]
    pub arguments: Option<u64>,
    /// Digest of the environment that it was started with, likewise, without what differs from start to start.
    #[serde(default)]
    pub environment: Option<u64>,
    /// Its limits; one that is not listed is unknown.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// A limit of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is limited, as in `open files` or `cgroup memory (bytes)`.
    pub name: String,
    /// How much there may be; `None`: no limit.
    pub value: Option<u64>,
}
