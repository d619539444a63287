//! Whether something is wrong with a target at this moment: the triggers that hold.
//!
//! Invariant: pure reading; the same scene gives the same findings, in the order of the list below,
//! which is also the order in which one of them gives an incident its name.

use crate::{
    causes::{self, Scene},
    forecast::span_words,
    model::{CauseKind, Nanos, Severity, TriggerKind},
    signs::{Sign, track::Deviation},
    window::{SECOND, seconds},
};

/// A trigger that holds.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) kind: TriggerKind,
    /// Of an anomaly: what is out of its ordinary; `None`: requests.
    pub(crate) of: Option<CauseKind>,
    pub(crate) slo: Option<String>,
    pub(crate) detail: String,
    pub(crate) severity: Severity,
    /// The interval in which it began.
    pub(crate) onset: (Nanos, Nanos),
}

/// Every trigger but joint rules and the anomalies that causes declare, one line each: those that come before them, ...
const BEFORE: &[fn(&Scene<'_>) -> Option<Finding>] = &[process_exit, orphans, stall, exhaustion];
/// ... and after.
const AFTER: &[fn(&Scene<'_>) -> Option<Finding>] = &[slo_windows, suffering];
/// Fewer requests than this share that fail, hang or are slow open nothing by themselves.
const SUFFERING: f64 = 0.5;
/// Answers that take less than this on average are no trouble, whatever is usual; seconds.
const LATE_ANSWER: f64 = 0.1;

/// The triggers that hold.
pub(crate) fn detect(scene: &Scene<'_>) -> Vec<Finding> {
    let anomalies = causes::ALL.iter().filter_map(|unit| (unit.opens)(scene));
    let before = BEFORE.iter().filter_map(|trigger| trigger(scene));
    let rules = scene.rules.findings(&scene.config.rules, scene.target);
    before.chain(rules).chain(anomalies).chain(AFTER.iter().filter_map(|trigger| trigger(scene))).collect()
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
        of: None,
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
        of: None,
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
        of: None,
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

/// Requests that are slow, fail or hang, for long, against what is usual for their routes: whatever the reason, and
/// without any objective.
fn suffering(scene: &Scene<'_>) -> Option<Finding> {
    let least = scene.config.signs.suffering_seconds.saturating_mul(SECOND);
    let lasts = |sign: Sign| {
        let found = scene.signs.of(sign)?;
        let long = found.has_past && scene.now.saturating_sub(found.since) >= least;
        (long && found.after >= SUFFERING).then_some((sign, found))
    };
    let Some((sign, found)) = [Sign::Failed, Sign::Hung, Sign::Slow].into_iter().find_map(lasts) else {
        return late_answers(scene, least);
    };
    let what = match sign {
        Sign::Failed => "fail",
        Sign::Hung => "hang for longer than any took",
        _ => "are slower than is usual for their route",
    };
    let detail = format!("{:.0} % of requests {what}, {:.1} % before", found.after * 100.0, found.before * 100.0);
    Some(suffer(scene, found, detail, Severity::Ticket))
}

/// Answers of a service without spans take long, as its sockets tell, for long. It is no request of a known kind that is
/// judged here: whoever holds answers back on purpose does so as well, so nobody is called for it.
fn late_answers(scene: &Scene<'_>, least: Nanos) -> Option<Finding> {
    let found = scene.signs.of(Sign::Answer).filter(|found| found.has_past && scene.target.requests_total == 0)?;
    if scene.now.saturating_sub(found.since) < least || found.after < LATE_ANSWER {
        return None;
    }
    let detail = format!("answers take {:.0} ms on average, {:.0} ms before", found.after * 1e3, found.before * 1e3);
    Some(suffer(scene, found, detail, Severity::Info))
}

/// Requests suffer, for whatever reason.
fn suffer(scene: &Scene<'_>, found: &Deviation, detail: String, severity: Severity) -> Finding {
    Finding {
        kind: TriggerKind::Anomaly,
        of: None,
        slo: None,
        detail,
        severity,
        onset: (found.since, found.since.saturating_add(2 * SECOND).min(scene.now)),
    }
}

/// The kernel ended it.
fn process_exit(scene: &Scene<'_>) -> Option<Finding> {
    let since = scene.target.killed.filter(|_| scene.target.was_killed(scene.now))?;
    Some(Finding {
        kind: TriggerKind::ProcessExit,
        of: None,
        slo: None,
        detail: "the process ended: the kernel killed it for lack of memory".to_owned(),
        severity: Severity::Page,
        onset: (since, since),
    })
}

fn slo_windows(scene: &Scene<'_>) -> Option<Finding> {
    let worst = scene.burns.first()?;
    Some(Finding {
        kind: TriggerKind::SloWindows,
        of: None,
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
