//! Whether something is wrong with a target at this moment: the triggers that hold.
//!
//! Invariant: pure reading; the same scene gives the same findings, in the order of the list below,
//! which is also the order in which one of them gives an incident its name.

use crate::{
    causes::Scene,
    forecast::span_words,
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
const ALL: &[fn(&Scene<'_>) -> Option<Finding>] = &[orphans, stall, exhaustion, slo_windows];

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
