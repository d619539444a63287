//! How an objective is doing: windows of 15 seconds, and three violated ones in a row.
//!
//! Requests are filed by when they ended; a window is judged a little after its end because spans come
//! late, once, and never again. A window with too few requests neither breaks a row nor continues it.
//! Invariant: ratios are finite; memory per objective is fixed.

use super::{Slo, SloConfig, Verdict};
use crate::{
    model::{Nanos, Pid, Request, SloState, SloView},
    window::{SECOND, Windows},
};

/// A window's length.
pub(crate) const WINDOW: Nanos = 15 * SECOND;
/// Windows that can still take late requests.
const WINDOWS: usize = 16;
/// Parts of the objective's own time window that its budget is counted in.
const BUDGET_PARTS: usize = 360;
/// Processes told apart in a window.
const PIDS: usize = 8;

#[derive(Clone, Debug, Default)]
struct Window {
    requests: u64,
    bad_requests: u64,
    good: f64,
    bad: f64,
    shed: u64,
    /// Who answered badly.
    culprits: Vec<(Pid, u64)>,
}

impl Window {
    fn ratio(&self) -> Option<f64> {
        let all = self.good + self.bad;
        (all > 0.0).then(|| (self.good / all).clamp(0.0, 1.0))
    }
}

/// An objective that burns.
#[derive(Clone, Debug)]
pub(crate) struct Burn {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) target: f64,
    pub(crate) ratio: f64,
    /// The last good window's ratio, or the target where there was none.
    pub(crate) ratio_before: f64,
    pub(crate) requests: u64,
    pub(crate) violations: u32,
    /// The first violated window.
    pub(crate) since: (Nanos, Nanos),
    /// The process with most bad answers, where spans name it.
    pub(crate) pid: Option<Pid>,
}

/// One objective's record.
#[derive(Debug)]
pub(crate) struct SloTrack {
    slo: Slo,
    windows: Windows<Window>,
    budget: Windows<Window>,
    /// The next window to judge; `None` before the first request.
    next: Option<u64>,
    state: SloState,
    violations: u32,
    silent: u32,
    since: (Nanos, Nanos),
    ratio: Option<f64>,
    ratio_before: Option<f64>,
    requests: u64,
    /// Good share and requests of the last violated window.
    worst: (f64, u64),
    pid: Option<Pid>,
    /// Requests that came after their window was judged.
    pub(crate) late: u64,
}

impl SloTrack {
    /// Before any request.
    pub(crate) fn new(slo: Slo) -> Self {
        let part = (slo.window / BUDGET_PARTS as u64).max(WINDOW);
        Self {
            windows: Windows::new(WINDOW, WINDOWS),
            budget: Windows::new(part, BUDGET_PARTS),
            slo,
            next: None,
            state: SloState::InsufficientData,
            violations: 0,
            silent: 0,
            since: (0, 0),
            ratio: None,
            ratio_before: None,
            requests: 0,
            worst: (0.0, 0),
            pid: None,
            late: 0,
        }
    }

    /// Takes a request that ended at `ended`, which must not lie in the future.
    pub(crate) fn request(&mut self, request: &Request, ended: Nanos) {
        if !self.slo.covers(request) {
            return;
        }
        let number = self.windows.number(ended);
        let next = *self.next.get_or_insert(number);
        let verdict = self.slo.judge(request);
        let weight = if request.weight.is_finite() { request.weight.clamp(1.0, 1e6) } else { 1.0 };
        if let Some(window) = self.budget.at(ended) {
            window.count(verdict, weight, request.pid);
        }
        if number < next {
            self.late = self.late.saturating_add(1);
        } else if let Some(window) = self.windows.at(ended) {
            window.count(verdict, weight, request.pid);
        }
    }

    /// Judges the windows that are complete and have waited for late spans.
    pub(crate) fn judge(&mut self, now: Nanos, config: &SloConfig) {
        let Some(mut next) = self.next else { return };
        let delay = config.delay_ms.saturating_mul(SECOND / 1_000);
        // The first window that is not due yet.
        let open = self.windows.number(now.saturating_sub(delay));
        if open.saturating_sub(next) > self.windows.capacity() {
            next = open - self.windows.capacity();
        }
        while next < open {
            let window = self.windows.get(next).cloned().unwrap_or_default();
            let start = next.saturating_mul(WINDOW);
            self.conclude(&window, (start, start.saturating_add(WINDOW)), config);
            next += 1;
        }
        self.next = Some(next);
    }

    fn conclude(&mut self, window: &Window, span: (Nanos, Nanos), config: &SloConfig) {
        self.requests = window.requests;
        self.ratio = window.ratio();
        let enough = window.requests >= config.min_requests.max(1);
        let Some(ratio) = self.ratio.filter(|_| enough) else {
            self.silent = self.silent.saturating_add(1);
            if self.silent >= config.forget_after {
                self.violations = 0;
            }
            self.state = if self.violations >= config.windows { SloState::Burning } else { SloState::InsufficientData };
            return;
        };
        self.silent = 0;
        if ratio >= self.slo.target || window.bad_requests < config.min_bad {
            (self.violations, self.state, self.ratio_before) = (0, SloState::Ok, Some(ratio));
            return;
        }
        if self.violations == 0 {
            self.since = span;
        }
        self.violations = self.violations.saturating_add(1);
        self.worst = (ratio, window.requests);
        self.state = if self.violations >= config.windows { SloState::Burning } else { SloState::Violated };
        self.pid = window.culprits.iter().max_by_key(|(_, bad)| *bad).map(|(pid, _)| *pid);
    }

    /// The burn, while there is one.
    pub(crate) fn burn(&self) -> Option<Burn> {
        (self.state == SloState::Burning).then(|| Burn {
            name: self.slo.name.clone(),
            service: self.slo.service.clone(),
            target: self.slo.target,
            ratio: self.worst.0,
            ratio_before: self.ratio_before.unwrap_or(self.slo.target),
            requests: self.worst.1,
            violations: self.violations,
            since: self.since,
            pid: self.pid,
        })
    }

    /// For the API.
    pub(crate) fn view(&self, now: Nanos) -> SloView {
        SloView {
            name: self.slo.name.clone(),
            service: self.slo.service.clone(),
            target: self.slo.target,
            state: self.state,
            ratio: self.ratio,
            window_requests: self.requests,
            violations: self.violations,
            budget_used: self.budget_used(now),
        }
    }

    fn budget_used(&self, now: Nanos) -> Option<f64> {
        let (mut good, mut bad) = (0.0, 0.0);
        for (_, window) in self.budget.range(now.saturating_sub(self.slo.window), now) {
            good += window.good;
            bad += window.bad;
        }
        let allowed = (good + bad) * (1.0 - self.slo.target);
        (allowed > 0.0).then(|| bad / allowed)
    }
}

impl Window {
    fn count(&mut self, verdict: Verdict, weight: f64, pid: Option<Pid>) {
        match verdict {
            Verdict::Shed => {
                self.shed = self.shed.saturating_add(1);
                return;
            }
            Verdict::Good => self.good += weight,
            Verdict::Bad => {
                self.bad += weight;
                self.bad_requests = self.bad_requests.saturating_add(1);
                let room = self.culprits.len() < PIDS;
                let known = self.culprits.iter_mut().find(|(known, _)| Some(*known) == pid);
                match (known, pid) {
                    (Some((_, bad)), _) => *bad += 1,
                    (None, Some(pid)) if room => self.culprits.push((pid, 1)),
                    _ => {}
                }
            }
        }
        self.requests = self.requests.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::TraceId, slo::Good};

    fn track(target: f64) -> SloTrack {
        let good = Good::default();
        let window = 3_600 * SECOND;
        SloTrack::new(Slo { name: "n".into(), service: "s".into(), route: None, good, target, window })
    }

    /// Sends one window's requests and lets it be judged.
    fn window(track: &mut SloTrack, number: u64, good: u32, bad: u32, status: u16) -> SloState {
        let ended = number * WINDOW + SECOND;
        for n in 0..good + bad {
            let request = Request {
                pid: Some(7),
                service: "s".into(),
                trace: TraceId([1; 16]),
                span: None,
                route: "GET /".into(),
                started: ended,
                ended,
                first_byte: None,
                status: Some(status),
                failed: n >= good,
                weight: 1.0,
                peer: None,
                serial: false,
            };
            track.request(&request, ended);
        }
        track.judge((number + 1) * WINDOW + 3 * SECOND, &SloConfig::default());
        track.state
    }

    #[test]
    fn three_in_a_row_burn_and_silence_neither_breaks_nor_continues() {
        let mut track = track(0.95);
        assert_eq!(window(&mut track, 10, 20, 0, 200), SloState::Ok);
        assert_eq!(window(&mut track, 11, 10, 10, 200), SloState::Violated);
        assert_eq!(window(&mut track, 12, 1, 2, 200), SloState::InsufficientData);
        assert_eq!(window(&mut track, 13, 10, 10, 200), SloState::Violated);
        assert!(track.burn().is_none());
        assert_eq!(window(&mut track, 14, 0, 20, 200), SloState::Burning);
        let burn = track.burn().unwrap();
        assert_eq!((burn.violations, burn.ratio, burn.ratio_before, burn.pid), (3, 0.0, 1.0, Some(7)));
        assert_eq!(burn.since, (11 * WINDOW, 12 * WINDOW));
        assert_eq!(window(&mut track, 15, 20, 0, 200), SloState::Ok);
        assert!(track.burn().is_none());
    }

    #[test]
    fn one_bad_request_is_no_violation_and_a_long_silence_forgets() {
        let mut track = track(0.95);
        assert_eq!(window(&mut track, 1, 5, 1, 200), SloState::Ok);
        (2..5).for_each(|n| assert_ne!(window(&mut track, n, 0, 9, 200), SloState::Ok));
        assert_eq!(window(&mut track, 5, 0, 0, 200), SloState::Burning, "nothing says that it is over");
        (6..9).for_each(|n| assert_ne!(window(&mut track, n, 0, 0, 200), SloState::Ok));
        assert_eq!(track.state, SloState::InsufficientData);
    }

    #[test]
    fn shed_requests_are_in_neither_part_and_late_ones_only_in_the_budget() {
        let mut track = track(0.9);
        assert_eq!(window(&mut track, 1, 0, 30, 429), SloState::InsufficientData);
        assert_eq!(track.budget_used(2 * WINDOW), None);
        assert_eq!(window(&mut track, 3, 9, 1, 200), SloState::Ok);
        assert!((track.budget_used(4 * WINDOW).unwrap() - 1.0).abs() < 1e-9);
        window(&mut track, 1, 0, 1, 200);
        assert_eq!((track.late, track.requests), (1, 10));
        assert!(track.budget_used(4 * WINDOW).unwrap() > 1.0);
    }

    #[test]
    fn a_jump_in_time_is_judged_in_bounded_work() {
        let mut track = track(0.9);
        window(&mut track, 1, 10, 0, 200);
        track.judge(u64::MAX, &SloConfig::default());
        assert_eq!(track.state, SloState::InsufficientData);
    }
}
