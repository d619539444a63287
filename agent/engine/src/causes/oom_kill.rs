//! `oom_kill`: the kernel ended the process because there was no memory left.
//!
//! That it did is told by the kernel itself. Whether its own growth was the reason is said by `memory_growth` or
//! `task_leak`, which then explain it; without either, memory ran out for another reason: a limit that is too low, a
//! sudden need, or neighbours.

use super::{CauseUnit, Scene, shortage};
use crate::{
    memory::mib,
    model::{Cause, CauseKind, Evidence, Join, Layer, Resource, SiteId, TriggerKind},
    window::SECOND,
};

/// The level before is that of so long ago.
const BEFORE: u64 = 60 * SECOND;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::OomKill,
    needs: &[TriggerKind::ProcessExit],
    produces: &[TriggerKind::ProcessExit],
    opens: |_| None,
    propose: |scene| if scene.target.was_killed(scene.now) { vec![cause(scene)] } else { Vec::new() },
    explains: |_, _| false,
};

#[expect(clippy::cast_precision_loss, reason = "bytes, as evidence")]
fn cause(scene: &Scene<'_>) -> Cause {
    let since = scene.now.saturating_sub(BEFORE);
    let memory = &scene.target.memory;
    let evidence = |layer, signal: &str, before: f64, after: f64, unit: &str| Evidence {
        before,
        join: Join::None,
        ..shortage::reading(scene, layer, signal, after, unit, since)
    };
    // The kill began when it was done; what led to it, before.
    let killed = scene.target.killed.unwrap_or(scene.now);
    let kills = evidence(Layer::Infrastructure, "memory.oom_kills", 0.0, memory.oom_kills as f64, "kills");
    let mut all = vec![Evidence { since: killed, ..kills }];
    let own = scene.target.rss_anon.map(|own| own as f64);
    if let Some(own) = own {
        all.push(evidence(Layer::Application, "memory.own", (own - memory.kept_since(since)).max(0.0), own, "bytes"));
    }
    let nearest = memory.nearest_limit();
    if let Some((resource, used, limit)) = nearest {
        let share = if limit > 0 { used as f64 / limit as f64 } else { 1.0 };
        let signal = if resource == Resource::CgroupMemory { "memory.cgroup_ratio" } else { "memory.machine_ratio" };
        all.push(evidence(Layer::Infrastructure, signal, 0.0, share.min(1e6), "ratio"));
    }
    let whose = match nearest {
        Some((Resource::CgroupMemory, _, limit)) => {
            format!(" while its cgroup may use {}", mib(limit as f64))
        }
        _ => String::new(),
    };
    let held = own.map_or_else(String::new, |own| format!("; it held {} of its own", mib(own)));
    Cause {
        kind: CauseKind::OomKill,
        confidence: 0.9,
        title: format!("the kernel killed it for lack of memory{whose}{held}"),
        site: SiteId(0),
        thread: None,
        connection: None,
        traces: Vec::new(),
        evidence: all,
        forecast: None,
    }
}
