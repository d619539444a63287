//! The report for a person: first what matters, then what was looked at, then what could not be seen.

use super::{
    around,
    look::{Process, Report},
};
use crate::render::{
    fds,
    incident::{Cause, Record},
    own_frames,
    text::{forecast, seconds},
    wire_name,
};
use snowshed_ebpf::Tier;
use snowshed_engine::model::{CauseKind, Verdict};

/// Sites shown for each process.
const SITES: usize = 6;
/// Connections shown.
const CONNECTIONS: usize = 5;
/// Frames shown of a stack.
const FRAMES: usize = 12;
/// Lines of evidence shown of a cause without a place.
const EVIDENCE: usize = 4;
/// Event loop instances, and threads, shown.
const LOOPS: usize = 4;
/// Frames shown of a stall that is no cause.
const STALL_FRAMES: usize = 4;

/// Lines, with colour where a terminal shows it.
pub(super) struct Page {
    text: String,
    colour: bool,
}

impl Page {
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { text: String::new(), colour: false }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    pub(super) fn head(&mut self, code: &str, text: &str) {
        let line = if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        self.line(line);
    }
}

/// The whole report.
pub(super) fn report(report: &Report, colour: bool) -> String {
    let mut page = Page { text: String::new(), colour };
    let name =
        report.processes.iter().find(|process| process.fds.pid == report.pid).map(|process| process.name.as_str());
    let who = name.map_or_else(|| format!("pid {}", report.pid), |name| format!("{name} (pid {})", report.pid));
    let early = report.seconds + 1.0 < report.asked_seconds && !report.exited;
    let length = seconds(report.seconds);
    page.line(format!("{who}, looked at for {length}{}", if early { ", ended early: the cause is named" } else { "" }));
    if report.exited {
        page.head("33", "The process ended while it was looked at; this is what was seen before.");
    }
    page.line("");
    for record in &report.incidents {
        incident(&mut page, record);
    }
    if report.incidents.is_empty() {
        let verdict = if report.found { "No leak and no stall found." } else { "Nothing found." };
        page.head("1;32", verdict);
        page.line("");
    }
    for process in &report.processes {
        process_lines(&mut page, process, report.seconds);
    }
    retransmits(&mut page, report);
    around::machine(&mut page, &report.host);
    for one in &report.scrapes {
        if let Some(error) = &one.error {
            page.line(format!("{} told nothing: {error}", one.url));
        }
    }
    unseen(&mut page, report);
    page.text
}

fn incident(page: &mut Page, record: &Record) {
    match record.causes.first() {
        Some(cause) if record.verdict == Verdict::Named => {
            page.head("1;31", &format!("{}: {}", wire_name(cause.kind), cause.title));
            cause_lines(page, cause);
        }
        other => {
            page.head("1;33", &format!("{}; the cause is unknown", record.trigger.detail));
            if let Some(cause) = other {
                page.line(format!(
                    "  likeliest, but below the bar ({:.0} %): {}",
                    cause.confidence * 100.0,
                    cause.title
                ));
            }
        }
    }
    page.line("");
}

fn cause_lines(page: &mut Page, cause: &Cause) {
    let place = match cause.kind {
        CauseKind::FdLeak => "made at",
        CauseKind::EventLoopStall => "stuck at",
        CauseKind::MemoryGrowth => "pages come in at",
        CauseKind::TaskLeak => "made at",
        CauseKind::LockContention | CauseKind::DiskStall => "waits at",
        _ => "at",
    };
    page.line(format!("  confidence {:.0} %", cause.confidence * 100.0));
    if let Some(sentence) = forecast(cause) {
        page.line(format!("  {sentence}"));
    }
    if !cause.kind.has_place() {
        for item in cause.evidence.iter().take(EVIDENCE) {
            page.line(format!("  {} {:.3} -> {:.3} {}", item.signal, item.before, item.after, item.unit));
        }
    } else if cause.site.frames.is_empty() {
        page.line(format!("  {place}: unknown (no stack was taken, or the program has no unwind tables)"));
    } else {
        page.line(format!("  {place}:"));
        let frames = own_frames(&cause.site.frames);
        frames.iter().take(FRAMES).for_each(|frame| page.line(format!("    {frame}")));
        if frames.len() > FRAMES {
            page.line(format!("    and {} more, with --json", frames.len() - FRAMES));
        }
        if let Some(note) = runtime(frames) {
            page.line(format!("    ({note})"));
        }
    }
    if let Some(thread) = &cause.thread {
        page.line(format!("  on thread {} ({})", thread.name, thread.tid));
    }
    if !cause.trace_ids.is_empty() {
        let ids: Vec<String> = cause.trace_ids.iter().rev().take(4).map(ToString::to_string).collect();
        page.line(format!("  requests: {}", ids.join(" ")));
    }
}

/// What a runtime keeps to itself, so that nobody looks for a function that cannot be there.
fn runtime(frames: &[String]) -> Option<&'static str> {
    let has = |start: &str| frames.iter().any(|frame| frame.starts_with(start));
    let nameless = has("[interpreted JavaScript]") || has("[generated code]");
    if has("_PyEval") {
        Some("frames of the interpreter: functions of CPython 3.9, 3.11, 3.13 and 3.14 are read, of others not")
    } else if nameless && has("node::") {
        Some("functions of JavaScript have names with node --perf-basic-prof --interpreted-frames-native-stack")
    } else if nameless {
        Some("code made at run time has names where its runtime writes /tmp/perf-PID.map")
    } else {
        None
    }
}

fn process_lines(page: &mut Page, process: &Process, looked: f64) {
    let fds = &process.fds;
    page.head("1", &format!("{} (pid {})", process.name, fds.pid));
    let limit = process.fds_limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    let growth = process.fds_at_first.map_or_else(String::new, |first| {
        let change = i128::from(fds.live) - i128::from(first);
        if change == 0 { ", unchanged".to_owned() } else { format!(", {change:+} since the start") }
    });
    page.line(format!("  fds      {} open of {limit}{growth}; {} held by requests that ended", fds.live, fds.orphaned));
    if let Some((earliest, latest)) = process.eta_seconds {
        page.line(format!(
            "           at this rate the limit is reached in {} to {}",
            seconds(earliest),
            seconds(latest)
        ));
    }
    for (at, site) in fds.sites.iter().enumerate().take(SITES) {
        let kind = wire_name(site.kind);
        let unknown = if site.oldest_seconds > 0.0 { "place not sampled" } else { "open before the look" };
        let place = own_frames(&site.frames).first().map_or(unknown, String::as_str);
        let orphaned = if site.orphaned > 0 {
            format!("{:>5} orphaned", site.orphaned)
        } else {
            " ".repeat("12345 orphaned".len())
        };
        page.line(format!("           {:>5} {kind:<12} {orphaned}  {place}", site.live));
        for example in process.examples.get(at).into_iter().flatten() {
            page.line(format!("                 {example}"));
        }
    }
    if fds.sites.len() > SITES {
        page.line(format!("           more: {}, with --json", fds.sites.len() - SITES));
    }
    connections(page, fds);
    if let Some((first, last)) = process.rss_anon_bytes {
        let change = (i128::from(last) - i128::from(first)) as f64 / 1_048_576.0;
        page.line(format!(
            "  memory   {:.1} MiB of its own, {change:+.1} MiB since the start",
            last as f64 / 1_048_576.0
        ));
        around::memory(page, &process.memory);
    }
    around::shortages(page, &process.host);
    super::tcp::lines(&process.tcp).into_iter().for_each(|line| page.line(line));
    if let Some((first, last)) = process.threads {
        page.line(format!("  threads  {last}, {:+} since the start", i128::from(last) - i128::from(first)));
    }
    super::tasks::lines(&process.tasks, looked).into_iter().for_each(|line| page.line(line));
    loop_lines(page, process);
    page.line(format!("  stalls   {}", process.stalls));
    for stall in &process.worst_stalls {
        page.line(format!("           {}", stall.sentence()));
        own_frames(&stall.frames)
            .iter()
            .take(STALL_FRAMES)
            .for_each(|frame| page.line(format!("             {frame}")));
    }
    page.line("");
}

/// What its TCP connections wait for, a line for each that is troubled.
fn connections(page: &mut Page, fds: &fds::Record) {
    let Some((waiting, sentence)) = fds.connections.as_ref().and_then(|told| Some((told, told.sentence()?))) else {
        return;
    };
    page.line(format!("  tcp      {sentence}"));
    for one in waiting.troubled.iter().take(CONNECTIONS) {
        page.line(format!("           {}", one.sentence()));
    }
    let counts = &waiting.counts;
    let signs = counts.close_wait.max(counts.stuck_send).max(counts.unread) as usize;
    if signs > CONNECTIONS {
        page.line("           and more, with --json");
    }
}

/// What is waited on, as a table; threads that share an instance are listed below it.
fn loop_lines(page: &mut Page, process: &Process) {
    if !process.instances.is_empty() {
        page.line("  loops    instance      served by         busy    waits  events a wait    full  left waiting");
    }
    for one in process.instances.iter().take(LOOPS) {
        page.line(format!("           {}", one.row()));
    }
    if process.instances.len() > LOOPS {
        page.line(format!("           and {} more, with --json", process.instances.len() - LOOPS));
    }
    let pinned = |tid| process.instances.iter().any(|one| one.tid == Some(tid));
    for one in process.loops.iter().filter(|one| !pinned(one.tid)).take(LOOPS) {
        page.line(format!("           thread {}: busy {:.0} %, {} waits", one.tid, one.busy_ratio * 100.0, one.waits));
    }
}

fn retransmits(page: &mut Page, report: &Report) {
    if report.retransmits.is_empty() {
        return;
    }
    let total: u64 = report.retransmits.iter().map(|one| one.count).sum();
    page.head("1", &format!("{total} TCP segments sent again"));
    for one in report.retransmits.iter().take(CONNECTIONS) {
        page.line(format!("  {:>6}  {} -> {}", one.count, one.local, one.peer));
        if !one.trace_ids.is_empty() {
            let ids: Vec<String> = one.trace_ids.iter().take(4).map(ToString::to_string).collect();
            page.line(format!("          requests: {}", ids.join(" ")));
        }
    }
    page.line("");
}

/// What could not be seen belongs to the answer.
fn unseen(page: &mut Page, report: &Report) {
    if report.lost_events > 0 {
        page.line(format!("{} events were lost because a buffer was full.", report.lost_events));
    }
    for (what, count) in report.probes.iter().flat_map(|probe| &probe.counts).filter(|(_, count)| **count > 0) {
        page.line(format!("{}: {count}.", what.replace('_', " ")));
    }
    for probe in report.probes.iter().filter(|probe| probe.tier != Tier::Full) {
        let remedy = if probe.remedy.is_empty() { String::new() } else { format!(" ({})", probe.remedy) };
        page.line(format!("{} is {}: {}{remedy}", probe.name, wire_name(probe.tier), probe.reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{incident::tests::sample, open};

    fn empty() -> Report {
        Report {
            schema: 1,
            pid: 4242,
            seconds: 30.0,
            asked_seconds: 30.0,
            found: false,
            exited: false,
            lost_events: 0,
            incidents: Vec::new(),
            processes: vec![Process {
                name: "python3".into(),
                fds: fds::Record {
                    pid: 4242,
                    live: 9,
                    orphaned: 0,
                    connections: Some(open::Waiting::from(&open::tests::troubled())),
                    sites: Vec::new(),
                },
                examples: Vec::new(),
                fds_at_first: Some(7),
                fds_limit: Some(1024),
                eta_seconds: None,
                rss_anon_bytes: Some((1_048_576, 2_097_152)),
                memory: around::tests::record(),
                tcp: crate::render::tcp::Record::default(),
                host: Vec::new(),
                threads: Some((1, 1)),
                stalls: 0,
                worst_stalls: Vec::new(),
                loops: Vec::new(),
                tasks: crate::render::tasks::Record::default(),
                instances: Vec::new(),
            }],
            retransmits: Vec::new(),
            host: Vec::new(),
            probes: Vec::new(),
            scrapes: Vec::new(),
        }
    }

    #[test]
    fn nothing_found_is_said_with_what_was_looked_at() {
        let text = report(&empty(), false);
        for part in [
            "python3 (pid 4242)",
            "Nothing found.",
            "9 open of 1024, +2 since the start",
            "+1.0 MiB",
            "tcp      3 connections",
            "fd 9 10.0.0.1:80 <-> 10.0.0.1:80: the peer closed it",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains('\x1b'), "no colour without a terminal");
    }

    #[test]
    fn what_a_runtime_keeps_to_itself_is_said() {
        let note = |frames: &[&str]| runtime(&frames.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(note(&["python3.11+0x1", "_PyEval_EvalFrameDefault"]).is_some_and(|note| note.contains("Python")));
        let node = note(&["[interpreted JavaScript]", "node::fs::Open(x)"]);
        assert!(node.is_some_and(|note| note.contains("--perf-basic-prof")));
        assert!(note(&["[generated code] 0x1", "JavaMain"]).is_some_and(|note| note.contains("perf-PID.map")));
        assert_eq!(note(&["main.settings (/srv/a.go:3)"]), None);
    }

    #[test]
    fn a_named_cause_comes_first_with_its_place_and_the_time_left() {
        let (numbered, sites, clock) = sample();
        let found = Report { found: true, incidents: vec![Record::of(&numbered, &sites, &clock)], ..empty() };
        let text = report(&found, false);
        for part in ["fd_leak: 37 temporary files", "spool_upload (spool.rs:41)", "48 s to 61 s", "confidence 93 %"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(text.find("fd_leak") < text.find("threads"));
    }
}
