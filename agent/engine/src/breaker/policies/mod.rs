//! Policies: what to shed for. One file each, and one line in [`ALL`].
//!
//! Invariant: a policy only proposes, from what is known at the moment; it keeps no state.

mod cascade;
mod slo_burn;

use super::{BreakerConfig, Proposal};
use crate::{causes::Scene, model::Incident};

/// A policy: why to shed now, if at all.
pub(crate) struct Policy {
    /// Its name, for the audit trail.
    pub(crate) name: &'static str,
    /// The reason to shed.
    pub(crate) reason: fn(&Scene<'_>, &Incident) -> Option<String>,
}

/// Every policy, the most specific reason first.
pub(crate) const ALL: &[Policy] = &[cascade::POLICY, slo_burn::POLICY];

/// The proposal of the first policy that has a reason. All shed to the same share of the usual concurrency.
pub(crate) fn propose(scene: &Scene<'_>, incident: &Incident, baseline: Option<u32>) -> Option<Proposal> {
    let baseline = baseline?;
    let (policy, reason) = ALL.iter().find_map(|policy| Some((policy, (policy.reason)(scene, incident)?)))?;
    let limit = limit(baseline, &scene.config.breaker);
    Some(Proposal { limit, baseline, reason: format!("{}: {reason}", policy.name) })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u32 holds")]
fn limit(baseline: u32, config: &BreakerConfig) -> u32 {
    let share = (f64::from(baseline) * config.factor).floor();
    let share = if share.is_finite() { share.clamp(0.0, f64::from(u32::MAX)) as u32 } else { baseline };
    share.max(config.min_limit).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_but_never_nothing() {
        let mut config = BreakerConfig::default();
        assert_eq!([0, 4, 5, 11, 200].map(|usual| limit(usual, &config)), [2, 2, 2, 4, 80]);
        config.min_limit = 0;
        for factor in [f64::NAN, f64::INFINITY, -3.0, 0.0] {
            config.factor = factor;
            assert!(limit(7, &config) >= 1, "{factor}");
        }
    }

    #[test]
    fn names_are_distinct() {
        assert!(ALL.iter().enumerate().all(|(n, policy)| ALL[n + 1..].iter().all(|other| other.name != policy.name)));
    }
}
