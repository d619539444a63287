//! The kernels, where Debian keeps them, and what each of them cannot carry.

/// A kernel to boot.
#[derive(Debug)]
pub struct Kernel {
    /// As `--kernel` takes it, and the beginning of its version.
    pub name: &'static str,
    /// How its version begins, up to a dot.
    pub(super) version: &'static str,
    /// The suite of Debian that has it.
    pub(super) suite: &'static str,
    /// What it cannot carry. Everything else must work on it.
    pub(super) lacks: &'static [Lack],
}

/// Something that a kernel cannot carry.
#[derive(Debug)]
pub(super) struct Lack {
    /// The probe that is not full because of it.
    pub(super) probe: &'static str,
    /// What is missing: `doctor` must name it in the probe's reason.
    pub(super) names: &'static str,
    /// What that means, in words.
    pub(super) means: &'static str,
    /// The tests that need it, and are left out.
    pub(super) tests: &'static [&'static str],
}

const fn lack(probe: &'static str, names: &'static str, means: &'static str, tests: &'static [&'static str]) -> Lack {
    Lack { probe, names, means, tests }
}

/// The suites of the probes that run in a guest: what they need beyond themselves is Python.
pub(super) const SUITES: &[&str] = &["live", "cgroup", "dns"];

/// Without task storage the object's maps cannot be made, so nothing of it runs.
const NO_STORAGE: &str = "no kernel program runs (task storage: 5.11), /proc serves";

/// How the maps begin that are task storage: whichever is made first is named.
const TASK_STORAGE: &str = "`TASK";

/// The tests of questions to resolvers.
const DNS: &[&str] =
    &["questions_and_what_comes_of_them_are_counted_by_resolver", "a_full_table_makes_room_for_who_is_asked_now"];

/// All of them, oldest first.
pub const ALL: &[Kernel] = &[
    Kernel {
        name: "5.10",
        version: "5.10.",
        suite: "bullseye",
        lacks: &[
            lack(
                "fd",
                TASK_STORAGE,
                NO_STORAGE,
                &[
                    "the_view_equals_proc_and_knows_kinds",
                    "a_file_belongs_to_the_connection_that_asked_for_it",
                    "children_are_followed_from_fork_to_exit",
                    "what_the_ring_cannot_hold_is_counted_and_the_view_heals",
                    "children_that_do_not_fit_are_counted",
                ],
            ),
            lack("tcp", TASK_STORAGE, NO_STORAGE, &[]),
            lack(
                "epoll",
                TASK_STORAGE,
                NO_STORAGE,
                &["an_event_loop_that_sleeps_is_a_stall_and_one_that_waits_is_not"],
            ),
            lack("memory", TASK_STORAGE, NO_STORAGE, &["a_kill_for_lack_of_memory_in_a_cgroup_is_seen_with_its_limit"]),
            lack("tasks", TASK_STORAGE, NO_STORAGE, &[]),
            lack("dns", TASK_STORAGE, NO_STORAGE, DNS),
        ],
    },
    Kernel {
        name: "6.1",
        version: "6.1.",
        suite: "bookworm",
        lacks: &[
            lack(
                "fd",
                "sock_recv_length",
                "no file is known by the connection that asked for it (6.3)",
                &["a_file_belongs_to_the_connection_that_asked_for_it"],
            ),
            lack("tcp", "sock_send_length", "retransmits are told without who wrote their bytes (6.3)", &[]),
            lack("dns", "tcp_sent", "questions to resolvers are not seen (6.3)", DNS),
        ],
    },
    Kernel { name: "6.12", version: "6.12.", suite: "trixie", lacks: &[] },
    // The suite moves: whatever is newest there.
    Kernel { name: "7.x", version: "7.", suite: "sid", lacks: &[] },
];

/// The kernel of this name.
///
/// # Errors
/// There is none; the message has them all.
pub(super) fn named(name: &str) -> Result<&'static Kernel, String> {
    let all = || ALL.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|kernel| kernel.name == name).ok_or_else(|| format!("there are {}", all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_name_and_a_wrong_name_tells_them() {
        assert!(ALL.iter().all(|kernel| named(kernel.name).is_ok_and(|found| found.suite == kernel.suite)));
        assert_eq!(named("2.6").unwrap_err(), "there are 5.10, 6.1, 6.12, 7.x");
    }

    #[test]
    fn a_probe_lacks_one_thing_at_most_for_each_kernel() {
        for kernel in ALL {
            for (at, lack) in kernel.lacks.iter().enumerate() {
                assert!(kernel.lacks[..at].iter().all(|other| other.probe != lack.probe), "{}", kernel.name);
            }
        }
    }
}
