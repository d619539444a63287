//! The segments of a live stream that are kept for viewers: pure state, no clock and no waiting.
//!
//! Invariants: what is kept is at most what [`Window::make_room`] was told, or else one open segment, which is cut at a
//! quarter of that. The oldest goes first, and only whole segments go. A playlist is rendered once per change, whoever
//! asks for it.

use super::cut::{Bounds, Cutter, Fragment};
use super::playlist::{self, Entry, Live};
use crate::pipeline::Settings;
use bytes::Bytes;
use std::collections::VecDeque;

/// Segments kept at most, however small: a playlist lists them all.
const SEGMENTS: usize = 1024;
/// Parts are told for segments that end within so many target durations of the end.
const TELL_PARTS: f64 = 3.0;
/// A segment may be over its target by almost half a second: it is rounded.
const ROUNDING: f64 = 0.49;
/// Pictures that stand longer than this make segments longer than asked for.
const PICTURE: f64 = 0.1;

/// A fragment that is kept.
struct Part {
    bytes: Bytes,
    seconds: f64,
    independent: bool,
}

/// A segment, perhaps still growing.
#[derive(Default)]
struct Segment {
    parts: Vec<Part>,
    bytes: usize,
    /// Its length once it is whole.
    whole: Option<f64>,
}

/// What is kept of one stream.
pub(super) struct Window {
    init: Bytes,
    cutter: Cutter,
    /// The number of the first that is kept.
    first: u64,
    segments: VecDeque<Segment>,
    bytes: usize,
    target: u64,
    part_target: f64,
    /// Segments up to this number were handed out.
    passed: u64,
    ended: bool,
    rendered: Option<Bytes>,
}

/// Why a playlist will not be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFar;

impl Window {
    /// Of a stream with this header; nothing is kept yet.
    pub(super) fn new(init: &Bytes, settings: &Settings) -> Self {
        let (gop, part) = (settings.gop.as_secs_f64(), settings.part.as_secs_f64());
        // A group of pictures may be a picture longer than asked for, and then is one part.
        let part_target = if part < gop { part } else { gop * 1.1 };
        Self {
            init: Bytes::copy_from_slice(init),
            cutter: Cutter::new(settings),
            first: 1,
            segments: VecDeque::new(),
            bytes: 0,
            target: settings.segment.as_secs_f64().ceil() as u64,
            part_target,
            passed: 0,
            ended: false,
            rendered: None,
        }
    }

    /// The header.
    pub(super) fn init(&self) -> Bytes {
        self.init.clone()
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `EXT-X-TARGETDURATION`, in seconds.
    pub(super) fn target(&self) -> u64 {
        self.target
    }

    /// Lets segments go until `incoming` bytes fit into `limit`: those that a viewer has taken, and any if `slide`.
    /// Whether they fit now.
    pub(super) fn make_room(&mut self, incoming: usize, limit: usize, slide: bool) -> bool {
        while self.bytes.saturating_add(incoming) > limit || self.segments.len() >= SEGMENTS {
            match self.segments.front() {
                Some(front) if front.whole.is_some() => {
                    if self.first > self.passed && !slide {
                        return false;
                    }
                    self.bytes -= front.bytes;
                    self.segments.pop_front();
                    self.first += 1;
                    self.rendered = None;
                }
                // Only the open one is left: it is bounded by being cut.
                _ => return true,
            }
        }
        true
    }

    /// Adds a fragment; make room first, within the same limit.
    pub(super) fn push(&mut self, bytes: &Bytes, seconds: f64, independent: bool, last: bool, limit: usize) {
        if self.first == 1 && self.segments.is_empty() && seconds > self.part_target {
            // So few pictures a second that a part is not much more than one: what is said of lengths must hold for them.
            if seconds > self.part_target + PICTURE {
                self.target = (self.target as f64 + seconds).ceil() as u64;
            }
            self.part_target = seconds;
        }
        if self.segments.back().is_none_or(|open| open.whole.is_some()) {
            self.segments.push_back(Segment::default());
        }
        let Some(open) = self.segments.back_mut() else { return };
        let size = bytes.len();
        open.bytes += size;
        self.bytes += size;
        // A copy: the muxer's own buffer may be twice as large as what is in it.
        open.parts.push(Part { bytes: Bytes::copy_from_slice(bytes), seconds, independent });
        let fragment = Fragment { bytes: size, seconds, independent, last };
        let bounds = Bounds { bytes: limit / 4, seconds: self.target as f64 + ROUNDING, fragment: self.part_target };
        open.whole = self.cutter.push(fragment, bounds);
        self.rendered = None;
    }

    /// Nothing more comes: what is there is all.
    pub(super) fn end(&mut self) {
        if let Some(open) = self.segments.back_mut().filter(|open| open.whole.is_none()) {
            open.whole = Some(self.cutter.end());
        }
        self.ended = true;
        self.rendered = None;
    }

    /// Lets everything go.
    pub(super) fn clear(&mut self) {
        self.end();
        self.first += self.segments.len() as u64;
        (self.segments, self.init, self.rendered, self.bytes) = Default::default();
    }

    /// The number and the next part of the segment that grows.
    fn next(&self) -> (u64, usize) {
        let after = self.first + self.segments.len() as u64;
        match self.segments.back() {
            Some(open) if open.whole.is_none() => (after - 1, open.parts.len()),
            _ => (after, 0),
        }
    }

    /// There is a whole segment, or there will never be one.
    pub(super) fn is_playable(&self) -> bool {
        self.ended || self.next().0 > self.first
    }

    /// The playlist as it is now.
    pub(super) fn playlist(&mut self) -> Bytes {
        if let Some(rendered) = &self.rendered {
            return rendered.clone();
        }
        let rendered = Bytes::from(self.render());
        self.rendered = Some(rendered.clone());
        rendered
    }

    fn render(&self) -> String {
        let (target, part_target) = (self.target, self.part_target);
        let mut text =
            Live { target, part_target, independent: self.cutter.all_independent(), first: self.first }.begin();
        let length = |segment: &Segment| segment.parts.iter().map(|part| part.seconds).sum::<f64>();
        let mut before_end: f64 = self.segments.iter().map(length).sum();
        for (number, segment) in (self.first..).zip(&self.segments) {
            before_end -= length(segment);
            let told = before_end <= target as f64 * TELL_PARTS;
            let parts = segment.parts.iter().filter(|_| told);
            let mut parts = parts.map(|part| (part.seconds, part.independent));
            playlist::add(&mut text, Entry { number, seconds: segment.whole, parts: &mut parts });
        }
        playlist::finish(&mut text, (!self.ended).then(|| self.next()));
        text
    }

    /// Whether the playlist has this segment whole (or this part of it), or a later one. Waiting for more than two
    /// segments after the last, or for a part further off than three seconds of them, makes no sense.
    pub(super) fn reaches(&self, number: u64, part: Option<usize>) -> Result<bool, TooFar> {
        if self.ended {
            return Ok(true);
        }
        let (open, parts) = self.next();
        // The last whole one is the one before the open one.
        if number > open.saturating_add(1) {
            return Err(TooFar);
        }
        let Some(part) = part else { return Ok(number < open) };
        let ahead = (3.0 / self.part_target.min(1.0)).ceil() as usize;
        let there = if number == open { parts } else { 0 };
        if number >= open && part >= there.saturating_add(ahead) {
            return Err(TooFar);
        }
        if number >= open {
            return Ok(number == open && part < parts);
        }
        // A part that its segment does not have stands for the first of the next one.
        let had = self.kept(number).map_or(usize::MAX, |segment| segment.parts.len());
        Ok(part < had || number + 1 < open || parts > 0)
    }

    fn kept(&self, number: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Parts and bytes of a segment that is whole.
    pub(super) fn segment(&self, number: u64) -> Option<(usize, usize)> {
        let segment = self.kept(number).filter(|segment| segment.whole.is_some())?;
        Some((segment.parts.len(), segment.bytes))
    }

    /// A part's bytes.
    pub(super) fn part(&self, number: u64, part: usize) -> Option<Bytes> {
        self.kept(number)?.parts.get(part).map(|part| part.bytes.clone())
    }

    /// It is the part that the playlist hints at.
    pub(super) fn is_hinted(&self, number: u64, part: usize) -> bool {
        !self.ended && self.next() == (number, part)
    }

    /// A viewer has all that there is.
    pub(super) fn is_taken(&self) -> bool {
        self.passed + 1 >= self.first + self.segments.len() as u64
    }

    /// A viewer has this part: whoever has the last one has its segment, and whoever has another has those before.
    pub(super) fn taken(&mut self, number: u64, part: usize) {
        let Some(segment) = self.kept(number) else { return };
        let whole = segment.whole.is_some() && part + 1 == segment.parts.len();
        self.passed = self.passed.max(if whole { number } else { number - 1 });
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
