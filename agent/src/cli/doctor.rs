//! `snowshed doctor`: what works here, why the rest does not, and what would help.
//!
//! Exit 0: everything works; 1: some of it in a lower tier; 2: nothing works, or the process cannot be read.

mod reach;

use super::{print, print_json};
use crate::{failure::Failure, render::wire_name};
use procfs::process::{LimitValue, Process};
use serde::Serialize;
use snowshed_ebpf::{ContextStatus, Options, ProbeStatus, Session, Tier};
use snowshed_engine::model::Pid;
use std::{path::Path, time::Duration};

/// Capabilities that the full tier uses, with what each is for.
const CAPABILITIES: &[(caps::Capability, &str)] = &[
    (caps::Capability::CAP_BPF, "load programs and maps"),
    (caps::Capability::CAP_PERFMON, "attach to tracepoints, read kernel memory; without these two /proc serves"),
    (caps::Capability::CAP_SYS_PTRACE, "name the code of other users' processes (/proc/PID/maps, root)"),
    (
        caps::Capability::CAP_DAC_READ_SEARCH,
        "tracefs, unless the agent is root; other users' /proc/PID/fd where kernel programs are refused",
    ),
];
/// Shares of a limit from which it is worth a word.
const NEAR: f64 = 0.8;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also look at this process's limits
    #[arg(long, value_name = "PID")]
    pid: Option<Pid>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    kernel: Option<String>,
    btf: bool,
    lockdown: Option<String>,
    tracefs: bool,
    capabilities: Vec<Capability>,
    probes: Vec<ProbeStatus>,
    /// How the traces of threads are known: of the process that is named, and by others' means.
    contexts: ContextStatus,
    process: Option<Limits>,
}

#[derive(Debug, Serialize)]
struct Capability {
    name: String,
    held: bool,
    purpose: &'static str,
}

#[derive(Debug, Serialize)]
struct Limits {
    pid: Pid,
    name: String,
    open_fds: Option<u64>,
    nofile_soft: Option<u64>,
    nofile_hard: Option<u64>,
    threads: u64,
    nproc_soft: Option<u64>,
    advice: Vec<String>,
}

/// Looks at the machine, and prints.
///
/// # Errors
/// Exit 1 if something works only in part, 2 if nothing does.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let process = args.pid.map(limits).transpose().map_err(Failure::usage)?;
    let mut session = Session::start(Options::default());
    session.poll(Duration::ZERO, &mut Vec::new());
    // What it publishes is part of what is seen of it; should it be gone by now, the limits were its last word.
    if let Some(pid) = args.pid
        && let Err(error) = session.add_target(pid)
    {
        tracing::warn!("{error}");
    }
    let report = Report {
        schema: 1,
        kernel: first_line("/proc/sys/kernel/osrelease"),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        lockdown: first_line("/sys/kernel/security/lockdown").as_deref().and_then(selected),
        tracefs: ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
            .iter()
            .any(|path| Path::new(path).exists()),
        capabilities: CAPABILITIES.iter().map(|&(which, purpose)| capability(which, purpose)).collect(),
        probes: session.status(),
        contexts: session.contexts(),
        process,
    };
    drop(session);
    if args.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    match verdict(&report.probes) {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

fn verdict(probes: &[ProbeStatus]) -> u8 {
    match probes {
        _ if probes.iter().all(|probe| probe.tier == Tier::Off) => 2,
        _ if probes.iter().all(|probe| probe.tier == Tier::Full) => 0,
        _ => 1,
    }
}

fn capability(which: caps::Capability, purpose: &'static str) -> Capability {
    let held = caps::has_cap(None, caps::CapSet::Effective, which).unwrap_or(false);
    Capability { name: which.to_string(), held, purpose }
}

fn first_line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

/// The entry in brackets, as in `none [integrity] confidentiality`.
fn selected(line: &str) -> Option<String> {
    Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn limits(pid: Pid) -> Result<Limits, String> {
    let number = i32::try_from(pid).map_err(|_| format!("--pid {pid}: no such process"))?;
    let process = Process::new(number).map_err(|_| format!("--pid {pid}: no such process"))?;
    let stat = process.stat().map_err(|error| format!("--pid {pid}: {error}"))?;
    let limits = process.limits().map_err(|error| format!("--pid {pid}: limits: {error}"))?;
    let value = |limit| match limit {
        LimitValue::Value(value) => Some(value),
        LimitValue::Unlimited => None,
    };
    let mut found = Limits {
        pid,
        name: stat.comm,
        open_fds: process.fd_count().ok().map(|count| count as u64),
        nofile_soft: value(limits.max_open_files.soft_limit),
        nofile_hard: value(limits.max_open_files.hard_limit),
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        nproc_soft: value(limits.max_processes.soft_limit),
        advice: Vec::new(),
    };
    let held = |which| caps::has_cap(None, caps::CapSet::Effective, which).unwrap_or(false);
    found.advice = reach::Reach::of(pid, &process).advice(held);
    found.advice.extend(advice(&found));
    Ok(found)
}

fn advice(limits: &Limits) -> Vec<String> {
    let mut advice = Vec::new();
    if let (Some(open), Some(soft)) = (limits.open_fds, limits.nofile_soft)
        && open as f64 >= NEAR * soft as f64
    {
        advice.push(format!(
            "{open} of {soft} descriptors are open: it is about to run out; `snowshed why {}` says why",
            limits.pid
        ));
    }
    if let (Some(soft), Some(hard)) = (limits.nofile_soft, limits.nofile_hard)
        && soft < hard
    {
        advice.push(format!("the soft limit of descriptors ({soft}) may be raised to {hard} without privileges"));
    }
    if let Some(soft) = limits.nproc_soft
        && limits.threads as f64 >= NEAR * soft as f64
    {
        advice.push(format!("{} threads of the {soft} that its user may have in all", limits.threads));
    }
    advice
}

fn text(report: &Report) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let there = |is| if is { "there" } else { "missing" };
    let mut lines = vec![
        format!("kernel     {}", known(&report.kernel)),
        format!("BTF        {}", there(report.btf)),
        format!("tracefs    {}", there(report.tracefs)),
        format!("lockdown   {}", known(&report.lockdown)),
        String::new(),
    ];
    for capability in &report.capabilities {
        let held = if capability.held { "held" } else { "not held" };
        lines.push(format!("{:<19} {held:<9} {}", capability.name, capability.purpose));
    }
    lines.push(String::new());
    for probe in &report.probes {
        lines.push(format!("{:<10} {:<8} {}", probe.name, wire_name(probe.tier), probe.reason).trim_end().to_owned());
        if !probe.remedy.is_empty() {
            lines.push(format!("{:<10} {:<8} to do: {}", "", "", probe.remedy));
        }
    }
    let observer = if report.contexts.observer { "read" } else { report.contexts.observer_reason.as_str() };
    lines.push(format!("{:<10} {:<8} {observer}", "traces", "OBI"));
    if let Some(process) = &report.process {
        let limit = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
        let open = process.open_fds.map_or_else(|| "?".to_owned(), |open| open.to_string());
        lines.push(String::new());
        lines.push(format!("{} (pid {})", process.name, process.pid));
        lines.push(format!(
            "  descriptors  {open} open, soft {}, hard {}",
            limit(process.nofile_soft),
            limit(process.nofile_hard)
        ));
        lines.push(format!("  threads      {}, limit {}", process.threads, limit(process.nproc_soft)));
        lines.push(format!("  publishes    {}", published(&report.contexts)));
        lines.extend(process.advice.iter().map(|advice| format!("  advice       {advice}")));
    }
    lines.push(String::new());
    lines.push(
        match verdict(&report.probes) {
            0 => "Everything works.",
            1 => "Some of it works in a lower tier.",
            _ => "Nothing works here.",
        }
        .to_owned(),
    );
    lines.join("\n") + "\n"
}

/// What a process publishes of itself.
fn published(contexts: &ContextStatus) -> String {
    let traces = match contexts {
        ContextStatus { program: 1.., .. } => "the trace of each thread, by its program",
        ContextStatus { library: 1.., .. } => "the trace of each thread, by a library",
        ContextStatus { dynamic: 1.., .. } => "the trace of each thread, by a library in a block of its own",
        _ => "no trace of its threads",
    };
    let name = if contexts.named > 0 { "; its service's name" } else { "" };
    let trouble: String = contexts.reasons.iter().map(|reason| format!("; {reason}")).collect();
    format!("{traces}{name}{trouble}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(tier: Tier) -> ProbeStatus {
        ProbeStatus { name: "fd", tier, ..ProbeStatus::default() }
    }

    #[test]
    fn the_exit_code_says_how_much_works() {
        assert_eq!(verdict(&[probe(Tier::Full), probe(Tier::Full)]), 0);
        assert_eq!(verdict(&[probe(Tier::Full), probe(Tier::Off)]), 1);
        assert_eq!(verdict(&[probe(Tier::Reduced)]), 1);
        assert_eq!(verdict(&[probe(Tier::Off)]), 2);
        assert_eq!(verdict(&[]), 2);
    }

    #[test]
    fn the_mode_of_lockdown_is_the_one_in_brackets() {
        assert_eq!(selected("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(selected("garbage"), None);
    }

    #[test]
    fn limits_that_are_near_are_told() {
        let mut found = limits(std::process::id()).expect("this process");
        assert!(found.threads >= 1 && found.open_fds.is_some());
        found.open_fds = Some(990);
        found.nofile_soft = Some(1024);
        assert!(advice(&found).iter().any(|advice| advice.contains("990 of 1024")));
        assert!(limits(u32::MAX).is_err_and(|error| error.contains("no such process")));
    }
}
