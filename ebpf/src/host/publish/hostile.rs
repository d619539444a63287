//! Hostile bytes for everything that reads another process: answers may be wrong, but come, and are in bounds.

use super::{
    image::is_near,
    maps::{Maps, Object},
    memory::{Memory, Process},
    place::{self, Found},
    process::{self, Reading, Said},
};
use std::{cell::Cell, collections::HashSet, io};

/// A sequence that a failure can be repeated with.
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x
    }

    fn bytes(&self, into: &mut [u8]) {
        into.iter_mut().for_each(|byte| *byte = self.next().to_le_bytes()[3]);
    }
}

/// Another memory, with some of what is read from it changed; one read in `rate`.
pub(crate) struct Changed<'a, M> {
    pub(crate) memory: &'a M,
    pub(crate) chance: Chance,
    pub(crate) rate: u64,
}

impl<M: Memory> Memory for Changed<'_, M> {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if self.memory.read(at, into).is_err() {
            // Where there is nothing there may be anything.
            self.chance.bytes(into);
        }
        if self.chance.next().is_multiple_of(self.rate) && !into.is_empty() {
            let place = usize::try_from(self.chance.next()).unwrap() % into.len();
            into[place] = self.chance.next().to_le_bytes()[1];
        }
        if self.chance.next().is_multiple_of(64) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Nothing but chance.
pub(crate) struct Noise(pub(crate) Chance);

impl Memory for Noise {
    fn read(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.bytes(into);
        // Zeros are what tables end with.
        if self.0.next().is_multiple_of(2) {
            into.fill(0)
        }
        Ok(())
    }
}

fn assert_bounded(found: Found) {
    if let Found::At(place, _) = found {
        assert!(!place.is_none(), "{place:?}");
        if place.entry == 0 {
            assert!(is_near(place.offset), "{place:?}");
        } else {
            assert!((0..1 << 24).contains(&place.offset) && place.module < 1 << 16, "{place:?}");
        }
    }
}

#[test]
fn changed_programs_are_looked_at_within_bounds() {
    let own = Process(std::process::id());
    let maps = Maps::of(own.0).unwrap();
    for seed in 0..300 {
        let memory = Changed { memory: &own, chance: Chance::new(seed), rate: 1 + seed % 40 };
        assert_bounded(place::find(&memory, &maps.objects, seed, &mut HashSet::new()));
    }
}

#[test]
fn noise_is_no_program() {
    let object = Maps::of(std::process::id()).unwrap().objects[0];
    for seed in 0..2000 {
        assert_eq!(place::find(&Noise(Chance::new(seed)), &[object], 0, &mut HashSet::new()), Found::Nowhere);
    }
    let none: &[Object] = &[];
    assert_eq!(place::find(&Process(0), none, 0, &mut HashSet::new()), Found::Nowhere);
}

/// A process context at address 0x1000: header, then payload.
struct Context {
    bytes: Vec<u8>,
    /// The stamp is another one at every so many reads.
    restless: Cell<u64>,
}

impl Memory for Context {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let start = at.checked_sub(0x1000).and_then(|start| usize::try_from(start).ok());
        let part = start.and_then(|start| self.bytes.get(start..start.checked_add(into.len())?));
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        if self.restless.get() > 0 && at == 0x1000 {
            self.restless.set(self.restless.get() - 1);
            into[16] = u8::try_from(self.restless.get() % 251).unwrap() + 1;
        }
        Ok(())
    }
}

fn context(payload: &[u8], size: u32, pointer: u64, version: u32, stamp: u64) -> Context {
    let mut bytes = b"OTEL_CTX".to_vec();
    bytes.extend(version.to_ne_bytes());
    bytes.extend(size.to_ne_bytes());
    bytes.extend(stamp.to_ne_bytes());
    bytes.extend(pointer.to_ne_bytes());
    bytes.extend(payload);
    Context { bytes, restless: Cell::new(0) }
}

fn message(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = body.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend(body);
    out
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [message(1, key.as_bytes()), message(2, &message(1, value))].concat()
}

fn payload() -> Vec<u8> {
    let resource = [("service.name", "checkout"), ("other", "x"), ("service.instance.id", "seven")];
    let resource: Vec<u8> =
        resource.iter().flat_map(|(key, value)| message(1, &attribute(key, value.as_bytes()))).collect();
    // A field that this version does not know, of each kind.
    let unknown = [0x18, 0x96, 0x01, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4];
    let schema = message(2, &attribute("threadlocal.schema_version", b"tlsdesc_v1_dev"));
    [message(1, &resource), unknown.to_vec(), schema].concat()
}

fn said(service: &str, instance: &str, schema: &str) -> Said {
    Said { service: Some(service.into()), instance: Some(instance.into()), schema: Some(schema.into()) }
}

#[test]
fn a_context_is_read_once_for_each_stamp() {
    let payload = payload();
    let size = u32::try_from(payload.len()).unwrap();
    let right = said("checkout", "seven", "tlsdesc_v1_dev");
    assert!(
        right.is_by_symbol() && Said::default().is_by_symbol() && !said("", "", "go_pprof_labels_v1").is_by_symbol()
    );
    let memory = context(&payload, size, 0x1020, 2, 9);
    assert_eq!(process::read(&memory, 0x1000, 0), Reading::Said(right, 9));
    assert_eq!(process::read(&memory, 0x1000, 9), Reading::Same);
    // Being written, of another version, elsewhere, of no place, and too large.
    assert_eq!(process::read(&context(&payload, size, 0x1020, 2, 0), 0x1000, 0), Reading::Busy);
    assert_eq!(process::read(&context(&payload, size, 0x1020, 3, 9), 0x1000, 0), Reading::None);
    assert_eq!(process::read(&memory, 0x1001, 0), Reading::None);
    for pointer in [0, 1, 0x1021, u64::MAX, 1 << 63] {
        assert_eq!(process::read(&context(&payload, size, pointer, 2, 9), 0x1000, 0), Reading::None, "{pointer:#x}");
    }
    for size in [size + 1, 64 << 10, (64 << 10) + 1, u32::MAX] {
        assert_eq!(process::read(&context(&payload, size, 0x1020, 2, 9), 0x1000, 0), Reading::None, "{size}");
    }
}

#[test]
fn a_context_that_changes_is_read_again_and_not_for_ever() {
    let payload = payload();
    let size = u32::try_from(payload.len()).unwrap();
    let memory = context(&payload, size, 0x1020, 2, 9);
    memory.restless.set(2);
    assert!(matches!(process::read(&memory, 0x1000, 0), Reading::Said(..)), "it came to rest");
    memory.restless.set(10_000);
    assert_eq!(process::read(&memory, 0x1000, 0), Reading::Busy);
    assert!(memory.restless.get() > 9_900);
}

#[test]
fn cut_and_changed_payloads_say_less_and_nothing_worse() {
    let whole = payload();
    for length in 0..whole.len() {
        let size = u32::try_from(length).unwrap();
        let reading = process::read(&context(&whole[..length], size, 0x1020, 2, 9), 0x1000, 0);
        assert!(matches!(reading, Reading::None | Reading::Said(..)), "{length}: {reading:?}");
    }
    let chance = Chance::new(7);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=chance.next() % 4 {
            let place = usize::try_from(chance.next()).unwrap() % bytes.len();
            bytes[place] = chance.next().to_le_bytes()[2];
        }
        let size = u32::try_from(bytes.len()).unwrap();
        match process::read(&context(&bytes, size, 0x1020, 2, 9), 0x1000, 0) {
            Reading::Said(said, _) => {
                read += 1;
                for text in [said.service, said.instance, said.schema].into_iter().flatten() {
                    assert!(text.chars().count() <= 128 && !text.chars().any(char::is_control), "{text:?}");
                }
            }
            _ => refused += 1,
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn names_are_bounded_and_plain() {
    let long = "n".repeat(5000);
    let cases: [(&[u8], Option<&str>); 5] = [
        (b"two\nlines\x1b[31m", Some("twolines[31m")),
        (b"  \n\t ", None),
        (b"", None),
        (b"bad \xff utf-8", Some("bad \u{fffd} utf-8")),
        (long.as_bytes(), Some(&long[..128])),
    ];
    for (name, shown) in cases {
        let body = message(1, &message(1, &attribute("service.name", name)));
        let size = u32::try_from(body.len()).unwrap();
        let Reading::Said(said, _) = process::read(&context(&body, size, 0x1020, 2, 9), 0x1000, 0) else {
            panic!("not read: {name:?}")
        };
        assert_eq!(said.service.as_deref(), shown);
    }
    // More attributes than anybody has.
    let many: Vec<u8> = (0..5000).flat_map(|_| message(2, &attribute("k", b"v"))).collect();
    let size = u32::try_from(many.len()).unwrap();
    assert_eq!(process::read(&context(&many, size, 0x1020, 2, 9), 0x1000, 0), Reading::None);
}
