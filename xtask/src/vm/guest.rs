//! The guest: its system, what it runs, and what its words mean.
//!
//! It speaks on its second serial line, where the kernel says nothing; its own lines begin with a word that no test prints.
//! Invariant: only a guest that said of every job that it ended, and then that all is over, can be good.

use super::{Kernel, Outcome, Parts, machine::Ended, root::Archive};
use anyhow::Context as _;
use serde_json::Value;
use std::{path::Path, time::Duration};

/// What the guest's own lines begin with.
const WORD: &str = "@snowshed ";
/// The last of them.
pub(super) const OVER: &str = "@snowshed over";
/// After this comes the report of what works there.
const BEGIN_DOCTOR: &str = "@snowshed begin doctor";
/// Where Python's modules lie.
const PYTHON: &str = "/usr/lib/python3.11";
/// What none of the tests' programs imports; half of Python's size.
const WITHOUT: &[&str] = &[
    "__pycache__",
    "config-",
    "dist-packages",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "sqlite3",
    "test",
    "tkinter",
    "turtle",
    "unittest",
    "wsgiref",
    "xml",
];
/// How long a boot may take on a machine that does other things too.
const BOOT: Duration = Duration::from_secs(90);
/// And each job: the old verifier, emulated, takes a minute to accept the programs, and each test loads them anew.
const JOB: Duration = Duration::from_secs(900);

/// Mounts what the kernel shows, as any Debian does, and then talks on the second serial line.
const START: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ifconfig lo 127.0.0.1 up
ulimit -n 20000
cd /tmp
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
say() { echo; echo "@snowshed $*"; }
job() { name=$1; shift; say begin $name; "$@"; say end $name $?; }
say kernel $(uname -r)
"#;

/// What a machine is to run.
pub(super) struct Guest<'a> {
    parts: &'a Parts,
    /// Name and command line, for its shell.
    jobs: Vec<(String, String)>,
}

impl<'a> Guest<'a> {
    /// The probes' tests on this kernel, or a command instead.
    pub(super) fn new(kernel: &Kernel, parts: &'a Parts, command: &[String]) -> Self {
        let mut jobs = Vec::new();
        if command.is_empty() {
            jobs.push(("doctor".to_owned(), "snowshed doctor --json".to_owned()));
            let lacks: Vec<_> = kernel.lacks.iter().map(|lack| lack.probe).collect();
            let skips: String =
                kernel.lacks.iter().flat_map(|lack| lack.tests).map(|test| format!(" --skip {test}")).collect();
            for (name, _) in &parts.suites {
                let lacks = lacks.join(",");
                jobs.push((name.clone(), format!("env SNOWSHED_LACKS={lacks} /suites/{name} --test-threads=1{skips}")));
            }
        } else {
            let quoted: Vec<_> = command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            jobs.push(("command".to_owned(), quoted.join(" ")));
        }
        Self { parts, jobs }
    }

    /// Writes its system.
    ///
    /// # Errors
    /// A part of it is not on this machine.
    pub(super) fn write(&self, to: &Path) -> anyhow::Result<()> {
        let mut archive = Archive::create(to)?;
        for folder in ["/proc", "/sys", "/dev", "/tmp", "/bin", "/usr/bin"] {
            archive.folder(Path::new(folder))?;
        }
        let jobs: String = self.jobs.iter().map(|(name, line)| format!("job {name} {line}\n")).collect();
        let init = format!("{START}{jobs}echo; echo '{OVER}'\npoweroff -f\n");
        archive.file(Path::new("/init"), 0o755, init.as_bytes())?;
        archive.copy(Path::new("/bin/busybox"), Path::new("/bin/busybox")).context("Debian's busybox-static")?;
        archive.file(Path::new("/etc/passwd"), 0o644, b"root:x:0:0:root:/tmp:/bin/sh\n")?;
        archive.link(Path::new("/usr/bin/python"), Path::new("python3"))?;
        archive.program(Path::new("/usr/bin/python3"), Path::new("/usr/bin/python3")).context("Debian's python3")?;
        archive.tree(Path::new(PYTHON), WITHOUT)?;
        archive.program(&self.parts.snowshed, Path::new("/usr/bin/snowshed"))?;
        for (name, executable) in &self.parts.suites {
            archive.program(executable, &Path::new("/suites").join(name))?;
        }
        archive.finish().with_context(|| format!("write {}", to.display())).map(drop)
    }

    /// How long it may take in all.
    pub(super) fn bound(&self) -> Duration {
        BOOT + JOB * u32::try_from(self.jobs.len()).unwrap_or(u32::MAX)
    }

    /// What is to be thought of what it said.
    pub(super) fn judge(&self, kernel: &Kernel, ended: &Ended) -> Outcome {
        let mut outcome = Outcome { tests: sums(&ended.said), wrong: Vec::new(), lacks: Vec::new() };
        let wrong = &mut outcome.wrong;
        if !ended.over {
            wrong.push(format!("it did not come to its end; the console's last words:\n{}", ended.console));
        }
        let words = || ended.said.iter().filter_map(|line| line.strip_prefix(WORD));
        match words().find_map(|word| word.strip_prefix("kernel ")) {
            Some(version) if version.starts_with(kernel.version) => {}
            Some(version) => wrong.push(format!("this is kernel {version}")),
            None => wrong.push("it never said which kernel it is".to_owned()),
        }
        for (name, _) in self.jobs.iter().filter(|(name, _)| name != "doctor") {
            let end = words().find_map(|word| word.strip_prefix(&format!("end {name} ")));
            if end != Some("0") {
                wrong.push(format!("{name} ended with {}", end.unwrap_or("nothing: it did not end")));
            }
        }
        if self.jobs.iter().any(|(name, _)| name == "doctor") {
            if outcome.tests.0 == 0 {
                wrong.push("no test passed".to_owned());
            }
            let of_doctor = ended.said.iter().skip_while(|line| *line != BEGIN_DOCTOR).skip(1);
            let text: String = of_doctor.take_while(|line| !line.starts_with(WORD)).map(String::as_str).collect();
            // What is no report names no probe.
            let report = serde_json::from_str(&text).unwrap_or_default();
            wrong.extend(unexpected(kernel, &report));
            outcome.lacks = lacks(kernel);
        }
        outcome
    }
}

/// What a kernel cannot carry, in sentences.
fn lacks(kernel: &Kernel) -> Vec<String> {
    let left_out = |tests: &[&str]| match tests {
        [] => String::new(),
        tests => format!(" (not run: {})", tests.join(", ")),
    };
    let sentence = |lack: &super::kernels::Lack| {
        format!("{} for {}: {}{}", lack.names, lack.probe, lack.means, left_out(lack.tests))
    };
    kernel.lacks.iter().map(sentence).collect()
}

/// Where `doctor` and the kernel's list of lacks differ.
fn unexpected(kernel: &Kernel, report: &Value) -> Vec<String> {
    let Some(probes) = report["probes"].as_array().filter(|probes| !probes.is_empty()) else {
        return vec!["doctor named no probe".to_owned()];
    };
    let mut differing = Vec::new();
    for probe in probes {
        let (name, tier) = (probe["name"].as_str().unwrap_or_default(), probe["tier"].as_str().unwrap_or_default());
        let reason = probe["reason"].as_str().unwrap_or_default();
        match (kernel.lacks.iter().find(|lack| lack.probe == name), tier) {
            (None, "full") => {}
            (None, tier) => differing.push(format!("{name} is {tier}: {reason}")),
            (Some(lack), "full") => differing.push(format!("{name} is full, and should lack {}", lack.names)),
            (Some(lack), _) if reason.contains(lack.names) && probe["remedy"] != "" => {}
            (Some(lack), _) => differing.push(format!("{name} does not name {}: {reason}", lack.names)),
        }
    }
    differing
}

/// Tests that passed and that failed, from what libtest says.
fn sums(said: &[String]) -> (usize, usize) {
    let of = |line: &str, what: &str| {
        let parts = line.split([';', '.']).filter_map(|part| part.trim().strip_suffix(what));
        parts.filter_map(|number| number.trim().parse::<usize>().ok()).next().unwrap_or(0)
    };
    let sums = said.iter().filter_map(|line| line.strip_prefix("test result: "));
    sums.fold((0, 0), |(passed, failed), line| (passed + of(line, "passed"), failed + of(line, "failed")))
}

/// Shows a line of the guest's to the user, unless it belongs to the report, which is judged instead.
pub(super) fn show(kernel: &Kernel, line: &str, in_report: &mut bool) {
    let own = line.strip_prefix(WORD);
    *in_report = if own.is_some() { line == BEGIN_DOCTOR } else { *in_report };
    if !line.is_empty() && !*in_report {
        println!("{} | {}", kernel.name, own.unwrap_or(line));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::kernels, *};
    use serde_json::json;

    fn kernel(name: &str) -> &'static Kernel {
        kernels::named(name).unwrap()
    }

    fn said(lines: &[&str], over: bool) -> Ended {
        Ended { said: lines.iter().map(|line| (*line).to_owned()).collect(), over, console: "panic".to_owned() }
    }

    fn parts() -> Parts {
        Parts { snowshed: "snowshed".into(), suites: vec![("live".to_owned(), "live".into())] }
    }

    const DOCTOR: &str = r#"{"probes":[{"name":"fd","tier":"full","#;
    const MORE: &str = r#""reason":"","remedy":""}]}"#;
    const RESULT: &str = "test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 9.1s";

    #[test]
    fn a_guest_is_good_only_when_everything_ended_well() {
        let (parts, kernel) = (parts(), kernel("6.12"));
        let guest = Guest::new(kernel, &parts, &[]);
        let good = [
            "@snowshed kernel 6.12.117",
            BEGIN_DOCTOR,
            DOCTOR,
            MORE,
            "@snowshed end doctor 0",
            RESULT,
            "@snowshed end live 0",
        ];
        let outcome = guest.judge(kernel, &said(&good, true));
        assert_eq!((outcome.wrong.as_slice(), outcome.tests), (&[][..], (8, 0)));
        // The end of doctor's job is no news: the next job's beginning ends the report as well.
        for missing in (0..good.len()).filter(|at| *at != 4) {
            let mut lines = good.to_vec();
            lines.remove(missing);
            assert_eq!(guest.judge(kernel, &said(&lines, true)).wrong.len(), 1, "without {}", good[missing]);
        }
        assert!(guest.judge(kernel, &said(&good, false)).wrong[0].contains("panic"));
        let other = ["@snowshed kernel 6.1.9", BEGIN_DOCTOR, DOCTOR, MORE, "@snowshed end live 101", RESULT];
        assert_eq!(guest.judge(kernel, &said(&other, true)).wrong.len(), 2);
    }

    #[test]
    fn what_is_lacking_must_be_what_the_list_says() {
        let probe = |tier: &str, reason: &str| json!({"probes": [{"name": "fd", "tier": tier, "reason": reason, "remedy": "x"}]});
        let (old, new) = (kernel("6.1"), kernel("6.12"));
        assert!(unexpected(old, &probe("reduced", "attach sock_recv_length: no such type")).is_empty());
        assert_eq!(unexpected(old, &probe("reduced", "something else")).len(), 1);
        assert_eq!(unexpected(old, &probe("full", "")).len(), 1, "the list is stale");
        assert_eq!(unexpected(new, &probe("reduced", "x")).len(), 1);
        assert_eq!(unexpected(new, &Value::Null).len(), 1);
    }

    #[test]
    fn a_command_reaches_the_guests_shell_word_by_word() {
        let parts = parts();
        let guest = Guest::new(kernel("6.1"), &parts, &["echo".to_owned(), "it's".to_owned()]);
        assert_eq!(guest.jobs, [("command".to_owned(), r"'echo' 'it'\''s'".to_owned())]);
    }
}
