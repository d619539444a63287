//! `dns_failure`: names are not resolved, or late.
//!
//! Rests on the questions that the process asks resolvers: which share of them stays without an answer, reaches nobody or
//! is answered with a failure, and how long answers take. That there is no such name is an answer like any other (search
//! lists ask for many that are not there), so it counts only where it was rarer before. What waits for a name waits with
//! what it holds.

use super::{CauseUnit, Scene, downstream_slow, shortage};
use crate::{
    detect::Finding,
    model::{Cause, CauseKind},
    signs::{Sign, names::Trouble, track::Deviation},
    window::SECOND,
};
use std::net::IpAddr;

/// The plainest first.
const SIGNS: [Sign; 3] = [Sign::DnsFailed, Sign::DnsTime, Sign::DnsUnknown];
/// So large a share of the questions, where it was smaller before, harms once it has lasted so long: nobody asks for
/// nothing, and requests that fail at once look quick from outside.
const HARMS: shortage::Harms = [(0.9, 20 * SECOND), (0.98, 10 * SECOND)];

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::DnsFailure,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens,
    propose: |scene| found(scene).map(|(sign, found)| cause(scene, sign, found)).into_iter().collect(),
    explains: |scene, kind| match kind {
        CauseKind::LockContention => drives(scene, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => drives(scene, Sign::AcceptDrops),
        CauseKind::PoolExhausted => drives(scene, Sign::PoolFull),
        // Spans that count the resolving in say that calls are late; those who answer are not.
        CauseKind::DownstreamSlow => downstream_slow::by_spans_alone(scene) && found(scene).is_some(),
        CauseKind::TaskLeak => found(scene).is_some_and(|(_, found)| shortage::piles_follow(scene, found.since)),
        _ => false,
    },
};

fn found<'a>(scene: &Scene<'a>) -> Option<(Sign, &'a Deviation)> {
    SIGNS.iter().find_map(|sign| Some((*sign, scene.signs.of(*sign)?)))
}

fn drives(scene: &Scene<'_>, other: Sign) -> bool {
    found(scene).is_some_and(|(sign, _)| shortage::drives(scene, sign, other))
}

fn opens(scene: &Scene<'_>) -> Option<Finding> {
    let (sign, found) = found(scene)?;
    let harms = sign == Sign::DnsFailed && shortage::harms(scene, found, HARMS);
    shortage::presses(scene, sign, harms)?;
    Some(shortage::finding(scene, CauseKind::DnsFailure, found, title(scene, sign, found)))
}

fn cause(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::DnsFailure, sign, found, title(scene, sign, found));
    let others = SIGNS.iter().filter(|other| **other != sign);
    let told = others.filter_map(|other| Some(shortage::evidence(scene, *other, scene.signs.of(*other)?)));
    cause.evidence.splice(1..1, told);
    cause
}

fn title(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> String {
    let (after, before) = (found.after, found.before);
    let is_this = |trouble: &Trouble| match sign {
        Sign::DnsTime => *trouble == Trouble::Late,
        Sign::DnsUnknown => *trouble == Trouble::Unknown,
        _ => matches!(trouble, Trouble::Unanswered | Trouble::Unreachable | Trouble::Failed),
    };
    let worst = scene.signs.names.worst(found.since, scene.now, is_this);
    let (whom, trouble) = match &worst {
        Some((address, trouble, others)) => (whom(*address, *others), *trouble),
        None => ("resolvers".to_owned(), Trouble::Unanswered),
    };
    let (now, then) = (shortage::percent(after), shortage::percent(before));
    match trouble {
        Trouble::Late => {
            let (now, then) = (shortage::time(after), shortage::time(before));
            format!("names take long: {whom} answers after {now}, {then} before")
        }
        Trouble::Unanswered => {
            format!("names are not resolved: {whom} leaves {now} of the questions without an answer, {then} before")
        }
        Trouble::Unreachable => {
            format!("names are not resolved: {now} of the questions to {whom} reach nobody, {then} before")
        }
        Trouble::Failed => format!("names are not resolved: {whom} fails at {now} of the questions, {then} before"),
        Trouble::Unknown => format!("names are not there: {whom} knows no such name for {now} of them, {then} before"),
    }
}

fn whom(address: IpAddr, others: usize) -> String {
    match others {
        0 => format!("resolver {address}"),
        1 => format!("resolver {address}, like another,"),
        more => format!("resolver {address}, like {more} others,"),
    }
}
