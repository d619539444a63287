//! What the agent's public record of an incident claims, picked out of its JSON.
//!
//! A field that is missing or of another shape reads as nothing: then nothing was claimed.

use serde_json::Value;

/// The likeliest cause.
pub(super) fn cause(incident: &Value) -> &Value {
    &incident["causes"][0]
}

/// The kind of the likeliest cause, if the agent believes in it.
pub(super) fn named(incident: &Value) -> Option<&str> {
    (incident["verdict"] == "named").then(|| cause(incident)["kind"].as_str()).flatten()
}

pub(super) fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn trace_ids(incident: &Value) -> Vec<&str> {
    strings(&cause(incident)["trace_ids"])
}

pub(super) fn frames(incident: &Value) -> Vec<&str> {
    strings(&cause(incident)["site"]["frames"])
}

/// The frames from the first in the program's own source: what lies below is libraries, the C library and Rust's own.
pub(super) fn own_frames(incident: &Value) -> Vec<&str> {
    // `function (crate-1.2.3/src/…)` and `function (std/src/…)` are libraries; without a place nothing can be opened.
    let is_library = |place: &str| {
        let first = place.split('/').next().unwrap_or_default();
        let version =
            first.rsplit_once('-').is_some_and(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
        place.contains("/sysdeps/") || version || ["std", "core", "alloc"].contains(&first)
    };
    let foreign = |frame: &&&str| frame.rsplit_once(" (").is_none_or(|(_, place)| is_library(place));
    let all = frames(incident);
    let own = all.iter().take_while(foreign).count();
    if own < all.len() { all[own..].to_vec() } else { all }
}

/// A frame with no more of its path than the file and the folder it lies in.
pub(super) fn brief(frame: &str) -> String {
    let Some((function, place)) = frame.rsplit_once(" (") else { return frame.to_owned() };
    let parts: Vec<&str> = place.split('/').collect();
    format!("{function} ({}", parts[parts.len().saturating_sub(2)..].join("/"))
}

/// A forecast for descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    pub(super) level: u64,
    pub(super) limit: u64,
    pub(super) earliest: f64,
    pub(super) latest: f64,
}

pub(super) fn forecast(incident: &Value) -> Option<Forecast> {
    let forecast = &cause(incident)["forecast"];
    (forecast["resource"] == "fds").then_some(())?;
    Some(Forecast {
        level: forecast["level"].as_u64()?,
        limit: forecast["limit"].as_u64()?,
        earliest: forecast["eta_seconds"][0].as_f64()?,
        latest: forecast["eta_seconds"][1].as_f64()?,
    })
}

/// The first change of the limit that was really made: what, and why.
pub(super) fn action(incident: &Value) -> Option<(&str, &str)> {
    let actions = incident["actions"].as_array()?;
    let real = actions.iter().find(|action| action["dry_run"] == false)?;
    Some((real["change"].as_str()?, real["reason"].as_str()?))
}

/// A time of RFC 3339 as seconds since 1970.
pub(super) fn seconds(time: &Value) -> Option<f64> {
    let time: jiff::Timestamp = time.as_str()?.parse().ok()?;
    Some(time.as_nanosecond() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_are_read_and_their_absence_too() {
        let incident = json!({
            "verdict": "named",
            "causes": [{"kind": "fd_leak", "trace_ids": ["aa"], "site": {"frames": ["f (x.rs:1)"]},
                "forecast": {"resource": "fds", "level": 100, "limit": 512, "eta_seconds": [48.0, 61.0]}}],
            "actions": [{"change": "a", "reason": "r", "dry_run": true}, {"change": "b", "reason": "r", "dry_run": false}],
        });
        assert_eq!(named(&incident), Some("fd_leak"));
        assert_eq!((trace_ids(&incident), frames(&incident)), (vec!["aa"], vec!["f (x.rs:1)"]));
        let deep = json!({"causes": [{"site": {"frames": ["open (io/../sysdeps/x.c:1)", "o (std/src/f.rs:2)", "mine (m.rs:3)"]}}]});
        assert_eq!(own_frames(&deep), ["mine (m.rs:3)"]);
        assert_eq!(brief("a::b (/x/y/z/f.rs:7)"), "a::b (z/f.rs:7)");
        assert_eq!((brief("a (f.rs:7)"), brief("a")), ("a (f.rs:7)".into(), "a".into()));
        assert_eq!(own_frames(&incident), frames(&incident));
        assert_eq!(forecast(&incident).map(|forecast| forecast.latest), Some(61.0));
        assert_eq!(action(&incident), Some(("b", "r")));
        assert_eq!(seconds(&json!("1970-01-01T00:01:00.500Z")), Some(60.5));
        let empty = json!({"verdict": "unknown", "causes": []});
        assert_eq!((named(&empty), action(&empty), seconds(&empty["x"])), (None, None, None));
        assert!(forecast(&empty).is_none() && trace_ids(&empty).is_empty());
    }
}
