//! Whether something is wrong with a target at this moment: the triggers that hold.
//!
//! Invariant: pure reading; the same scene gives the same findings, in the order of the list below,
//! which is also the order in which one of them gives an incident its name.

use crate::{
    causes::Scene,
    forecast::span_words,
    memory::{Growing, mib},
    model::{Nanos, Severity, TriggerKind},
    window::{SECOND, seconds},
};

/// A trigger that holds.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) kind: TriggerKind,
    pub(crate) slo: Option<String>,
    pub(crate) detail: String,
    pub(crate) severity: Severity,
    /// The interval in which it began.
    pub(crate) onset: (Nanos, Nanos),
}

/// Every trigger, one line each.
const ALL: &[fn(&Scene<'_>) -> Option<Finding>] = &[orphans, stall, exhaustion, anomaly, slo_windows];

/// The triggers that hold.
pub(crate) fn detect(scene: &Scene<'_>) -> Vec<Finding> {
    ALL.iter().filter_map(|trigger| trigger(scene)).collect()
}

/// Whether descriptors run out so soon that somebody must look now.
fn soon(scene: &Scene<'_>) -> bool {
    scene.fds.is_some_and(|told| told.eta_seconds.1 < scene.config.exhaustion.open_below_seconds)
}

fn orphans(scene: &Scene<'_>) -> Option<Finding> {
    let worst = scene.leaks.first()?;
    let count: u64 = scene.leaks.iter().map(|leak| leak.orphaned).sum();
    Some(Finding {
        kind: TriggerKind::Orphans,
        slo: None,
        detail: format!("{count} descriptors are held by requests that ended"),
        severity: if soon(scene) { Severity::Page } else { Severity::Ticket },
        onset: worst.onset,
    })
}

fn stall(scene: &Scene<'_>) -> Option<Finding> {
    let worst = scene.stalls.sites.first().filter(|_| scene.stalls.triggered)?;
    let count: u32 = scene.stalls.sites.iter().map(|site| site.count).sum();
    let since = scene.stalls.sites.iter().map(|site| site.since).min().unwrap_or(worst.since);
    Some(Finding {
        kind: TriggerKind::Stall,
        slo: None,
        detail: format!(
            "event loops did not come back {count} times in {} s, {:.1} s in all",
            scene.config.stalls.window_seconds,
            seconds(scene.stalls.total)
        ),
        severity: Severity::Ticket,
        onset: (since, since.saturating_add(worst.typical).min(scene.now)),
    })
}

fn exhaustion(scene: &Scene<'_>) -> Option<Finding> {
    let told = scene.fds.filter(|told| soon(scene) && scene.config.exhaustion.over_gate(told.level, told.limit))?;
    let fit = scene.config.exhaustion.fit_seconds.saturating_mul(SECOND);
    Some(Finding {
        kind: TriggerKind::Exhaustion,
        slo: None,
        detail: format!(
            "{} descriptors are open; the limit of {} is reached in {}",
            told.level,
            told.limit,
            span_words(told.eta_seconds)
        ),
        severity: Severity::Page,
        onset: (scene.now.saturating_sub(fit), scene.now),
    })
}

/// Memory that grows and whose limit is not too far away, or threads or tasks that pile up.
fn anomaly(scene: &Scene<'_>) -> Option<Finding> {
    let finding = |detail, severity, since| Finding {
        kind: TriggerKind::Anomaly,
        slo: None,
        detail,
        severity,
        onset: (since, since.saturating_add(2 * SECOND).min(scene.now)),
    };
    let near = |memory: &&Growing| memory.eta().is_none_or(|eta| eta.0 <= scene.config.growth.open_below_seconds);
    let memory = scene.memory.filter(near);
    let soon = memory.and_then(Growing::eta).is_some_and(|eta| eta.1 < scene.config.exhaustion.open_below_seconds);
    let severity = if soon { Severity::Page } else { Severity::Ticket };
    if let Some(pile) = scene.piles.first() {
        let rise = &pile.rise;
        let detail = format!("{:.0} {} have become {:.0}, and go on", rise.from, pile.noun(), rise.to);
        return Some(finding(detail, severity, rise.since));
    }
    let rise = memory?.rise;
    let detail = format!("memory has grown from {} to {} without a pause", mib(rise.from), mib(rise.to));
    Some(finding(detail, severity, rise.since))
}

fn slo_windows(scene: &Scene<'_>) -> Option<Finding> {
    let worst = scene.burns.first()?;
    Some(Finding {
        kind: TriggerKind::SloWindows,
        slo: Some(worst.name.clone()),
        detail: format!(
            "{}: {:.1} % of requests were good in the last window, the objective is {:.1} %; {} windows in a row",
            worst.name,
            worst.ratio * 100.0,
            worst.target * 100.0,
            worst.violations
        ),
        severity: Severity::Page,
        onset: worst.since,
    })
}
