//! What this process may do, and what would help where the kernel said no.
//!
//! Invariant: a remedy names only what is missing here: it follows from the error number and from the
//! capabilities that this process holds, not from a list of everything that could be wrong.
//! Cost: one small file, read when a remedy is made.

use std::fs;

/// Numbers of linux/capability.h, with the name that a person grants and what it is for.
const CAPABILITIES: [(u32, &str, &str); 2] =
    [(39, "CAP_BPF", "load programs and maps"), (38, "CAP_PERFMON", "attach to tracepoints and read kernel memory")];
/// Holds for both of them, on every kernel.
const SYS_ADMIN: u32 = 21;
const DAC_READ_SEARCH: u32 = 2;
const DAC_OVERRIDE: u32 = 1;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;

/// What the process may do now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Privilege {
    effective: u64,
    /// A seccomp filter is on.
    filtered: bool,
    /// In the initial user namespace, the only one whose capabilities count for BPF.
    initial: bool,
}

impl Privilege {
    /// As `/proc/self/status` says; nothing is held if it cannot be read.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self::parse(&status, &map)
    }

    fn parse(status: &str, uid_map: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Self {
            effective: field("CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0),
            filtered: field("Seccomp:") == Some("2"),
            initial: uid_map.split_whitespace().eq(["0", "0", "4294967295"]),
        }
    }

    fn holds(self, capability: u32) -> bool {
        self.effective & (1 << capability) != 0
    }

    /// Of what BPF needs, that which is not held.
    fn missing(self) -> Vec<String> {
        let lacking = CAPABILITIES.iter().filter(|(number, ..)| !self.holds(*number) && !self.holds(SYS_ADMIN));
        lacking.map(|(_, name, purpose)| format!("{name} ({purpose})")).collect()
    }

    /// What would help against a trouble, as it was told with its error number.
    pub(crate) fn remedy(self, trouble: &str) -> String {
        let number = errno(trouble);
        if trouble == "switched off" {
            "start without --no-bpf".to_owned()
        } else if trouble.contains("x86-64") {
            "run it on x86-64; the fallbacks serve everywhere".to_owned()
        } else if trouble.contains("has no structure") || trouble.contains("has no member") {
            "a kernel that has what the reason names".to_owned()
        } else if trouble.contains("/sys/kernel/btf") && number == Some(ENOENT) {
            "a kernel built with CONFIG_DEBUG_INFO_BTF (5.10 and later of most distributions), or /sys mounted where \
             the agent runs"
                .to_owned()
        } else if trouble.contains("failed to create map") && number == Some(EINVAL) {
            "Linux 5.11 or later, which has task storage for tracing programs".to_owned()
        } else if trouble.contains("tracefs") || trouble.contains("/tracing/") {
            self.tracefs(number)
        } else {
            match number {
                Some(EPERM | EACCES) => self.refused(number == Some(EACCES)),
                Some(ENOMEM) => "more memory for kernel maps: the memory limit of the agent's cgroup, or on kernels \
                                 before 5.11 RLIMIT_MEMLOCK"
                    .to_owned(),
                Some(EBUSY) => "end what else holds it; see the reason".to_owned(),
                Some(ENOENT) => "a kernel that has the tracepoint that the reason names".to_owned(),
                _ => "a newer kernel may have what is missing; see the reason".to_owned(),
            }
        }
    }

    fn tracefs(self, number: Option<i32>) -> String {
        if number == Some(EACCES) && !self.holds(DAC_READ_SEARCH) && !self.holds(DAC_OVERRIDE) {
            return "run as root, or grant CAP_DAC_READ_SEARCH (tracefs is open to root alone)".to_owned();
        }
        if number == Some(EACCES) {
            return self.refused(true);
        }
        let mount = "mount tracefs on the host (mount -t tracefs tracefs /sys/kernel/tracing), and in a container \
                     hand /sys/kernel/tracing in, read-only";
        if self.holds(SYS_ADMIN) {
            mount.to_owned()
        } else {
            format!("{mount}; or grant CAP_SYS_ADMIN, with which the agent mounts it for itself alone")
        }
    }

    /// The kernel refused something that these capabilities allow.
    fn refused(self, by_access: bool) -> String {
        let missing = self.missing();
        if !missing.is_empty() {
            return format!("run as root, or grant {}", missing.join(" and "));
        }
        if !self.initial {
            return "run in the initial user namespace: capabilities of another one do not count for BPF".to_owned();
        }
        if self.filtered {
            return "let bpf() and perf_event_open() through the seccomp filter (the runtime's profile) under which the \
                    agent runs"
                .to_owned();
        }
        if by_access {
            return "a kernel whose verifier takes this program; see the reason".to_owned();
        }
        "the capabilities are there: a security module or lockdown=confidentiality refuses it".to_owned()
    }
}

/// The last error number that a chain of errors names, as in `… (os error 13)`.
fn errno(trouble: &str) -> Option<i32> {
    let (_, rest) = trouble.rsplit_once("(os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "load maps: `bpf_map_create` failed: Operation not permitted (os error 1)";
    const WHOLE: &str = "0 0 4294967295";

    fn with(capabilities: &[u32], seccomp: u32) -> Privilege {
        let set = capabilities.iter().fold(0_u64, |set, number| set | 1 << number);
        Privilege::parse(&format!("Name:\tx\nCapEff:\t{set:016x}\nSeccomp:\t{seccomp}\n"), WHOLE)
    }

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let none = with(&[], 0).remedy(REFUSED);
        assert!(none.contains("CAP_BPF") && none.contains("CAP_PERFMON"), "{none}");
        let bpf = with(&[39], 0).remedy(REFUSED);
        assert!(!bpf.contains("CAP_BPF") && bpf.contains("CAP_PERFMON"), "{bpf}");
        assert!(with(&[39, 38], 2).remedy(REFUSED).contains("seccomp"));
        assert!(with(&[21], 0).remedy(REFUSED).contains("security module"));
        let nested = Privilege::parse("CapEff:\t000001ffffffffff\nSeccomp:\t0\n", "0 1000 1");
        assert!(nested.remedy(REFUSED).contains("user namespace"));
    }

    #[test]
    fn tracefs_that_is_closed_is_not_tracefs_that_is_missing() {
        let closed = "attach x: error opening /sys/kernel/tracing/events: Permission denied (os error 13)";
        assert!(with(&[39, 38], 0).remedy(closed).contains("CAP_DAC_READ_SEARCH"));
        let missing = "attach x: tracefs: Operation not permitted (os error 1)";
        let remedy = with(&[39, 38], 0).remedy(missing);
        assert!(remedy.contains("mount tracefs") && remedy.contains("CAP_SYS_ADMIN"), "{remedy}");
    }

    #[test]
    fn the_last_number_is_the_one_that_counts() {
        assert_eq!(errno("a (os error 2): b (os error 13)"), Some(13));
        assert_eq!(errno("nothing"), None);
        assert_eq!(errno("(os error many)"), None);
    }
}
