//! Code that a runtime makes while it runs: what it is called, as the runtime tells profilers in `/tmp/perf-PID.map`
//! (V8 with `--perf-basic-prof`, .NET, LuaJIT, Java with an agent).
//!
//! A function moves when it is compiled anew, and another takes its place. So an address is given its name when a stack is
//! taken, by what the map says then, and not when somebody asks; and the same function is the same place wherever it lies.
//!
//! Invariants: bounded ([`MOST_RANGES`], [`MOST_TEXT`] for all processes together); nobody waits for a target's file
//! system for longer than [`WAIT`]. Cost: one look-up for a frame; what was written to the map since is read, in a
//! thread of its own, five times a second, while stacks with such code come.

mod map;
mod read;

use crate::host::publish::Away;
use map::Map;
use read::Part;
use snowshed_engine::model::{Nanos, Pid};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

/// Pieces of code of all processes, and bytes of their names.
const MOST_RANGES: usize = 131_072;
const MOST_TEXT: usize = 8 << 20;
/// Processes whose maps are kept.
const MOST_MAPS: usize = 64;
/// How often the end of a map is read, and how often one is looked for that is not there.
const AGAIN: Nanos = 200_000_000;
const ABSENT: Nanos = 5_000_000_000;
const WAIT: Duration = Duration::from_millis(20);

/// All maps.
#[derive(Default)]
pub(crate) struct Generated {
    known: HashMap<Pid, Known>,
    away: Away,
}

#[derive(Default)]
struct Known {
    map: Map,
    /// As far as it was read.
    read: u64,
    due: Nanos,
    reading: Option<Receiver<Option<Part>>>,
}

impl Generated {
    /// Reads what has been told since, if it is time to.
    pub(crate) fn refresh(&mut self, pid: Pid, now: Nanos) {
        if self.known.len() >= MOST_MAPS && !self.known.contains_key(&pid) {
            return;
        }
        let (ranges, text) = self
            .known
            .values()
            .fold((0, 0), |(ranges, text), known| (ranges + known.map.ranges(), text + known.map.text()));
        let room = (MOST_RANGES.saturating_sub(ranges), MOST_TEXT.saturating_sub(text));
        let known = self.known.entry(pid).or_default();
        if now < known.due {
            return;
        }
        known.due = now.saturating_add(AGAIN);
        let reading = known.reading.take().or_else(|| {
            let (send, reading) = mpsc::sync_channel(1);
            let (ticket, from) = (self.away.ticket()?, known.read);
            let read = move || {
                let _ticket = ticket;
                // Whoever asked may be gone.
                let _gone = send.send(read::part(pid, from));
            };
            thread::Builder::new().name("generated".into()).spawn(read).ok()?;
            Some(reading)
        });
        let Some(reading) = reading else { return };
        match reading.recv_timeout(WAIT) {
            Ok(Some(part)) => known.take(part, room),
            Ok(None) => known.due = now.saturating_add(ABSENT),
            Err(mpsc::RecvTimeoutError::Timeout) => known.reading = Some(reading),
            Err(mpsc::RecvTimeoutError::Disconnected) => {}
        }
    }

    /// What the code at an address is called now; functions of V8 without how well they are compiled.
    pub(crate) fn name(&self, pid: Pid, address: u64) -> Option<Arc<str>> {
        self.known.get(&pid)?.map.name(address)
    }

    /// Forgets a process that ended or executed another program.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.known.remove(&pid);
    }

    /// Gives back all that can be read again.
    pub(crate) fn shrink(&mut self) {
        self.known = HashMap::new();
    }
}

impl Known {
    fn take(&mut self, part: Part, room: (usize, usize)) {
        if part.from < self.read {
            // It was written anew.
            self.map = Map::default();
        }
        self.map.add(&part.text, room);
        self.read = part.from.saturating_add(part.text.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _, path::PathBuf};

    /// The map of this process, as if it were one that makes code.
    struct Told(PathBuf);

    impl Drop for Told {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn a_function_keeps_its_name_when_it_moves_and_what_takes_its_place_gets_its_own() {
        let pid = std::process::id();
        let told = Told(PathBuf::from(format!("/tmp/perf-{pid}.map")));
        drop(fs::remove_file(&told.0));
        let mut all = Generated::default();
        all.refresh(pid, 1);
        assert_eq!(all.name(pid, 0x1000), None, "there is no map");
        fs::write(&told.0, "1000 100 JS:~render /srv/a.js:3:4\n").unwrap();
        all.refresh(pid, ABSENT);
        assert_eq!(all.name(pid, 0x1000), None, "nobody looks that soon");
        let mut now = 2 * ABSENT;
        let mut names = |all: &mut Generated, addresses: &[u64]| -> Vec<Option<String>> {
            now += AGAIN;
            all.refresh(pid, now);
            addresses.iter().map(|address| Some(all.name(pid, *address)?.to_string())).collect()
        };
        let render = Some("JS:render /srv/a.js:3:4".to_owned());
        assert_eq!(names(&mut all, &[0x0fff, 0x1000, 0x10ff, 0x1100]), [None, render.clone(), render.clone(), None]);
        let mut file = fs::OpenOptions::new().append(true).open(&told.0).unwrap();
        file.write_all(b"5000 80 JS:*render /srv/a.js:3:4\n1000 40 JS:^parse /srv/a.js:9:1\n2000 40 half of a li")
            .unwrap();
        let parse = Some("JS:parse /srv/a.js:9:1".to_owned());
        assert_eq!(names(&mut all, &[0x1010, 0x1050, 0x5010, 0x2010]), [parse, None, render, None]);
        file.write_all(b"ne\n").unwrap();
        assert_eq!(names(&mut all, &[0x2010]), [Some("half of a line".to_owned())]);
        fs::write(&told.0, "9000 10 anew\n").unwrap();
        assert_eq!(names(&mut all, &[0x9000, 0x5010]), [Some("anew".to_owned()), None]);
    }
}
