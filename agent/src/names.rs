//! What a process is called: the kernel knows it by its `comm`, the service knows better.
//!
//! Invariant: once a service has told its name, the kernel's never comes back over it, so that names,
//! and with them the identity of alerts, stay the same. Bounded by [`PIDS`] and [`DEPARTED`].

use snowshed_engine::model::{Nanos, Observation, Pid, ProcessSeen};
use std::collections::{HashMap, VecDeque};

/// Processes whose names are remembered.
const PIDS: usize = 1024;
/// Processes whose start is remembered after their end: an incident may be opened by that.
const DEPARTED: usize = 64;

/// Names and starts of the processes that the engine knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    living: HashMap<Pid, Known>,
    /// The newest last.
    departed: VecDeque<ProcessSeen>,
}

#[derive(Debug)]
struct Known {
    seen: ProcessSeen,
    told: bool,
}

impl Names {
    /// An observation from the kernel, with the service's own name put in where it has told one.
    pub(crate) fn of_kernel(&mut self, mut observation: Observation) -> Observation {
        match &mut observation {
            Observation::Process(seen) => {
                if let Some(known) = self.living.get_mut(&seen.pid) {
                    if known.told && known.seen.started == seen.started {
                        seen.name.clone_from(&known.seen.name);
                        seen.instance.clone_from(&known.seen.instance);
                    } else {
                        known.told = false;
                    }
                    known.seen = seen.clone();
                } else if self.living.len() < PIDS {
                    self.living.insert(seen.pid, Known { seen: seen.clone(), told: false });
                }
            }
            Observation::Exit(exit) => {
                if let Some(known) = self.living.remove(&exit.pid) {
                    if self.departed.len() >= DEPARTED {
                        self.departed.pop_front();
                    }
                    self.departed.push_back(known.seen);
                }
            }
            _ => {}
        }
        observation
    }

    /// An observation from a service. A name is passed on only if it is news about a known process.
    pub(crate) fn of_service(&mut self, observation: Observation) -> Option<Observation> {
        let Observation::Process(told) = observation else { return Some(observation) };
        let known = self.living.get_mut(&told.pid)?;
        let instance = told.instance.or_else(|| known.seen.instance.clone());
        if told.name.is_empty() || (known.told && known.seen.name == told.name && known.seen.instance == instance) {
            return None;
        }
        known.told = true;
        known.seen.name = told.name;
        known.seen.instance = instance;
        Some(Observation::Process(known.seen.clone()))
    }

    /// When a process started, and its instance id; of a pid that nobody has, the last who had it.
    pub(crate) fn of(&self, pid: Pid) -> (Option<Nanos>, Option<String>) {
        let departed = || self.departed.iter().rfind(|seen| seen.pid == pid);
        let seen = self.living.get(&pid).map(|known| &known.seen).or_else(departed);
        seen.map_or((None, None), |seen| (Some(seen.started), seen.instance.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::ProcessExit;

    fn process(name: &str, started: Nanos) -> Observation {
        Observation::Process(ProcessSeen { pid: 7, name: name.into(), started, parent: None, instance: None })
    }

    fn name(observation: Option<Observation>) -> Option<String> {
        match observation {
            Some(Observation::Process(seen)) => Some(format!("{}@{}", seen.name, seen.started)),
            _ => None,
        }
    }

    #[test]
    fn the_services_own_name_stays() {
        let mut names = Names::default();
        assert_eq!(name(names.of_service(process("transcoder", 0))), None, "nobody has seen it");
        assert_eq!(name(Some(names.of_kernel(process("snowshed-transc", 5)))).as_deref(), Some("snowshed-transc@5"));
        assert_eq!(name(names.of_service(process("transcoder", 0))).as_deref(), Some("transcoder@5"));
        assert_eq!(name(names.of_service(process("transcoder", 0))), None, "no news");
        assert_eq!(name(Some(names.of_kernel(process("snowshed-transc", 5)))).as_deref(), Some("transcoder@5"));
    }

    #[test]
    fn the_pids_next_user_is_somebody_else() {
        let mut names = Names::default();
        names.of_kernel(process("a", 5));
        names.of_service(process("service", 0));
        assert_eq!(name(Some(names.of_kernel(process("b", 9)))).as_deref(), Some("b@9"));
        names.of_kernel(Observation::Exit(ProcessExit { pid: 7, at: 10 }));
        assert_eq!(names.of(7), (Some(9), None), "an incident may be about its end");
        assert_eq!(names.of(8), (None, None));
        names.of_kernel(process("c", 11));
        assert_eq!(names.of(7).0, Some(11));
    }
}
