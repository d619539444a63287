//! Spans, and what is asked about traces.

use super::Engine;
use crate::{
    model::{Call, Request, TraceId, TraceView, TracesKept},
    target::Target,
    traces::Who,
};

impl Engine {
    /// What is known of one trace; `None` if that is nothing, or no longer.
    #[must_use]
    pub fn trace(&self, trace: &TraceId) -> Option<TraceView> {
        self.traces.view(trace)
    }

    /// How many traces are kept, and since when.
    #[must_use]
    pub fn traces(&self) -> TracesKept {
        self.traces.kept()
    }

    pub(super) fn request(&mut self, told: &Request) {
        if !self.once.is_first(told.trace, told.span) {
            return self.lose("engine.duplicate_spans", 1);
        }
        let ended = self.past(told.ended);
        self.traces.request(told, ended);
        self.slos.iter_mut().for_each(|slo| slo.request(told, ended));
        if let Some(pid) = told.pid {
            let now = self.now;
            self.known(pid, |target, config| target.request(told, ended, now, &config.caps));
        }
    }

    pub(super) fn call(&mut self, told: &Call) {
        if !self.once.is_first(told.trace, told.span) {
            return self.lose("engine.duplicate_spans", 1);
        }
        let ended = self.past(told.ended);
        self.traces.call(told, ended);
        match told.pid.filter(|pid| self.targets.contains_key(pid)) {
            Some(pid) => {
                self.known(pid, |target, _| target.call(told, ended));
                self.downstream.entry(pid).or_default().take(told, ended);
            }
            None => self.lose("engine.unknown_process", 1),
        }
    }
}

/// Who a target is.
pub(super) fn who(target: &Target) -> Who<'_> {
    Who { pid: target.pid, name: &target.name, parent: target.parent }
}
