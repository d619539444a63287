//! A session that leaves nothing out: what is tested is what the probes see, and not what a budget lets them see on a
//! machine that does other things too.

use snowshed_ebpf::{Budget, Options, Session};

/// With no budget to hold.
pub(crate) fn start() -> Session {
    let mut session = Session::start(Options::default());
    session.set_budget(Budget {
        targets_core_share: 1024.0,
        targets_cpu_ratio: 1024.0,
        agent_core_share: 1024.0,
        ..Budget::default()
    });
    session
}
