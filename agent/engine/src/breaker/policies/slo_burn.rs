//! `slo_burn`: shed while an objective burns, whatever the cause.

use super::Policy;
use crate::{causes::Scene, model::Incident};

pub(super) const POLICY: Policy = Policy { name: "slo_burn", reason };

fn reason(scene: &Scene<'_>, _incident: &Incident) -> Option<String> {
    let burn = scene.burns.first()?;
    let (good, wanted) = (burn.ratio * 100.0, burn.target * 100.0);
    Some(format!(
        "{}: {good:.1} % good, the objective is {wanted:.1} %, {} windows in a row",
        burn.name, burn.violations
    ))
}
