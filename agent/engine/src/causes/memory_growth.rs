//! `memory_growth`: memory that rises steadily and is not given back.
//!
//! That it grows rests on its floor, and, where the process publishes it, on the heap in use; where from, on
//! sampled pages, as the place from which more comes in since it began than before. Where much more comes in than
//! stays, the place with most need not be what is kept: it is then left unknown. Confidence falls with that.

use super::{CauseUnit, Scene, trigger_evidence};
use crate::{
    detect::Finding,
    forecast::span_words,
    memory::{Growing, Origin, mib},
    model::{Cause, CauseKind, Evidence, Forecast, Join, Layer, PageKind, Resource, Severity, SiteId, TriggerKind},
    window::SECOND,
};

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::MemoryGrowth,
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
    explains: |_, kind| kind == CauseKind::OomKill,
};

/// A place is named only if at least this share of what is new comes from it ...
const SHARE: f64 = 0.4;
/// ... and no more than so many times as much comes in as stays, unless hardly anything else does.
const TURNOVER: f64 = 4.0;
/// Nearly everything that is new.
const NEARLY_ALL: f64 = 0.8;
/// How sure it is at most as long as it has not lasted: a heap may yet be collected.
const YOUNG: f64 = 0.7;

/// Growth whose limit is not too far away.
fn near<'a>(scene: &Scene<'a>) -> Option<&'a Growing> {
    let open_below = scene.config.growth.open_below_seconds;
    scene.memory.filter(|memory| memory.eta().is_none_or(|eta| eta.0 <= open_below))
}

fn opens(scene: &Scene<'_>) -> Option<Finding> {
    let memory = near(scene)?;
    let rise = &memory.rise;
    Some(Finding {
        kind: TriggerKind::Anomaly,
        of: Some(CauseKind::MemoryGrowth),
        slo: None,
        detail: format!("memory has grown from {} to {} without a pause", mib(rise.from), mib(rise.to)),
        severity: if memory.ends_within(scene.config.exhaustion.open_below_seconds) {
            Severity::Page
        } else {
            Severity::Ticket
        },
        onset: (rise.since, rise.since.saturating_add(2 * SECOND).min(scene.now)),
    })
}

fn propose(scene: &Scene<'_>) -> Vec<Cause> {
    // Beside tasks that pile up it is told however far its limit is.
    let told = near(scene).or_else(|| scene.memory.filter(|_| !scene.piles.is_empty()));
    told.map(|memory| cause(scene, memory)).into_iter().collect()
}

/// The place, if it may be named, and how sure that is.
fn place(memory: &Growing) -> (Option<&Origin>, f64) {
    let Some(origin) = &memory.origin else { return (None, 0.0) };
    let share = origin.rate / origin.all.max(1.0);
    let turnover = origin.all / memory.rise.rate().1.max(1.0);
    let named = origin.site.0 != 0 && share >= SHARE && (turnover <= TURNOVER || share >= NEARLY_ALL);
    (Some(origin).filter(|_| named), share.min(1.0) / turnover.max(1.0).sqrt())
}

fn cause(scene: &Scene<'_>, memory: &Growing) -> Cause {
    let (origin, sure) = place(memory);
    let rise = &memory.rise;
    let evidence = |signal: &str, before: f64, after: f64, unit: &str, join| Evidence {
        layer: Layer::Application,
        signal: signal.to_owned(),
        before,
        after,
        unit: unit.to_owned(),
        n: 1,
        since: rise.since,
        until: scene.now,
        join,
        ambiguity: 1,
    };
    let what = match (memory.published, memory.kind) {
        (true, _) => "memory.heap_in_use",
        (false, PageKind::Anon) => "memory.own",
        (false, PageKind::Shmem) => "memory.shared",
    };
    let mut all = vec![evidence(what, rise.from, rise.to, "bytes", Join::None)];
    if let Some(origin) = origin {
        all.push(evidence("memory.pages_in", 0.0, origin.rate, "bytes/s", origin.join));
    }
    all.extend(trigger_evidence(scene));
    let forecast = memory.limit.zip(memory.eta()).map(|((resource, level, limit), eta_seconds)| Forecast {
        resource,
        level,
        limit,
        eta_seconds,
    });
    let lasted = scene.now.saturating_sub(rise.since) >= scene.config.growth.after_calm_seconds.saturating_mul(SECOND);
    let confidence = if origin.is_some() { 0.75 + 0.2 * sure } else { 0.65 };
    Cause {
        kind: CauseKind::MemoryGrowth,
        confidence: if lasted { confidence } else { confidence.min(YOUNG) },
        title: title(memory, forecast.as_ref()),
        site: origin.map_or(SiteId(0), |origin| origin.site),
        thread: None,
        connection: None,
        traces: origin.map_or(Vec::new(), |origin| origin.traces.clone()),
        evidence: all,
        forecast,
    }
}

fn title(memory: &Growing, forecast: Option<&Forecast>) -> String {
    let what = match (memory.published, memory.kind) {
        (true, _) => "the heap in use grows",
        (false, PageKind::Anon) => "memory grows",
        (false, PageKind::Shmem) => "shared memory grows",
    };
    let (low, high) = memory.rise.rate();
    let rate = (low + high) / 2.0 * 60.0;
    let held = format!("{what} by {} a minute, {} so far", mib(rate), mib(memory.rise.amount()));
    match forecast {
        Some(told) => {
            format!("{held}; the limit of {} is reached in {}", limit_words(told), span_words(told.eta_seconds))
        }
        None => held,
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes, for a person")]
fn limit_words(told: &Forecast) -> String {
    let whose = match told.resource {
        Resource::CgroupMemory => " of its cgroup",
        Resource::HostMemory => " of the machine",
        Resource::HeapInUse => " of its heap",
        _ => "",
    };
    format!("{}{whose}", mib(told.limit as f64))
}
