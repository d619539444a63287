//! What a process runs with: build id, digests of arguments and environment, limits.
//!
//! Invariant: arguments and environment may hold secrets, so their text is dropped where it is read and only a digest
//! leaves, keyed with a number that was drawn at the start and is kept nowhere: who has the digest cannot try values.
//! Cost: five small files and the head of the executable, once a process and exec; a fork costs nothing.

use super::{
    cgroup::{Hierarchy, Known},
    elf, proc_file, targets,
};
use snowshed_engine::model::{Limit, Nanos, Observation, Pid, Setup};
use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read as _,
};

/// Longer arguments or environments are not read: unknown.
const LONGEST: u64 = 256 << 10;

/// Lines of `/proc/PID/limits` that are told: those that services run into.
const LIMITS: &[(&str, &str)] = &[
    ("Max open files", "open files"),
    ("Max processes", "processes of its user"),
    ("Max address space", "address space (bytes)"),
    ("Max data size", "data (bytes)"),
    ("Max stack size", "stack (bytes)"),
    ("Max locked memory", "locked memory (bytes)"),
];

/// Variables that differ between two starts of the same thing.
const INSTANCE: &[&str] = &[
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "HOSTNAME",
    "HOST_IP",
    "INVOCATION_ID",
    "MONITOR_INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MAINPID",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "NODE_NAME",
    "MEMORY_PRESSURE_WATCH",
    "POD_NAME",
    "POD_IP",
    "POD_UID",
    "XDG_SESSION_ID",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "TRACEPARENT",
    "TRACESTATE",
];

/// Reads setups; all of one reader can be held against each other.
#[derive(Debug, Default)]
pub(crate) struct Setups(RandomState);

impl Setups {
    /// What a process runs with now. What cannot be read is unknown.
    pub(crate) fn read(&self, pid: Pid, at: Nanos) -> Observation {
        let arguments = bytes(pid, "cmdline").filter(|text| is_as_given(text));
        // Who writes a title over its arguments writes over the environment behind them.
        let environment = arguments.as_ref().and_then(|_| bytes(pid, "environ"));
        Observation::Setup(Setup {
            pid,
            at,
            build: elf::build_id(&targets::executable(pid)),
            arguments: arguments.map(|text| self.0.hash_one(text)),
            environment: environment.map(|text| self.0.hash_one(variables(&text))),
            limits: limits(pid),
        })
    }
}

fn bytes(pid: Pid, file: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/{file}")).ok()?.take(LONGEST + 1).read_to_end(&mut text).ok()?;
    (!text.is_empty() && text.len() as u64 <= LONGEST).then_some(text)
}

/// Arguments end with a zero each; a title such as `nginx: worker process` does not, or names itself first.
fn is_as_given(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == 0).next().unwrap_or_default();
    text.last() == Some(&0) && !first.windows(2).any(|pair| pair == b": ") && !text.ends_with(&[0, 0, 0])
}

/// The variables that tell one configuration from another, in order: theirs means nothing.
fn variables(text: &[u8]) -> Vec<&[u8]> {
    let name = |variable: &[u8]| variable.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    let is_instance = |variable: &[u8]| INSTANCE.iter().any(|known| known.as_bytes() == name(variable));
    let all = text.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let mut all: Vec<&[u8]> = all.filter(|variable| !is_instance(variable)).collect();
    all.sort_unstable();
    all
}

fn limits(pid: Pid) -> Vec<Limit> {
    let text = proc_file::read(format!("/proc/{pid}/limits")).unwrap_or_default();
    let mut all = own_limits(&text);
    let mut cgroups = Known::default();
    let groups = cgroups.groups(pid, Hierarchy::V2);
    for (file, name) in
        [("memory.max", "cgroup memory (bytes)"), ("pids.max", "cgroup tasks"), ("cpu.max", "cgroup processors (%)")]
    {
        let told: Vec<Option<u64>> = groups.iter().filter_map(|group| group_limit(&group.read(file)?)).collect();
        if !told.is_empty() {
            let value = told.into_iter().flatten().min();
            all.push(Limit { name: name.to_owned(), value });
        }
    }
    all
}

/// The soft limits of `/proc/PID/limits`.
fn own_limits(text: &str) -> Vec<Limit> {
    let limit = |(head, name): &(&str, &str)| {
        let line = text.lines().find_map(|line| line.strip_prefix(head))?;
        let value = match line.split_whitespace().next()? {
            "unlimited" => None,
            number => Some(number.parse().ok()?),
        };
        Some(Limit { name: (*name).to_owned(), value })
    };
    LIMITS.iter().filter_map(limit).collect()
}

/// `max`, a number, or quota and period of a processor, which is told in per cent of one; inside: `None` is no limit.
fn group_limit(text: &str) -> Option<Option<u64>> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    if first == "max" {
        return Some(None);
    }
    let number: u64 = first.parse().ok()?;
    match words.next() {
        Some(period) => Some(Some(number.checked_mul(100)?.checked_div(period.parse().ok()?)?)),
        None => Some(Some(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that runs with this until its input ends.
    fn run(argument: &str, variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new("/bin/cat");
        command.env_clear().envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::null());
        command.args(["--", "-", argument].iter().take(if argument.is_empty() { 2 } else { 3 })).spawn().unwrap()
    }

    fn setup(setups: &Setups, argument: &str, variables: &[(&str, &str)]) -> Setup {
        let mut child = run(argument, variables);
        // It is there a moment before its arguments are.
        let cmdline = format!("/proc/{}/cmdline", child.id());
        while std::fs::read(&cmdline).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let Observation::Setup(setup) = setups.read(child.id(), 7) else { panic!() };
        drop(child.stdin.take());
        child.wait().unwrap();
        setup
    }

    #[test]
    fn what_is_the_same_has_the_same_digest_and_what_differs_another() {
        let setups = Setups::default();
        let plain = setup(&setups, "", &[("A", "1"), ("SECRET", "hunter2"), ("INVOCATION_ID", "x")]);
        let again = setup(&setups, "", &[("SECRET", "hunter2"), ("A", "1"), ("INVOCATION_ID", "y")]);
        assert!(plain.arguments.is_some() && plain.environment.is_some() && plain.build.is_some(), "{plain:?}");
        assert_eq!((plain.arguments, plain.environment), (again.arguments, again.environment));
        let other = setup(&setups, "/dev/null", &[("A", "1"), ("SECRET", "hunter3")]);
        assert!(other.arguments.is_some() && other.arguments != plain.arguments);
        assert!(other.environment.is_some() && other.environment != plain.environment);
        let elsewhere = setup(&Setups::default(), "", &[("A", "1"), ("SECRET", "hunter2")]);
        assert_ne!(elsewhere.environment, plain.environment, "without the key values cannot be tried");
        let told = serde_json::to_string(&[plain, other]).unwrap();
        assert!(!told.contains("hunter") && !told.contains("SECRET") && !told.contains("/dev/null"), "{told}");
    }

    #[test]
    fn titles_are_no_arguments() {
        assert!(is_as_given(b"/bin/server\0--port\x0080\0") && is_as_given(b"x\0\0"));
        assert!(
            !is_as_given(b"nginx: worker process\0\0\0\0")
                && !is_as_given(b"postgres: a b")
                && !is_as_given(b"t\0\0\0")
        );
    }

    #[test]
    fn limits_are_read_and_none_is_told_apart_from_unknown() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024       524288    files     \n\
            Max address space         unlimited            unlimited            bytes     \nMax processes odd\n";
        let told: Vec<_> = own_limits(text).into_iter().map(|limit| (limit.name, limit.value)).collect();
        assert_eq!(told, [("open files".to_owned(), Some(1_024)), ("address space (bytes)".to_owned(), None)]);
        assert_eq!((group_limit("max\n"), group_limit("1048576\n")), (Some(None), Some(Some(1_048_576))));
        assert_eq!((group_limit("150000 100000\n"), group_limit("max 100000\n")), (Some(Some(150)), Some(None)));
        assert_eq!((group_limit(""), group_limit("5 0"), group_limit("x")), (None, None, None));
        assert!(limits(std::process::id()).iter().any(|limit| limit.name == "open files"));
        assert!(limits(0).is_empty());
    }
}
