//! One map: pieces of code by address; of those that overlap the one that was told last is there.

use crate::host::naming;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// No piece of code is larger.
const LARGEST: u64 = 64 << 20;
/// A name is cut after so many bytes.
const LONGEST: usize = 256;

#[derive(Default)]
pub(super) struct Map {
    /// By start: length and name.
    ranges: BTreeMap<u64, (u64, Arc<str>)>,
    names: HashSet<Arc<str>>,
    /// Bytes of all names.
    text: usize,
}

impl Map {
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn text(&self) -> usize {
        self.text
    }

    /// Takes whole lines, `START LENGTH NAME` with hexadecimal numbers, as far as there is room for ranges and text.
    /// What is no such line says nothing.
    pub(super) fn add(&mut self, text: &[u8], (ranges, names): (usize, usize)) {
        let most = (self.ranges.len().saturating_add(ranges), self.text.saturating_add(names));
        if names < text.len() {
            // Those of code that is gone.
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.text = self.names.iter().map(|name| name.len()).sum();
        }
        for line in text.split(|byte| *byte == b'\n') {
            let Some((start, length, name)) = parse(line) else { continue };
            self.clear(start, start + length);
            if self.ranges.len() < most.0
                && let Some(name) = self.intern(&name, most.1)
            {
                self.ranges.insert(start, (length, name));
            }
        }
    }

    fn intern(&mut self, name: &str, most: usize) -> Option<Arc<str>> {
        if let Some(known) = self.names.get(name) {
            return Some(Arc::clone(known));
        }
        if self.text.saturating_add(name.len()) > most {
            return None;
        }
        let name: Arc<str> = name.into();
        self.text += name.len();
        self.names.insert(Arc::clone(&name));
        Some(name)
    }

    /// What lay there is gone, or what is left of it.
    fn clear(&mut self, start: u64, end: u64) {
        if let Some((before, (length, _))) = self.ranges.range_mut(..start).next_back() {
            *length = (*length).min(start - before);
        }
        while let Some((&within, _)) = self.ranges.range(start..end).next() {
            self.ranges.remove(&within);
        }
    }

    pub(super) fn name(&self, address: u64) -> Option<Arc<str>> {
        let (start, (length, name)) = self.ranges.range(..=address).next_back()?;
        (address - start < *length).then(|| Arc::clone(name))
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, String)> {
    // A longer one is cut, wherever in a character that is.
    let line = String::from_utf8_lossy(line.get(..LONGEST + 40).unwrap_or(line));
    let mut words = line.trim().splitn(3, ' ');
    let mut number = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
    let (start, length) = (number()?, number()?);
    let name = naming::untiered(words.next()?.trim());
    let end = name.char_indices().map(|(at, one)| at + one.len_utf8()).take_while(|end| *end <= LONGEST).last()?;
    let name = name[..end].replace(char::is_control, " ");
    let sane = length > 0 && length <= LARGEST && start.checked_add(length).is_some();
    sane.then_some((start, length, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: (usize, usize) = (1_000, 1 << 20);

    fn of(text: &str) -> Map {
        let mut map = Map::default();
        map.add(text.as_bytes(), ROOM);
        map
    }

    #[test]
    fn what_was_told_last_is_there() {
        let map = of("1000 100 a\n1040 20 b\n3000 10 c\n2000 2000 d\n");
        let names: Vec<String> = [0x1000, 0x103f, 0x1040, 0x105f, 0x1060, 0x10ff, 0x3000, 0x3fff, 0x4000]
            .map(|address| map.name(address).map_or("-".into(), |name| name.to_string()))
            .into();
        assert_eq!(names, ["a", "a", "b", "b", "-", "-", "d", "d", "-"]);
        assert_eq!(map.ranges(), 3);
    }

    #[test]
    fn what_is_no_line_of_a_map_says_nothing() {
        for line in
            ["", "1000", "1000 10", "x 10 f", "1000 x f", "1000 0 f", "ffffffffffffffff 10 f", "1000 ffffffff f"]
        {
            assert_eq!(of(line).ranges(), 0, "{line:?}");
        }
        let long = format!("0x1000 10 {}", "é".repeat(1_000));
        assert!(of(&long).name(0x1000).unwrap().len() <= LONGEST);
        assert_eq!(&*of("1000 10 two words\tand a tab\r").name(0x1000).unwrap(), "two words and a tab");
        let mut map = Map::default();
        map.add(b"1000 10 \xff\xfe broken \xc3", ROOM);
        assert_eq!(map.ranges(), 1, "names may be anything");
    }

    #[test]
    fn there_is_room_for_so_much() {
        let mut map = Map::default();
        let lines: String = (0..100).map(|n| format!("{:x} 10 name{}\n", n * 0x100, n / 2)).collect();
        map.add(lines.as_bytes(), (10, 1 << 20));
        assert_eq!((map.ranges(), map.text()), (10, 5 * "name0".len()));
        map.add(lines.as_bytes(), (1_000, 12));
        assert_eq!(map.text(), 5 * "name0".len() + "name5".len() * 2);
        // A place is given to who has it now, even if its name finds no room.
        map.add(b"0 10 somebody-else", (1_000, 0));
        assert_eq!(map.name(0), None);
    }

    #[test]
    fn names_of_code_that_is_gone_make_room() {
        let mut map = of("1000 10 first");
        map.add(b"1000 10 other", ROOM);
        map.add(b"2000 10 third", (10, 0));
        let names = [0x1000, 0x2000].map(|address| map.name(address).unwrap());
        assert_eq!((&*names[0], &*names[1], map.text()), ("other", "third", 10));
        map.add(b"3000 10 fourth", (10, 0));
        assert_eq!(map.name(0x3000), None, "all names are in use");
    }

    #[test]
    fn noise_is_survived() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        let mut map = Map::default();
        for _ in 0..2_000 {
            let mut text: Vec<u8> = b"1000 100 JS:~f /a.js:1:2\nffff0 40 g\n".repeat(3);
            for _ in 0..6 {
                let at = usize::from(random()) % text.len();
                text[at] = random();
            }
            map.add(&text, (50_usize.saturating_sub(map.ranges()), 1_000_usize.saturating_sub(map.text())));
            assert!(
                map.ranges() <= 50
                    && map.text() <= 1_000
                    && map.ranges.iter().all(|(start, (length, _))| start + length > *start)
            );
        }
        let mut end = 0;
        for (start, (length, _)) in &map.ranges {
            assert!(*start >= end, "pieces do not overlap");
            end = start + length;
        }
    }
}
