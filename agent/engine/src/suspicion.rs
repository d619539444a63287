//! What is wrong with a target, perhaps: the same findings and causes as of an incident, from figures that have not
//! deviated for long enough to be one.
//!
//! A hiccup of some seconds is nobody's incident, so what is short or slow must last for six to fourteen. Whoever looks
//! meanwhile is told what is suspected, also of an incident whose cause has no name yet. Invariant: nothing is alerted,
//! stored or limited for a suspicion; it ends with the first name, or once nothing has held for [`OVER`],
//! of growth for [`GROWTH_OVER`].

use crate::{
    causes::Scene,
    detect::detect,
    incident::Episode,
    model::{CauseKind, Nanos, Pid, SuspicionView, Verdict},
    window::SECOND,
};

/// It is over once nothing has held it up for so long.
const OVER: Nanos = 4 * SECOND;
/// The same of what grows, which it may do in steps.
const GROWTH_OVER: Nanos = 10 * SECOND;

/// A suspicion.
#[derive(Debug)]
pub(crate) struct Suspicion {
    episode: Episode,
    /// When something last held it up.
    held: Nanos,
    /// The cause that may be believed, and since when it is this one.
    first: Option<(CauseKind, Nanos)>,
}

impl Suspicion {
    /// What is suspected now, after what was.
    pub(crate) fn next(before: Option<Self>, scene: &Scene<'_>, pid: Pid) -> Option<Self> {
        let (now, findings) = (scene.now, detect(scene));
        let open = || {
            let episode = Episode::open(0, pid, "", findings.first()?, now);
            Some(Self { episode, held: now, first: None })
        };
        let mut one = before.or_else(open)?;
        if findings.is_empty() {
            return Some(one).filter(|one| now.saturating_sub(one.held) < one.lingers());
        }
        one.held = now;
        one.episode.update(scene, &findings);
        let is_named = one.episode.incident.verdict == Verdict::Named;
        let kind = one.episode.incident.causes.first().map(|cause| cause.kind).filter(|_| is_named);
        if kind != one.first.map(|(kind, _)| kind) {
            one.first = kind.map(|kind| (kind, now));
        }
        Some(one)
    }

    fn lingers(&self) -> Nanos {
        match self.first {
            Some((CauseKind::MemoryGrowth | CauseKind::TaskLeak, _)) => GROWTH_OVER,
            _ => OVER,
        }
    }

    /// The cause that may be believed, and since when.
    pub(crate) fn first(&self) -> Option<(CauseKind, Nanos)> {
        self.first
    }

    /// What there is to show of it: nothing as long as no cause may be believed.
    pub(crate) fn view(&self) -> Option<SuspicionView> {
        let (_, since) = self.first?;
        Some(SuspicionView { since, causes: self.episode.incident.causes.clone() })
    }
}
