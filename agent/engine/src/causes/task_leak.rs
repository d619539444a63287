//! `task_leak`: threads, async tasks or goroutines that only become more.
//!
//! Threads are counted by the kernel at the place that makes them, goroutines at the place that their profile
//! tells; async tasks are only counted by their runtime. Of those without a place it is told where the memory
//! comes in that grows with them, if it grows since about the same time. That memory is then this leak's symptom.

use super::{CauseUnit, Scene, trigger_evidence};
use crate::{
    detect::Finding,
    memory::{Origin, mib},
    model::{Cause, CauseKind, Evidence, Forecast, Join, Layer, Nanos, Severity, SiteId, TriggerKind},
    tasks::{Counted, Pile},
    window::{SECOND, seconds},
};

/// Most causes of this kind at once.
const MOST: usize = 3;
/// Memory that began to grow within this time of the tasks is theirs.
const TOGETHER: Nanos = 30 * SECOND;
/// Of what comes in newly, the place that makes the tasks must bring at least this share.
const SHARE: f64 = 0.4;
/// Of what came in there, at least this share must have stayed.
const STAYS: f64 = 0.3;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::TaskLeak,
    needs: &[TriggerKind::Anomaly, TriggerKind::JointRule, TriggerKind::ProcessExit],
    produces: &[
        TriggerKind::Anomaly,
        TriggerKind::Exhaustion,
        TriggerKind::SloWindows,
        TriggerKind::JointRule,
        TriggerKind::ProcessExit,
    ],
    opens,
    propose,
    explains: |scene, kind| match kind {
        CauseKind::MemoryGrowth => true,
        CauseKind::OomKill => scene.memory.is_some(),
        _ => false,
    },
};

fn opens(scene: &Scene<'_>) -> Option<Finding> {
    let pile = scene.piles.first()?;
    let (from, noun, to) = (pile.rise.from, pile.noun(), pile.rise.to);
    let severity = if scene.memory.is_some_and(|memory| memory.ends_within(scene.config.exhaustion.open_below_seconds))
    {
        Severity::Page
    } else {
        Severity::Ticket
    };
    Some(Finding {
        kind: TriggerKind::Anomaly,
        of: Some(CauseKind::TaskLeak),
        slo: None,
        detail: format!("{from:.0} {noun} have become {to:.0}, and go on"),
        severity,
        onset: (pile.rise.since, pile.rise.since.saturating_add(2 * SECOND).min(scene.now)),
    })
}

fn propose(scene: &Scene<'_>) -> Vec<Cause> {
    scene.piles.iter().take(MOST).map(|pile| cause(scene, pile)).collect()
}

fn cause(scene: &Scene<'_>, pile: &Pile) -> Cause {
    let rise = &pile.rise;
    let evidence = |signal: &str, before: f64, after: f64, unit: &str, join| Evidence {
        layer: Layer::Application,
        signal: signal.to_owned(),
        before,
        after,
        unit: unit.to_owned(),
        n: pile.live,
        since: rise.since,
        until: scene.now,
        join,
        ambiguity: 1,
    };
    let (signal, unit) = match pile.counted {
        Counted::Threads => ("threads.live", "threads"),
        Counted::Tasks => ("tasks.live", "tasks"),
    };
    let join = if pile.traces.is_empty() { Join::None } else { Join::Inherited };
    let mut all = vec![evidence(signal, rise.from, rise.to, unit, join)];
    let memory = scene.memory.filter(|memory| memory.rise.since.abs_diff(rise.since) <= TOGETHER);
    if let Some(memory) = memory {
        all.push(evidence("memory.own", memory.rise.from, memory.rise.to, "bytes", Join::Window));
    }
    // What came in there newly must also have stayed: else it is not the tasks'.
    let kept = scene.target.memory.kept_since(rise.since);
    let stays = |origin: &Origin| {
        let came = origin.rate * seconds(scene.now.saturating_sub(rise.since));
        origin.site.0 != 0 && origin.rate >= SHARE * origin.all && kept > 0.0 && kept >= STAYS * came
    };
    let origin = scene.target.memory.origin(rise.since, scene.now).filter(|found| pile.site.0 == 0 && stays(found));
    let (mut site, mut traces, mut confidence) = (pile.site, pile.traces.clone(), 0.9);
    let each = memory.map(|memory| memory.rise.amount()).or(origin.as_ref().map(|_| kept));
    if pile.site.0 == 0 {
        (site, traces, confidence) = match origin {
            Some(origin) => {
                all.push(evidence("memory.pages_in", 0.0, origin.rate, "bytes/s", origin.join));
                (origin.site, origin.traces, 0.85)
            }
            None => (SiteId(0), traces, 0.75),
        };
    }
    all.extend(trigger_evidence(scene));
    Cause {
        kind: CauseKind::TaskLeak,
        confidence,
        title: title(pile, each.map(|bytes| bytes / rise.amount().max(1.0))),
        site,
        thread: None,
        connection: None,
        traces,
        evidence: all,
        forecast: memory.and_then(|memory| {
            let (resource, level, limit) = memory.limit?;
            Some(Forecast { resource, level, limit, eta_seconds: memory.eta()? })
        }),
    }
}

fn title(pile: &Pile, bytes_each: Option<f64>) -> String {
    let (low, high) = pile.rise.rate();
    let name = match (pile.counted, pile.name.as_str()) {
        (_, "") => String::new(),
        (Counted::Threads, name) => format!(" ({name})"),
        (Counted::Tasks, state) => format!(" ({state})"),
    };
    let each = bytes_each.map_or_else(String::new, |bytes| format!("; with each {} of memory stay", mib(bytes)));
    format!(
        "{:.0} {}{name} more than before, and {:.0} more every minute{each}",
        pile.rise.amount(),
        pile.noun(),
        (low + high) / 2.0 * 60.0
    )
}
