//! Who carries out what the engine decides.
//!
//! Invariant: an actuator acts only when `--enforce` names it, everything it does ends by itself, and
//! what came of it goes back to the engine as an observation.

pub(crate) mod guard;

use snowshed_engine::model::ActuatorKind;

/// An actuator of this version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// Which one.
    pub(crate) kind: ActuatorKind,
    /// Its name on the command line.
    pub(crate) name: &'static str,
}

/// All that this version has.
pub(crate) const ALL: &[Unit] = &[guard::UNIT];

/// The actuators that the public contract names but this version lacks.
const PLANNED: &[&str] = &["envoy", "sk_lookup", "recycle"];

/// The actuator of that name.
///
/// # Errors
/// A sentence for the person who typed it.
pub(crate) fn named(name: &str) -> Result<ActuatorKind, String> {
    let known = || ALL.iter().map(|unit| unit.name).collect::<Vec<_>>().join(", ");
    match ALL.iter().find(|unit| unit.name == name) {
        Some(unit) => Ok(unit.kind),
        None if PLANNED.contains(&name) => {
            Err(format!("--enforce {name}: this version has no such actuator yet; it has: {}", known()))
        }
        None => Err(format!("--enforce {name}: no such actuator; this version has: {}", known())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_actuator_is_told_from_a_misspelt_one() {
        assert_eq!(named("guard"), Ok(ActuatorKind::Guard));
        assert!(named("envoy").is_err_and(|text| text.contains("yet")));
        assert!(named("gaurd").is_err_and(|text| text.contains("no such actuator;")));
    }
}
