//! Code that a runtime makes while it runs: what it is called, as the runtime tells profilers in `/tmp/perf-PID.map`
//! (V8 with `--perf-basic-prof`, and whoever else writes such a map).
//!
//! A function moves when it is compiled anew, and another takes its place. So an address is given its name when a stack is
//! taken, by what the map says then, and not when somebody asks; and the same function is the same place wherever it lies.
//!
//! Invariants: bounded ([`MOST_RANGES`], [`MOST_TEXT`] for all processes together); nobody waits for a target's file
//! system for longer than [`WAIT`]. Cost: one look-up for a frame; what was written to the map since is read, in a
//! thread of its own, once a second while stacks with such code come, and at once where a name is missing.

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
/// How often the end of a map is read; how often if a name is missing; and how often one is looked for that is not there, or does
/// not answer.
const AGAIN: Nanos = 1_000_000_000;
const SOON: Nanos = 20_000_000;
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
    /// When that was, and for how long it need not be looked at.
    looked: Nanos,
    rests: Nanos,
    reading: Option<Receiver<Option<Part>>>,
}

impl Generated {
    /// What code that belongs to no file is called now, for each address; `is_file` tells which do. What is not known yet may have been
    /// made a moment ago.
    pub(crate) fn names(
        &mut self,
        pid: Pid,
        addresses: &[u64],
        is_file: impl Fn(u64) -> bool,
        now: Nanos,
    ) -> Vec<Option<Arc<str>>> {
        let made: Vec<bool> = addresses.iter().map(|address| !is_file(*address)).collect();
        if !made.contains(&true) {
            return vec![None; addresses.len()];
        }
        self.refresh(pid, now, AGAIN);
        let look = |all: &Self| -> Vec<Option<Arc<str>>> {
            let one = |(address, made): (&u64, &bool)| made.then(|| all.name(pid, *address)).flatten();
            addresses.iter().zip(&made).map(one).collect()
        };
        let told = look(self);
        if told.iter().zip(&made).all(|(name, made)| name.is_some() == *made) || !self.refresh(pid, now, SOON) {
            return told;
        }
        look(self)
    }

    /// Reads what has been told since, unless that was read less than `every` ago; tells whether it did.
    fn refresh(&mut self, pid: Pid, now: Nanos, every: Nanos) -> bool {
        if self.known.len() >= MOST_MAPS && !self.known.contains_key(&pid) {
            return false;
        }
        let (ranges, text) = self
            .known
            .values()
            .fold((0, 0), |(ranges, text), known| (ranges + known.map.ranges(), text + known.map.text()));
        let room = (MOST_RANGES.saturating_sub(ranges), MOST_TEXT.saturating_sub(text));
        let known = self.known.entry(pid).or_default();
        if now < known.looked.saturating_add(every.max(known.rests)) && known.looked > 0 {
            return false;
        }
        (known.looked, known.rests) = (now, 0);
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
        let Some(reading) = reading else { return false };
        match reading.recv_timeout(WAIT) {
            Ok(Some(part)) => known.take(part, room),
            Ok(None) => known.rests = ABSENT,
            Err(mpsc::RecvTimeoutError::Timeout) => (known.reading, known.rests) = (Some(reading), ABSENT),
            Err(mpsc::RecvTimeoutError::Disconnected) => {}
        }
        true
    }

    /// Functions of V8 without how well they are compiled.
    fn name(&self, pid: Pid, address: u64) -> Option<Arc<str>> {
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
    fn a_file_system_that_does_not_answer_is_waited_for_once_in_a_while() {
        let (send, reading) = mpsc::sync_channel(1);
        let mut all = Generated::default();
        let known = Known { reading: Some(reading), ..Known::default() };
        all.known.insert(1, known);
        let looked = |all: &mut Generated, now| {
            let told = all.names(1, &[0x1000], |_| false, now);
            (told[0].as_ref().map(ToString::to_string), all.known[&1].looked)
        };
        assert_eq!(looked(&mut all, AGAIN), (None, AGAIN));
        assert_eq!(looked(&mut all, 3 * AGAIN), (None, AGAIN), "nobody waits so soon again");
        send.send(Some(Part { from: 0, text: b"1000 10 f\n".to_vec() })).unwrap();
        assert_eq!(looked(&mut all, AGAIN + ABSENT), (Some("f".into()), AGAIN + ABSENT), "its answer was not lost");
    }

    #[test]
    fn a_function_keeps_its_name_when_it_moves_and_what_takes_its_place_gets_its_own() {
        let pid = std::process::id();
        let told = Told(PathBuf::from(format!("/tmp/perf-{pid}.map")));
        drop(fs::remove_file(&told.0));
        let mut all = Generated::default();
        let of_file = |address: u64| address >= 0xf000;
        let mut names = |addresses: &[u64], now: Nanos| -> Vec<Option<String>> {
            all.names(pid, addresses, of_file, now).iter().map(|name| Some(name.as_ref()?.to_string())).collect()
        };
        assert_eq!(names(&[0x1000], 1), [None], "there is no map");
        fs::write(&told.0, "1000 100 JS:~render /srv/a.js:3:4\nf000 10 never asked for\n").unwrap();
        assert_eq!(names(&[0x1000], ABSENT), [None], "nobody looks that soon");
        let now = 2 * ABSENT;
        let render = Some("JS:render /srv/a.js:3:4".to_owned());
        assert_eq!(
            names(&[0x0fff, 0x1000, 0x10ff, 0x1100, 0xf000], now),
            [None, render.clone(), render.clone(), None, None]
        );
        let mut file = fs::OpenOptions::new().append(true).open(&told.0).unwrap();
        file.write_all(b"5000 80 JS:*render /srv/a.js:3:4\n1000 40 JS:^parse /srv/a.js:9:1\n2000 40 half of a li")
            .unwrap();
        let parse = Some("JS:parse /srv/a.js:9:1".to_owned());
        assert_eq!(names(&[0x1010], now + SOON)[0], render, "nobody looks that soon where names are known");
        let now = now + AGAIN;
        assert_eq!(names(&[0x1010, 0x1050, 0x5010, 0x2010], now), [parse, None, render, None]);
        file.write_all(b"ne\n").unwrap();
        assert_eq!(names(&[0x2010], now + SOON / 2), [None]);
        assert_eq!(names(&[0x2010], now + SOON), [Some("half of a line".to_owned())], "a name was missing");
        fs::write(&told.0, "9000 10 anew\n").unwrap();
        assert_eq!(names(&[0x9000, 0x5010], now + 2 * AGAIN), [Some("anew".to_owned()), None]);
    }
}
