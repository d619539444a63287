//! `tcp_retransmits`: segments get lost on the way and are sent again.
//!
//! Rests on the share of segments that the process's own sockets sent again, against what is usual for it; which peer
//! it is by where most of them go, which requests by who wrote their bytes. Where a request is only one of several
//! that may have written them, the evidence says so.

use super::{CauseUnit, Scene, downstream_slow, shortage};
use crate::{
    correlate::join::JoinCount,
    model::{Cause, CauseKind, Connection, Evidence, Join, Layer, Retransmit, TraceId},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// Requests that are told.
const TRACES: usize = 16;
/// A peer is named if at least this share goes there.
const MOSTLY: f64 = 0.6;
/// Lost segments of this share harm whoever waits for them, once it has lasted so long: of an answer of forty segments
/// every second one then waits for at least one that is sent again, which the sender itself does not see as slowness.
const HARMS: shortage::Harms = [(0.015, 20 * SECOND), (0.05, 10 * SECOND)];

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::TcpRetransmits,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let (sign, found) = worst(scene)?;
        let found = shortage::presses(scene, sign, shortage::harms(scene, found, HARMS))?;
        Some(shortage::finding(scene, CauseKind::TcpRetransmits, found, title(scene, found)))
    },
    propose: |scene| worst(scene).map(|(sign, found)| cause(scene, sign, found)).into_iter().collect(),
    // A connect that is never answered, an answer that is late, and a round trip that gets long, are losses too.
    explains: |scene, kind| {
        let lost = |of: Sign| [Sign::Resent, Sign::ResentThere].iter().any(|by| shortage::drives(scene, *by, of));
        let signs = || [Sign::Refused, Sign::LateAnswers, Sign::RoundTrip].into_iter().any(lost);
        kind == CauseKind::DownstreamSlow && (signs() || (downstream_slow::by_spans_alone(scene) && lost(Sign::Slow)))
    },
};

/// Of all that it sent or of what it sent to others, the share that is further out of its ordinary.
fn worst<'a>(scene: &Scene<'a>) -> Option<(Sign, &'a Deviation)> {
    let both = [Sign::ResentThere, Sign::Resent].into_iter().filter_map(|sign| Some((sign, scene.signs.of(sign)?)));
    let above = |found: &Deviation| found.after / found.level.max(1e-9);
    both.max_by(|a, b| above(a.1).total_cmp(&above(b.1)))
}

fn cause(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::TcpRetransmits, sign, found, title(scene, found));
    let events: Vec<&Retransmit> = scene.signs.resends.since(found.since.saturating_sub(2 * SECOND)).collect();
    cause.connection = commonest(&events);
    let (traces, told) = requests(scene, found, &events);
    cause.traces = traces;
    cause.evidence.extend(told);
    cause
}

/// The connection that most of the events are of, if they are mostly of one.
#[expect(clippy::cast_precision_loss, reason = "a count, as a share")]
fn commonest(events: &[&Retransmit]) -> Option<Connection> {
    let of = |event: &Retransmit| Connection { local: event.local, peer: event.peer };
    let count = |wanted: Connection| events.iter().filter(|event| of(event) == wanted).count();
    let most = events.iter().map(|event| of(event)).max_by_key(|one| count(*one))?;
    (count(most) as f64 >= MOSTLY * events.len() as f64).then_some(most)
}

/// The requests that wrote what was sent again, newest last, and how that was found.
#[expect(clippy::cast_precision_loss, reason = "a count, as evidence")]
fn requests(scene: &Scene<'_>, found: &Deviation, events: &[&Retransmit]) -> (Vec<TraceId>, Option<Evidence>) {
    let (mut traces, mut joins, mut ambiguity): (Vec<TraceId>, _, u32) = (Vec::new(), JoinCount::default(), 1);
    for event in events {
        let told: Vec<TraceId> = match event.trace {
            Some(trace) => vec![trace],
            None => event.candidates.clone(),
        };
        if !told.is_empty() {
            joins.add(event.join);
            ambiguity = ambiguity.max(event.ambiguity);
        }
        for trace in told {
            traces.retain(|known| *known != trace);
            traces.push(trace);
        }
    }
    if traces.is_empty() {
        return (traces, None);
    }
    let all = traces.len();
    traces.drain(..all.saturating_sub(TRACES));
    let join = joins.commonest();
    let layer = Layer::Network;
    let reading = shortage::reading(scene, layer, "tcp.resent_requests", all as f64, "requests", found.since);
    (traces, Some(Evidence { join: if join == Join::None { Join::Window } else { join }, ambiguity, ..reading }))
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let peers = scene.signs.peers.since(found.since, scene.now);
    let where_to = match peers.as_slice() {
        [(peer, share, ())] if *share > 0.0 => format!(", all to {peer}"),
        [(peer, share, ()), ..] if *share >= MOSTLY => format!(", {:.0} % of them to {peer}", share * 100.0),
        [_, _, ..] => format!(", to {} peers alike", peers.len()),
        _ => String::new(),
    };
    format!(
        "{} of segments are sent again, {} before{where_to}",
        shortage::percent(found.after),
        shortage::percent(found.before)
    )
}
