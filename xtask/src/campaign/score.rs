//! What was seen, held against the truth.
//!
//! Invariant: pure; an incident counts once, by the state that it was last seen in, and a name only if it was right when
//! it was first told and still is at the end.

use serde::Serialize;
use serde_json::Value;

/// The truth of what is not in the catalogue: `unknown` is right, and every name is wrong.
pub(super) const NO_NAME: &str = "unknown";

/// What is wrong, if anything is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// The kind of cause that must be named.
    pub(super) kind: &'static str,
    /// A function that must be among the frames of its place, where it can be known.
    pub(super) place: Option<&'static str>,
}

impl Truth {
    /// Of this kind, at a place that cannot be known; none for what is healthy.
    pub(super) const fn of(kind: Option<&'static str>) -> Option<Self> {
        match kind {
            Some(kind) => Some(Self { kind, place: None }),
            None => None,
        }
    }
}

/// A state that an incident was seen in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Seconds after the onset; below zero, before.
    pub(super) at: f64,
    pub(super) id: String,
    pub(super) named: bool,
    /// Likeliest first: kind and confidence.
    pub(super) causes: Vec<(String, f64)>,
    /// Frames of the first cause's place.
    pub(super) frames: String,
    pub(super) title: String,
    /// When its first cause is told to have used something up: the least and the most, seconds from now.
    pub(super) eta: Option<(f64, f64)>,
    /// From the beginning of the evidence of its first cause to the name, seconds.
    pub(super) took: Option<f64>,
    /// The same until it was first suspected, or else named.
    pub(super) knew: Option<f64>,
    /// It has not ended.
    pub(super) open: bool,
}

impl Seen {
    /// What the API says of an incident.
    pub(super) fn read(incident: &Value, at: f64) -> Self {
        let causes = incident["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = |cause: &Value| {
            (cause["kind"].as_str().unwrap_or_default().to_owned(), cause["confidence"].as_f64().unwrap_or(0.0))
        };
        let first = causes.first().cloned().unwrap_or_default();
        let suspected = &incident["times"]["suspected"];
        let detail = incident["trigger"]["detail"].as_str();
        Self {
            at,
            id: incident["id"].as_str().unwrap_or_default().to_owned(),
            named: incident["verdict"] == "named",
            causes: causes.iter().map(told).collect(),
            frames: first["site"]["frames"].to_string(),
            eta: first["forecast"]["eta_seconds"].as_array().and_then(|eta| Some((eta[0].as_f64()?, eta[1].as_f64()?))),
            took: seconds_between(&first["evidence"][0]["since"], &incident["times"]["named"]),
            knew: seconds_between(
                &first["evidence"][0]["since"],
                if suspected.is_null() { &incident["times"]["named"] } else { suspected },
            ),
            title: first["title"].as_str().or(detail).unwrap_or_default().to_owned(),
            open: incident["closed_at"].is_null(),
        }
    }

    pub(super) fn top(&self) -> Option<&str> {
        self.causes.first().map(|(kind, _)| kind.as_str())
    }

    fn names(&self, kind: &str) -> bool {
        self.named && self.top() == Some(kind)
    }
}

fn seconds_between(from: &Value, to: &Value) -> Option<f64> {
    let at = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    Some(at(to)?.duration_since(at(from)?).as_secs_f64())
}

/// How one run went.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Score {
    /// From the onset to the first incident, seconds.
    pub(super) detected: Option<f64>,
    /// From the onset to the first name, seconds.
    pub(super) named: Option<f64>,
    /// From the beginning of its evidence, as the agent tells it, to the first name, seconds.
    pub(super) took: Option<f64>,
    /// The same until it was first suspected, or else named.
    pub(super) knew: Option<f64>,
    /// The first name, and the one at the end, are right.
    pub(super) top1: bool,
    /// The right one is among the first three at the end.
    pub(super) top3: bool,
    /// The place is right, where there is one to know.
    pub(super) place: Option<bool>,
    /// Of the first cause at the end.
    pub(super) confidence: Option<f64>,
    /// Incidents before the onset, of a healthy service, or that name something else beside the one that counts.
    pub(super) false_incidents: usize,
    /// What was told of it at the end.
    pub(super) told: String,
    /// What was named first, where that was not the truth.
    pub(super) told_first: Option<String>,
    /// Of every incident: confidence of its first cause, and whether that is the truth.
    pub(super) judged: Vec<(f64, bool)>,
}

/// Scores what was seen, oldest first.
pub(super) fn score(seen: &[Seen], truth: Option<Truth>) -> Score {
    let mut ids: Vec<&str> = Vec::new();
    for one in seen {
        if !ids.contains(&one.id.as_str()) {
            ids.push(&one.id);
        }
    }
    let states = |id: &str| seen.iter().filter(move |one| one.id == id).collect::<Vec<_>>();
    let kind = truth.map(|truth| truth.kind);
    let mut score = Score::default();
    // Those that came after the onset, the one that counts first: the first that names the truth, else the first at all.
    let (mut early, mut late): (Vec<&Seen>, Vec<(&str, &Seen)>) = (Vec::new(), Vec::new());
    for id in ids {
        let all = states(id);
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        let right = kind.is_some() && last.top() == kind && first.at >= 0.0;
        if let Some((_, confidence)) = last.causes.first() {
            score.judged.push((*confidence, right));
        }
        if first.at < 0.0 || truth.is_none() { early.push(last) } else { late.push((id, last)) }
    }
    score.false_incidents = early.len();
    let Some(truth) = truth else {
        score.told = early.last().map_or_else(String::new, |last| last.title.clone());
        return score;
    };
    score.detected = seen.iter().find(|one| late.iter().any(|(id, _)| *id == one.id)).map(|one| one.at);
    let counts = late.iter().find(|(_, last)| last.names(truth.kind)).or(late.first()).copied();
    let Some((id, last)) = counts else {
        (score.top1, score.top3) = (truth.kind == NO_NAME, truth.kind == NO_NAME);
        return score;
    };
    let first_name = states(id).into_iter().find(|one| one.named);
    score.named = first_name.map(|one| one.at);
    score.took = first_name.and_then(|one| one.took);
    score.knew = first_name.and_then(|one| one.knew);
    score.top1 = first_name.is_some_and(|one| one.names(truth.kind)) && last.names(truth.kind);
    score.told_first = first_name.filter(|one| !one.names(truth.kind)).map(|one| one.title.clone());
    score.top3 = last.causes.iter().take(3).any(|(kind, _)| kind == truth.kind);
    score.place = truth.place.map(|place| last.names(truth.kind) && last.frames.contains(place));
    score.confidence = last.causes.first().map(|(_, confidence)| *confidence);
    score.told = last.title.clone();
    if truth.kind == NO_NAME {
        let named = late.iter().filter(|(_, last)| last.named).count();
        (score.top1, score.top3, score.false_incidents) = (named == 0, named == 0, score.false_incidents + named);
        return score;
    }
    let others = late.iter().filter(|(other, last)| *other != id && last.named && last.top() != Some(truth.kind));
    score.false_incidents += others.count();
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Truth = Truth { kind: "fd_leak", place: Some("theme") };

    fn seen(at: f64, id: &str, named: bool, causes: &[(&str, f64)]) -> Seen {
        let causes = causes.iter().map(|(kind, sure)| ((*kind).to_owned(), *sure)).collect();
        Seen {
            at,
            id: id.into(),
            named,
            causes,
            frames: "[\"theme\"]".into(),
            title: "t".into(),
            eta: None,
            took: Some(2.0),
            knew: Some(1.0),
            open: true,
        }
    }

    #[test]
    fn a_name_counts_if_it_was_right_at_first_and_at_the_end() {
        let all = [
            seen(3.0, "1", false, &[]),
            seen(5.0, "1", true, &[("fd_leak", 0.7)]),
            seen(9.0, "1", true, &[("fd_leak", 0.9), ("task_leak", 0.4)]),
        ];
        let right = score(&all, Some(TRUTH));
        assert_eq!((right.detected, right.named, right.top1, right.top3), (Some(3.0), Some(5.0), true, true));
        assert_eq!((right.place, right.confidence, right.false_incidents), (Some(true), Some(0.9), 0));
        assert_eq!((right.took, right.knew, right.judged), (Some(2.0), Some(1.0), vec![(0.9, true)]));

        let mut changed = all.clone();
        changed[1].causes[0].0 = "task_leak".into();
        let changed = score(&changed, Some(TRUTH));
        assert!(!changed.top1 && changed.top3, "it was told wrong at first: {changed:?}");
    }

    #[test]
    fn an_incident_is_read_with_its_forecast_and_how_long_its_evidence_waited_for_a_name() {
        let told = serde_json::json!({"id": "1", "verdict": "named", "times": {"named": "2026-01-01T00:00:09.500Z"},
            "causes": [{"kind": "fd_leak", "confidence": 0.9, "forecast": {"eta_seconds": [50.0, 70.5]},
                "evidence": [{"since": "2026-01-01T00:00:02Z"}]}]});
        let seen = Seen::read(&told, 4.0);
        assert_eq!((seen.eta, seen.took, seen.open), (Some((50.0, 70.5)), Some(7.5), true));
        let bare = Seen::read(&serde_json::json!({"causes": [{"evidence": []}]}), 4.0);
        assert_eq!((bare.eta, bare.took), (None, None));
    }

    #[test]
    fn what_is_outside_the_catalogue_has_no_name() {
        let truth = Some(Truth { kind: NO_NAME, place: None });
        let honest = score(&[seen(3.0, "1", false, &[("fd_leak", 0.5)])], truth);
        assert!(honest.top1 && honest.false_incidents == 0, "{honest:?}");
        assert!(score(&[], truth).top1);
        let guessed = score(&[seen(3.0, "1", true, &[("fd_leak", 0.7)])], truth);
        assert!(!guessed.top1 && guessed.false_incidents == 1, "{guessed:?}");
    }

    #[test]
    fn unknown_is_not_right() {
        let told = score(&[seen(3.0, "1", false, &[("fd_leak", 0.5)])], Some(TRUTH));
        assert!(!told.top1 && told.top3 && told.named.is_none() && told.place == Some(false), "{told:?}");
        let silent = score(&[], Some(TRUTH));
        assert!(!silent.top1 && !silent.top3 && silent.detected.is_none());
    }

    #[test]
    fn what_comes_before_the_onset_or_names_something_else_is_false() {
        let all = [
            seen(-9.0, "0", true, &[("fd_leak", 0.8)]),
            seen(4.0, "1", true, &[("fd_leak", 0.8)]),
            seen(6.0, "2", true, &[("disk_stall", 0.7)]),
            seen(7.0, "3", false, &[("disk_stall", 0.5)]),
        ];
        let told = score(&all, Some(TRUTH));
        assert_eq!((told.top1, told.false_incidents, told.detected), (true, 2, Some(4.0)));
        assert_eq!(told.judged, [(0.8, false), (0.8, true), (0.7, false), (0.5, false)]);
        assert_eq!(score(&all, None).false_incidents, 4);
    }
}
