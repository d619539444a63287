//! The report for a person: the verdict, then each place, then what could not be seen.

use super::Report;
use crate::render::own_frames;
use std::fmt::Write as _;

/// Frames shown of a place.
const FRAMES: usize = 8;
/// Names shown of a place.
const NAMES: usize = 3;
/// Places shown; all are in the JSON.
const SITES: usize = 20;

pub(super) fn report(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a string takes text");
    let paint = |code: &str, words: &str| match colour {
        true => format!("\x1b[{code}m{words}\x1b[0m"),
        false => words.to_owned(),
    };
    let looked = many(report.judged, "process", "processes");
    if report.clean {
        line(&paint("1;32", &format!("leakcheck: nothing left behind ({looked} looked at)")));
    } else {
        let left: u64 = report.sites.iter().map(|site| site.count).sum::<u64>() + report.more;
        line(&paint("1;31", &format!("leakcheck: {left} left behind ({looked} looked at)")));
    }
    for site in report.sites.iter().take(SITES) {
        line("");
        let pids: Vec<String> = site.pids.iter().take(NAMES).map(ToString::to_string).collect();
        let more = if site.pids.len() > NAMES { ", …" } else { "" };
        let whose = format!("{} (pid {}{more})", site.process, pids.join(", "));
        let head = match site.kind.as_str() {
            "process" => format!("{whose} outlived the command"),
            "thread" => format!("{} still running when {whose} ended", many(site.count, "thread", "threads")),
            kind => format!("{} {kind} left open by {whose}", site.count),
        };
        line(&paint("1", &head));
        let own = own_frames(&site.frames);
        own.iter().take(FRAMES).for_each(|frame| line(&format!("    {frame}")));
        if own.len() > FRAMES {
            line(&format!("    and {} more, with --json", own.len() - FRAMES));
        }
        if site.kind != "process" && !site.names.is_empty() {
            let more = if site.names.len() > NAMES { ", …" } else { "" };
            line(&format!("  {}{more}", site.names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ")));
        }
        if !site.trace_ids.is_empty() {
            let ids: Vec<String> = site.trace_ids.iter().take(NAMES).map(ToString::to_string).collect();
            line(&format!("  requests: {}", ids.join(" ")));
        }
    }
    let rest = report.sites.len().saturating_sub(SITES) as u64;
    if rest > 0 {
        line(&format!("\nand {} more, with --json", many(rest, "place", "places")));
    }
    let notes = report.notes.iter().cloned().chain(in_short(report));
    for (at, note) in notes.enumerate() {
        line(&format!("{}{note}", if at == 0 && !report.clean { "\n" } else { "" }));
    }
    text
}

/// What the reader must know of the verdict's reach.
fn in_short(report: &Report) -> impl Iterator<Item = String> {
    let ignored = (report.ignored > 0).then(|| format!("{} ignored as asked.", report.ignored));
    let unjudged = (report.unjudged > 0).then(|| {
        let who = many(report.unjudged, "process", "processes");
        format!("{who} did not end by exit (a signal, or a last thread): what they held is not judged.")
    });
    let lost = (report.lost > 0).then(|| {
        format!("{} were lost, so some places or processes may be missing.", many(report.lost, "event", "events"))
    });
    let reduced = report
        .reason
        .as_ref()
        .map(|reason| format!("Without kernel programs: no places, and what was inherited is guessed ({reason})."));
    [ignored, unjudged, lost, reduced].into_iter().flatten()
}

fn many(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::{super::left::Site, *};

    fn sample() -> Report {
        Report {
            schema: 1,
            command: vec!["suite".into()],
            exit_code: Some(0),
            signal: None,
            clean: false,
            judged: 3,
            unjudged: 0,
            sites: vec![Site {
                kind: "file".into(),
                count: 2,
                process: "suite".into(),
                frames: vec!["__libc_open64".into(), "spool (a.c:3)".into(), "main (a.c:9)".into()],
                names: vec!["/tmp/a".into(), "/tmp/b".into()],
                pids: vec![7],
                trace_ids: Vec::new(),
            }],
            more: 0,
            ignored: 0,
            lost: 0,
            notes: Vec::new(),
            reason: None,
        }
    }

    #[test]
    fn a_place_is_told_with_its_code_and_names() {
        let text = report(&sample(), false);
        assert_eq!(
            text,
            "leakcheck: 2 left behind (3 processes looked at)\n\n2 file left open by suite (pid 7)\n    \
             spool (a.c:3)\n    main (a.c:9)\n  /tmp/a, /tmp/b\n"
        );
    }

    #[test]
    fn a_clean_run_is_one_line_and_says_what_it_could_not_see() {
        let clean = Report { clean: true, sites: Vec::new(), judged: 1, ..sample() };
        assert_eq!(report(&clean, false), "leakcheck: nothing left behind (1 process looked at)\n");
        let blind = report(&Report { reason: Some("not permitted".into()), ..clean }, false);
        assert!(blind.contains("Without kernel programs") && blind.contains("not permitted"), "{blind}");
    }
}
