//! `nic_drops`: interfaces or packet backlogs have no room and drop packets.
//!
//! Rests on counters of the rings and backlogs of the process's network namespace and machine. What is lost there is
//! sent again by somebody: retransmits are then a symptom, and without any the drops were somebody else's.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{Cause, CauseKind},
    signs::{Sign, track::Deviation},
};

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::NicDrops,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::NicDrops, false)?;
        Some(shortage::finding(scene, CauseKind::NicDrops, found, title(scene, found)))
    },
    propose: |scene| scene.signs.of(Sign::NicDrops).map(|found| cause(scene, found)).into_iter().collect(),
    explains: |scene, kind| match kind {
        CauseKind::TcpRetransmits => shortage::drives(scene, Sign::NicDrops, Sign::Resent),
        CauseKind::DownstreamSlow => {
            [Sign::Refused, Sign::RoundTrip].iter().any(|sign| shortage::drives(scene, Sign::NicDrops, *sign))
        }
        _ => false,
    },
};

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::NicDrops, Sign::NicDrops, found, title(scene, found));
    match scene.signs.of(Sign::Resent) {
        Some(resent) => cause.evidence.insert(1, shortage::evidence(scene, Sign::Resent, resent)),
        // The machine's others may have lost them.
        None => cause.confidence *= 0.8,
    }
    cause
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let places = scene.signs.interfaces.since(found.since, scene.now);
    let who = match places.first().map(|(name, _, ())| name.as_str()) {
        Some("") => "packet backlogs of the processors",
        Some(name) => name,
        None => "interfaces",
    };
    format!("{who} had no room for {:.0} packets a second, {:.0} before", found.after, found.before)
}
