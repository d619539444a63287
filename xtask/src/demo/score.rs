//! The score card: each claim of the agent beside a truth that was measured without it.

use super::{
    Stage, claims,
    guarded::{Peers, growth},
    story::Story,
};
use serde_json::Value;

/// One line.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) claim: String,
    pub(super) truth: String,
    pub(super) right: bool,
}

/// What each claim was, and what is true.
pub(super) fn card(story: &Story, peers: &Peers, stage: &Stage, died: Option<f64>) -> anyhow::Result<Vec<Row>> {
    // The last state of the incident says most; the first naming is what an engineer on call would have read first.
    let named = story.named.as_ref().map(|(_, incident)| incident);
    let last = story.closed.as_ref().map(|(_, incident)| incident).or(named);
    let empty = Value::Null;
    let (named, last) = (named.unwrap_or(&empty), last.unwrap_or(&empty));
    let mut rows = vec![cause(story, named), traces(named, story, peers), place(named, stage)];
    if story.leaks() {
        rows.extend([held(story), kind(story), forecast(story, peers)]);
    }
    rows.extend(times(story, last));
    rows.push(control(story));
    rows.push(alive(story, peers, died));
    rows.extend(cost(story));
    Ok(rows)
}

fn cause(story: &Story, named: &Value) -> Row {
    let claim = claims::named(named).unwrap_or("nothing named").to_owned();
    let truth = story.fault.as_ref().map_or_else(String::new, |fault| fault.cause.clone());
    let right = claim == truth;
    Row { what: "cause", claim, truth: format!("{truth} (the fault's own word)"), right }
}

/// Every trace id was sent by the load generator, and its request was over when it was named.
fn traces(named: &Value, story: &Story, peers: &Peers) -> Row {
    let ids = claims::trace_ids(named);
    let log = peers.load.as_ref().map(crate::load::Load::log);
    let sent = ids.iter().filter(|id| log.as_ref().is_some_and(|log| log.sent(id))).count();
    let seen = story.named.as_ref().map_or(0.0, |(at, _)| *at);
    let over =
        ids.iter().filter(|id| log.as_ref().and_then(|log| log.over_at(id)).is_some_and(|at| at <= seen)).count();
    // A stalled request is named while it hangs; only what a leak holds must be over.
    let right = !ids.is_empty() && sent == ids.len() && (!story.leaks() || over == ids.len());
    let truth = format!("{sent} sent by the load generator, {over} over by then");
    Row { what: "trace ids", claim: format!("{} named", ids.len()), truth, right }
}

/// The frames lead into the code of the fault that was switched on.
fn place(named: &Value, stage: &Stage) -> Row {
    let frames = claims::frames(named);
    let found = frames.iter().find(|frame| frame.contains(stage.fault.0));
    let claim = found.or(frames.first()).map_or_else(|| "unknown".to_owned(), |frame| claims::brief(frame));
    Row { what: "line of code", claim, truth: format!("in {}", stage.fault.0), right: found.is_some() }
}

fn held(story: &Story) -> Row {
    let (claim, truth) = story.settled.unwrap_or_default();
    Row {
        what: "fds orphaned",
        claim: claim.to_string(),
        truth: format!("{truth} deleted files in /proc/PID/fd"),
        right: truth > 0 && claim == truth as u64,
    }
}

fn kind(story: &Story) -> Row {
    let claim = story.kind.clone().unwrap_or_else(|| "unknown".into());
    let right = claim == "file";
    Row { what: "their kind", claim, truth: "file (by fstat)".into(), right }
}

/// The truth is an interval too: the growth of the last ten seconds and the one since the fault differ by chance.
fn forecast(story: &Story, peers: &Peers) -> Row {
    let what = "limit reached in";
    let Some((at, forecast)) = story.forecast else {
        return Row { what, claim: "no forecast".into(), truth: String::new(), right: false };
    };
    let samples = peers.truth.samples();
    let rates = [10.0, at - story.on].map(|length| growth(&samples, at, length));
    let level = samples.iter().rfind(|sample| sample.at <= at).map_or(0, |sample| sample.fds);
    let left = forecast.limit.saturating_sub(level as u64) as f64;
    let times: Vec<f64> = rates.into_iter().flatten().filter(|rate| *rate > 0.0).map(|rate| left / rate).collect();
    let (soonest, latest) =
        times.iter().fold((f64::INFINITY, 0.0f64), |(low, high), time| (low.min(*time), high.max(*time)));
    Row {
        what,
        claim: format!(
            "{:.0} to {:.0} s, from {} of {}",
            forecast.earliest, forecast.latest, forecast.level, forecast.limit
        ),
        truth: format!("{soonest:.0} to {latest:.0} s by the growth in /proc, from {level}"),
        right: !times.is_empty() && forecast.earliest <= latest && forecast.latest >= soonest,
    }
}

/// The agent's clock of the response, against when it could be seen from outside.
fn times(story: &Story, last: &Value) -> Vec<Row> {
    let claimed = |name: &str| claims::seconds(&last["times"][name]);
    let show = |at: Option<f64>, zero: f64| at.map_or_else(|| "-".to_owned(), |at| format!("{:.1} s", at - zero));
    let seen = story.named_at;
    // A second of tolerance: the view is built once a second, and wall clocks are read on both sides.
    let within = |at: Option<f64>, from: f64, to: Option<f64>| {
        at.zip(to).is_some_and(|(at, to)| at >= from - 1.0 && at <= to + 1.0)
    };
    let (detected, named) = (claimed("detected"), claimed("named"));
    let (mitigated, recovered) = (claimed("mitigated"), claimed("recovered"));
    let closed = story.closed.as_ref().map(|(at, _)| *at);
    vec![
        Row {
            what: "time to detect",
            claim: show(detected, story.on),
            truth: format!("seen by {}", show(seen, story.on)),
            right: within(detected, story.on, seen),
        },
        Row {
            what: "time to name",
            claim: show(named, story.on),
            truth: format!("seen by {}", show(seen, story.on)),
            right: within(named, story.on, seen),
        },
        Row {
            what: "time to mitigate",
            claim: show(mitigated, story.on),
            truth: format!("first 429 at {}", show(story.refused, story.on)),
            right: within(mitigated, story.on, story.refused),
        },
        Row {
            what: "time to recover",
            claim: show(recovered, story.off),
            truth: format!("first good answer {} after", show(story.first_good, story.off)),
            right: within(recovered, story.off, closed),
        },
    ]
}

fn control(story: &Story) -> Row {
    let (good, all) = story.control_good;
    Row {
        what: "without a fault",
        claim: format!("{} incidents in {:.0} s", story.control_incidents, story.control_seconds),
        truth: format!("{good} of {all} requests good"),
        right: story.control_incidents == 0 && good == all && all > 0,
    }
}

fn alive(story: &Story, peers: &Peers, died: Option<f64>) -> Row {
    let health = peers.truth.health();
    let alone = died.map_or_else(|| "lived".to_owned(), |after| format!("dead after {after:.0} s"));
    let claim = story.dead.as_ref().map_or_else(|| "alive".to_owned(), |(_, how)| format!("dead: {how}"));
    let truth = format!("{} of {} probes failed; without Snowshed {alone}", health.failed, health.probes);
    Row { what: "the service", claim, truth, right: story.dead.is_none() }
}

fn cost(story: &Story) -> Vec<Row> {
    let cost = story.cost;
    let percent = |used: Option<f64>| used.map(|used| 100.0 * used / cost.seconds);
    let show =
        |value: Option<f64>, unit: &str| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} {unit}"));
    let close = |claim: Option<f64>, truth: Option<f64>, slack: f64| {
        claim.zip(truth).is_some_and(|(claim, truth)| (claim - truth).abs() <= slack.max(0.15 * truth))
    };
    let mega = |bytes: f64| bytes / 1e6;
    let (rss_claimed, rss_used) = (cost.rss_claimed.map(mega), cost.rss_used.map(|bytes| mega(bytes as f64)));
    vec![
        Row {
            what: "Snowshed's CPU",
            claim: show(percent(cost.cpu_claimed), "% of a core"),
            truth: format!("{} by /proc", show(percent(cost.cpu_used), "%")),
            right: close(percent(cost.cpu_claimed), percent(cost.cpu_used), 0.5),
        },
        Row {
            what: "Snowshed's memory",
            claim: show(rss_claimed, "MB"),
            truth: format!("{} by /proc", show(rss_used, "MB")),
            right: close(rss_claimed, rss_used, 5.0),
        },
    ]
}
