//! How a page that a target publishes is getting on, as the API and `why` tell it.

use serde::Serialize;
use snowshed_engine::model::Pid;

/// A page.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Record {
    /// As it was configured.
    pub(crate) url: String,
    /// The target that listens there.
    pub(crate) pid: Option<Pid>,
    /// Why nothing was learnt at the last attempt; `null`: something was, or there was none yet.
    pub(crate) error: Option<String>,
    pub(crate) attempts_total: u64,
    pub(crate) failed_total: u64,
}
