//! `event_loop_stall`: a thread that others wait for blocks or computes instead of coming back.
//!
//! Confidence rests on who waited: events ready on the instance with nobody else waiting is proof,
//! a request that the thread was stuck in is strong, neither is a hint below the bar; less of it where the thread mostly
//! waited for a processor. Who has no other thread and waits for a lock waits for another process: its own loop is not
//! to blame, and alone it is not believed; nor who waits for a disk, before that is seen to be slow, nor who computes while
//! much more arrives, or many more have come, than ever. No forecast.

use super::{CauseUnit, Scene, cpu_throttled::QUEUED, downstream_slow, trigger_evidence};
use crate::{
    correlate::join::certainty,
    loops::StallSite,
    model::{Cause, CauseKind, Evidence, Join, Layer, Nanos, ThreadRef, TriggerKind},
    signs::Sign,
    window::{SECOND, seconds},
};

/// Most causes of this kind at once.
const MOST: usize = 3;
/// What is left where the lock that is waited for is another process's, or a disk is, or where more arrives than ever: at
/// most, below the bar of belief.
const ELSEWHERE: f64 = 0.6;
/// After so long it is known how much arrives.
const ARRIVE: Nanos = 8 * SECOND;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::EventLoopStall,
    needs: &[TriggerKind::Stall, TriggerKind::JointRule],
    produces: &[TriggerKind::Stall, TriggerKind::Anomaly, TriggerKind::SloWindows, TriggerKind::JointRule],
    opens: |_| None,
    propose,
    // Nobody accepts while the loop is away.
    explains: |scene, kind| match kind {
        CauseKind::AcceptQueueOverflow => scene.stalls.triggered,
        // Answers lie there and nobody takes them.
        CauseKind::DownstreamSlow => downstream_slow::is_stalled(scene),
        _ => false,
    },
};

fn propose(scene: &Scene<'_>) -> Vec<Cause> {
    if !scene.stalls.triggered {
        return Vec::new();
    }
    scene.stalls.sites.iter().take(MOST).map(|site| cause(scene, site)).collect()
}

fn confidence(scene: &Scene<'_>, site: &StallSite) -> f64 {
    let count = f64::from(site.count.max(1));
    let (starved, joined) = (f64::from(site.starved) / count, f64::from(site.joined) / count);
    let waited = 0.45 + 0.25 * joined * certainty(site.join) + 0.45 * starved;
    // What is left without the waiting for a processor would be no stall: then that is short, and told a little later.
    let queued = site.queued.filter(|share| *share >= QUEUED).unwrap_or(0.0);
    let each = seconds(scene.config.stalls.each_ms.saturating_mul(SECOND / 1000));
    let own = if seconds(site.typical) * (1.0 - queued) < each { 1.0 - queued } else { 1.0 };
    let others = site.waits_for_a_lock() && scene.target.threads == Some(1);
    let own = if others || is_crowded(scene, site) || site.waits_for_a_disk() { own * ELSEWHERE } else { own };
    // Of several places the one that lost most of the time is meant.
    let share = seconds(site.total) / seconds(scene.stalls.total).max(1e-9);
    (waited.min(0.96) * own * (0.7 + 0.3 * share.clamp(0.0, 1.0))).clamp(0.0, 1.0)
}

/// Whether a loop may come back late because there is much to do at every turn. That more arrives takes some seconds to say;
/// meanwhile, and where nothing tells how much does, who has come tells.
fn is_crowded(scene: &Scene<'_>, site: &StallSite) -> bool {
    let is_young = scene.now.saturating_sub(site.since) < ARRIVE;
    let by_arrivals = || scene.signs.is_high(Sign::Arrivals, scene.now, &scene.config.signs);
    let is_unknown = || scene.signs.height(Sign::Arrivals, scene.now).is_none();
    site.on_cpu && (by_arrivals() || ((is_young || is_unknown()) && scene.target.is_crowded(site.since, scene.now)))
}

fn cause(scene: &Scene<'_>, site: &StallSite) -> Cause {
    let window = scene.config.stalls.window_seconds.saturating_mul(SECOND);
    let begin = site.since;
    let before = scene.target.loops.busy_ratio(begin.saturating_sub(60 * SECOND), begin.saturating_sub(SECOND));
    let after = scene.target.loops.busy_ratio(begin, scene.now);
    let evidence = |signal: &str, before: f64, after: f64, unit: &str, join| Evidence {
        layer: Layer::Application,
        signal: signal.to_owned(),
        before,
        after,
        unit: unit.to_owned(),
        n: u64::from(site.count),
        since: begin.max(scene.now.saturating_sub(window)),
        until: scene.now,
        join,
        ambiguity: 1,
    };
    let mut all = vec![evidence("loop.stall", 0.0, seconds(site.total), "s", site.join)];
    if let Some(after) = after {
        all.push(evidence("loop.busy_ratio", before.unwrap_or(0.0), after, "ratio", Join::Window));
    }
    let starved = f64::from(site.starved) / f64::from(site.count.max(1));
    all.push(evidence("loop.starved_ratio", 0.0, starved, "ratio", Join::Window));
    all.extend(trigger_evidence(scene));
    Cause {
        kind: CauseKind::EventLoopStall,
        confidence: confidence(scene, site),
        title: title(site, scene.config.stalls.window_seconds),
        site: site.site,
        thread: Some(ThreadRef { tid: site.tid, name: site.thread.clone() }),
        connection: None,
        traces: site.traces.clone(),
        evidence: all,
        forecast: None,
    }
}

fn title(site: &StallSite, window_seconds: u64) -> String {
    let length = match site.typical {
        short if short < 10 * SECOND => format!("{:.0} ms", seconds(short) * 1e3),
        long => format!("{:.0} s", seconds(long)),
    };
    let what = match (&site.syscall, site.on_cpu) {
        (Some(syscall), false) => format!("blocked {length} in {syscall}"),
        (None, false) => format!("blocked {length}"),
        (_, true) => format!("computed {length} without coming back"),
    };
    let often = if site.count == 1 { "once".to_owned() } else { format!("{} times", site.count) };
    format!("event loop thread {} {what}, {often} in {window_seconds} s", site.thread)
}
