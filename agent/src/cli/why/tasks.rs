//! What `why` says of a process's threads: only what somebody would act on, or that shows where threads come from.

use crate::render::{own_frames, tasks::Record, text::seconds, wire_name};
use snowshed_engine::model::LockKind;

/// Groups of threads shown.
const GROUPS: usize = 5;
/// Locks shown.
const LOCKS: usize = 4;
/// Frames of a lock's waiter shown.
const FRAMES: usize = 3;
/// Waiting shorter than this, all threads added up, is everyday.
const WAITED: f64 = 0.5;

/// The lines of a process; `looked` is how long it was looked at, seconds.
pub(super) fn lines(record: &Record, looked: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for group in record.threads.iter().take(GROUPS).filter(|_| record.threads.len() > 1) {
        let seen = if group.sampled < group.live { format!(" ({} seen)", group.sampled) } else { String::new() };
        let place = own_frames(&group.frames).first();
        let place = place.map_or_else(String::new, |place| format!(", made at {place}{seen}"));
        let busy = if group.running > 0 { format!(", {} running", group.running) } else { String::new() };
        lines.push(format!(
            "           {:>5} {:<16} newest {}, oldest {}{busy}{place}",
            group.live,
            group.name,
            seconds(group.newest_seconds),
            seconds(group.oldest_seconds)
        ));
        if !group.trace_ids.is_empty() {
            lines.push(format!("                 made for {}", group.trace_ids.join(" ")));
        }
    }
    let left = record.threads.len().saturating_sub(GROUPS);
    if left > 0 {
        lines.push(format!("           and {left} more origins"));
    }
    published(record, &mut lines);
    locks(record, &mut lines);
    processor(record, looked, &mut lines);
    lines
}

/// Tasks of its own scheduler, where it publishes them.
fn published(record: &Record, lines: &mut Vec<String>) {
    let Some(live) = record.tasks_live else { return };
    lines.push(format!("  tasks    {live}, as it publishes"));
    for group in record.tasks.iter().take(GROUPS) {
        let place = own_frames(&group.frames).first().map_or("an unknown place", String::as_str);
        let state = if group.state.is_empty() { String::new() } else { format!(" ({})", group.state) };
        lines.push(format!("           {:>5} made at {place}{state}", group.live));
    }
    let left = record.tasks.len().saturating_sub(GROUPS);
    if left > 0 {
        lines.push(format!("           and {left} more origins"));
    }
}

fn locks(record: &Record, lines: &mut Vec<String>) {
    for lock in record.locks.iter().take(LOCKS) {
        let is_goroutine = lock.kind == LockKind::Goroutine;
        let kind = if is_goroutine { String::new() } else { format!(", {}", wire_name(lock.kind)) };
        lines.push(format!(
            "  lock     waited for {} in all, at least {} at once; {} {} at the last look ({}{kind})",
            seconds(lock.wait_seconds),
            seconds(lock.longest_seconds),
            lock.waiters,
            if is_goroutine { "goroutines" } else { "threads" },
            lock.thread,
        ));
        let frames = own_frames(&lock.frames);
        if frames.is_empty() {
            lines.push("           at an unknown place".to_owned());
        }
        lines.extend(frames.iter().take(FRAMES).map(|frame| format!("           at {frame}")));
        if let Some(holder) = &lock.holder {
            let place = own_frames(&holder.frames).first().map_or_else(String::new, |place| format!(", at {place}"));
            lines.push(format!("           held by thread {} ({}){place}", holder.tid, holder.thread));
        }
    }
    if record.locks.len() > LOCKS {
        lines.push(format!("           and {} more locks", record.locks.len() - LOCKS));
    }
}

fn processor(record: &Record, looked: f64, lines: &mut Vec<String>) {
    let cpu = &record.cpu;
    let throttled = match (cpu.throttled_periods, cpu.throttled_seconds) {
        (Some(0), _) => ", not throttled".to_owned(),
        (Some(periods), Some(time)) => format!(", throttled {periods} times for {}", seconds(time)),
        _ => ", throttling unknown".to_owned(),
    };
    let share = cpu.used_seconds / looked.max(0.001) * 100.0;
    lines.push(format!(
        "  cpu      {share:.0} % of one, {} ready but kept waiting{throttled}",
        seconds(cpu.delay_seconds)
    ));
    if let Some(longest) = record.longest_uninterruptible.as_ref().filter(|_| record.uninterruptible_seconds >= WAITED)
    {
        let call = if longest.syscall.is_empty() { "no system call" } else { &longest.syscall };
        lines.push(format!(
            "  blocked  {} uninterruptibly (mostly a disk), at least {} at once: {} in {call}",
            seconds(record.uninterruptible_seconds),
            seconds(longest.longest_seconds),
            longest.thread
        ));
        let device = longest.device.as_ref().map_or_else(String::new, |name| format!(" on block device {name}"));
        if !longest.kernel_function.is_empty() {
            lines.push(format!("           it waited in the kernel's {}{device}", longest.kernel_function));
        }
        lines.extend(own_frames(&longest.frames).first().map(|frame| format!("           at {frame}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tasks::{Blocked, Cpu, Group, Holder, Lock, Threads};

    #[test]
    fn locks_threads_and_throttling_are_said_in_words() {
        let threads = |name: &str, live, frames: &[&str]| Threads {
            name: name.into(),
            frames: frames.iter().map(|frame| (*frame).to_owned()).collect(),
            live,
            sampled: live,
            running: 0,
            oldest_seconds: 60.0,
            newest_seconds: 1.0,
            cpu_seconds: 0.0,
            trace_ids: Vec::new(),
            join: "none",
        };
        let lock = Lock {
            kind: LockKind::Owned,
            frames: vec!["__lll_lock_wait".into(), "look_up (catalogue.c:7)".into()],
            thread: "worker-1".into(),
            waiters: 5,
            waits_seen: 40,
            wait_seconds: 12.0,
            longest_seconds: 1.5,
            hand_overs_seen: 9,
            holder: Some(Holder { tid: 42, thread: "holder".into(), frames: vec!["refresh (catalogue.c:9)".into()] }),
        };
        let record = Record {
            threads: vec![threads("worker-#", 24, &["clone3", "spawn (leak.c:3)"]), threads("main", 1, &[])],
            tasks_live: Some(321),
            tasks: vec![Group {
                frames: vec!["main.subscribe (m.go:20)".into()],
                live: 300,
                state: "chan receive".into(),
            }],
            locks: vec![lock],
            cpu: Cpu {
                used_seconds: 5.0,
                delay_seconds: 2.0,
                throttled_periods: Some(7),
                throttled_seconds: Some(3.0),
            },
            uninterruptible_seconds: 4.0,
            longest_uninterruptible: Some(Blocked {
                longest_seconds: 2.0,
                thread: "db".into(),
                syscall: "fsync".into(),
                kernel_function: "submit_bio_wait".into(),
                device: Some("vda".into()),
                frames: vec!["__libc_fsync".into(), "commit (log.c:4)".into()],
            }),
            ..Record::default()
        };
        let text = lines(&record, 10.0).join("\n");
        for part in [
            "tasks    321, as it publishes",
            "300 made at main.subscribe (m.go:20) (chan receive)",
            "24 worker-#",
            "spawn (leak.c:3)",
            "5 threads",
            "look_up (catalogue.c:7)",
            "thread 42 (holder)",
            "50 %",
            "7 times",
            "db in fsync",
            "submit_bio_wait on block device vda",
            "at commit (log.c:4)",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        let calm = lines(&Record::default(), 10.0).join("\n");
        assert!(calm.contains("throttling unknown") && !calm.contains("lock"), "{calm}");
    }
}
