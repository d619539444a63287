//! A real interpreter whose memory is changed as it is read, and nothing but noise: answers may be wrong, but come, and
//! are in bounds.

use super::{Interpreter, Names, code, find, layout};
use crate::{
    host::publish::{
        Maps, Process,
        hostile::{Chance, Changed, Noise},
    },
    wire::{PythonFrame, StackRecord},
};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A function of three lines that the interpreter says the address of, with the address of its first instruction.
const PROGRAM: &str = "
import ctypes, sys

def known(a):
    b = a
    return b
print(id(known.__code__), flush=True)
sys.stdin.read()
";

struct Python {
    child: Child,
    code: u64,
}

impl Python {
    fn start() -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this test needs python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, code: line.trim().parse().unwrap() }
    }

    fn memory(&self) -> Process {
        Process(self.child.id())
    }

    fn interpreter(&self) -> Interpreter {
        let maps = Maps::of(self.child.id()).unwrap();
        maps.objects.iter().find_map(|object| find(&self.memory(), object)).expect("an interpreter")
    }

    /// As the programs note it, at this instruction.
    fn frame(&self, instruction: u64) -> PythonFrame {
        let layout = layout::of(11).unwrap();
        PythonFrame { code: self.code, instruction: self.code + u64::from(layout.start) + instruction }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn an_interpreter_is_found_and_a_place_in_it_is_named() {
    let python = Python::start();
    let place = python.interpreter().place(&python.memory()).expect("where its threads keep their state");
    assert_eq!((place.version, place.slot % 8), (11, 0), "{place:?}");
    let layout = layout::of(11).unwrap();
    let named = code::frame(&python.memory(), layout, python.frame(2)).unwrap();
    assert_eq!((named.function.as_str(), named.location), ("known", Some(("<string>".to_owned(), 5))));
    // Not begun; beyond its end; nowhere.
    let frame = python.frame(2);
    for other in [
        PythonFrame { instruction: python.code, ..frame },
        PythonFrame { instruction: frame.instruction + 4000, ..frame },
        PythonFrame { code: 0, ..frame },
        PythonFrame { code: u64::MAX - 7, ..frame },
    ] {
        assert_eq!(code::frame(&python.memory(), layout, other), None, "{other:?}");
    }
    let own = Maps::of(std::process::id()).unwrap();
    assert!(own.objects.iter().all(|object| find(&Process(std::process::id()), object).is_none()), "this is no Python");
}

#[test]
fn a_name_is_believed_for_a_second() {
    let python = Python::start();
    // SAFETY: numbers only.
    let mut record: Box<StackRecord> = unsafe { Box::new(std::mem::zeroed()) };
    (record.python.version, record.depth) = (11, 1);
    record.frames[0] = python.frame(2);
    let (mut names, pid) = (Names::default(), python.child.id());
    assert_eq!(names.frames(pid, &record, 0)[0].function, "known");
    drop(python);
    assert_eq!(names.frames(pid, &record, 999_999_999)[0].function, "known");
    assert!(names.frames(pid, &record, 1_000_000_000).is_empty(), "nothing lies there any more");
}

#[test]
fn changed_memory_and_noise_are_read_within_bounds() {
    let python = Python::start();
    let (memory, interpreter, frame) = (python.memory(), python.interpreter(), python.frame(2));
    let objects = Maps::of(python.child.id()).unwrap().objects;
    let mut named = 0;
    for seed in 0..2000 {
        let changed = Changed { memory: &memory, chance: Chance::new(seed), rate: 1 + seed % 40 };
        let noise = Noise(Chance::new(seed));
        for version in layout::ALL {
            for found in
                [code::frame(&changed, version, frame), code::frame(&noise, version, frame)].into_iter().flatten()
            {
                let (file, _) = found.location.unwrap_or_default();
                assert!(found.function.chars().count() <= 200 && file.chars().count() <= 512, "{seed}");
                assert!(!found.function.chars().chain(file.chars()).any(char::is_control), "{seed}");
                named += 1;
            }
        }
        let places = [interpreter.place(&changed), interpreter.place(&noise)];
        assert!(places.into_iter().flatten().all(|place| !place.is_none() && place.slot < 0x600), "{seed}");
        if seed % 40 == 0 {
            for object in &objects {
                let _any = find(&changed, object);
                assert_eq!(find(&noise, object), None, "{seed}");
            }
        }
    }
    assert!(named > 100, "only {named} were read: this says little");
}
