//! The first act: the load without Snowshed, and when and how the service dies.

use super::{
    Stage,
    screen::{Screen, Tone},
    truth::{Truth, serves_nobody},
};
use crate::{
    load::{Load, Summary, wall_clock},
    process,
    rig::{Transcoder, TranscoderOptions},
};
use std::time::Duration;

/// Load before the fault: long enough for the first uploads to come back.
const HEALTHY: Duration = Duration::from_secs(7);
/// Later deaths are not waited for.
const PATIENCE: f64 = 100.0;

/// Plays it; gives the seconds from the fault to the death, or nothing if the service lived.
pub(super) fn play(screen: &mut Screen, stage: &Stage) -> anyhow::Result<Option<f64>> {
    screen.act("1  The same load without Snowshed");
    screen.zero();
    let folder = stage.subfolder("alone")?;
    let service = Transcoder::start(&folder, &TranscoderOptions { ..stage.service_options() })?;
    let truth = Truth::watch(&service)?;
    let load = Load::start(stage.load(service.address(), 1))?;
    screen.fact("service", &format!("pid {}, at most {} open files", service.pid(), stage.descriptors));
    process::pause(HEALTHY)?;
    let log = load.log();
    let before = log.ended();
    screen.seen("healthy", &describe(&Summary::of(&log.ended_since(0), HEALTHY.as_secs_f64())), Tone::Good);

    let declared = stage.switch_on(&service)?;
    let on = wall_clock();
    screen.zero();
    screen.seen("fault on", &format!("{} (drawn with seed {})", declared.name, stage.seed), Tone::Plain);
    let mut next_report = 10.0;
    let death = loop {
        process::pause(Duration::from_millis(100))?;
        let health = truth.health();
        if let Some(death) = health.dead.or_else(|| serves_nobody(&log.ended_since(before), on)) {
            break Some(death);
        }
        if screen.seconds() > PATIENCE {
            break None;
        }
        if screen.seconds() >= next_report {
            next_report += 10.0;
            let text =
                format!("{} open files, {} of {} probes failed", truth.latest().fds, health.failed, health.probes);
            screen.seen("", &text, Tone::Faint);
        }
    };
    let Some((_, how)) = death else {
        screen.seen("alive", "the service outlived the fault: this act shows nothing", Tone::Bad);
        return Ok(None);
    };
    let after = screen.seconds();
    screen.seen("dead", &format!("{how}; {} of {} files open", truth.latest().fds, stage.descriptors), Tone::Bad);
    load.stop();
    let since = Summary::of(&log.ended_since(before), after);
    screen.fact("its clients", &describe(&since));
    if let Some((error, times)) = since.errors.iter().max_by_key(|(_, times)| **times) {
        screen.fact("", &format!("{times} x {error}"));
    }
    screen.fact("unanswered", &format!("{} requests hang", log.open()));
    Ok(Some(after))
}

/// What clients saw, in one line.
pub(super) fn describe(summary: &Summary) -> String {
    let mut parts = vec![format!("{} of {} requests good", summary.good, summary.requests)];
    if summary.good > 0 {
        parts.push(format!("first byte after {:.0} ms (median)", summary.first_byte_ms.p50));
    }
    let others = summary.statuses.iter().filter(|(status, _)| **status != 200);
    parts.extend(others.map(|(status, times)| format!("{times} x {status}")));
    parts.join(", ")
}
