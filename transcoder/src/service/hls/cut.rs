//! Where a segment ends.
//!
//! Invariant: a segment begins with a key frame, unless the one before it had to be cut early because it grew over a
//! bound. [`Cutter::all_independent`] says whether that ever happened, and a playlist claims no more than that.
//! Decides at the fragment that is the last of its segment, never one later: nobody waits for a segment that is whole.

use crate::pipeline::Settings;

/// Groups fragments into segments.
#[derive(Clone, Debug)]
pub(super) struct Cutter {
    /// From this length on a key frame begins another segment.
    long_enough: f64,
    /// The open segment.
    bytes: usize,
    seconds: f64,
    begins_with_key: bool,
    all_independent: bool,
}

/// What a fragment is, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) bytes: usize,
    pub(super) seconds: f64,
    /// It begins with a key frame.
    pub(super) independent: bool,
    /// A key frame or nothing follows.
    pub(super) last: bool,
}

/// What a segment may not grow over: it is kept whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    /// No other fragment is added that could reach over this.
    pub(super) seconds: f64,
    /// How long another fragment may be.
    pub(super) fragment: f64,
}

impl Cutter {
    /// For segments of the length that was asked for. Key frames stand at the first picture after their time, so a
    /// segment may be a picture shorter: half a group of pictures decides.
    pub(super) fn new(settings: &Settings) -> Self {
        let long_enough = settings.segment.as_secs_f64() - settings.gop.as_secs_f64() / 2.0;
        Self { long_enough, bytes: 0, seconds: 0.0, begins_with_key: false, all_independent: true }
    }

    /// Adds a fragment to the open segment; the segment's length in seconds if it ends with it.
    pub(super) fn push(&mut self, fragment: Fragment, bounds: Bounds) -> Option<f64> {
        if self.bytes == 0 {
            self.begins_with_key = fragment.independent;
            self.all_independent &= fragment.independent;
        }
        self.bytes = self.bytes.saturating_add(fragment.bytes);
        self.seconds += fragment.seconds;
        // What was cut early finds its way back to the key frames at the first that comes.
        let natural = fragment.last && (self.seconds >= self.long_enough || !self.begins_with_key);
        let full = self.bytes >= bounds.bytes || self.seconds + bounds.fragment > bounds.seconds;
        (natural || full).then(|| self.end())
    }

    /// Ends the open segment; its length.
    pub(super) fn end(&mut self) -> f64 {
        self.bytes = 0;
        std::mem::take(&mut self.seconds)
    }

    /// Every segment so far began with a key frame.
    pub(super) fn all_independent(&self) -> bool {
        self.all_independent
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pipeline::{Container, Quality};
    use std::time::Duration;

    pub(in super::super) fn settings(segment: f64, gop: f64, part: f64) -> Settings {
        let [segment, gop, part] = [segment, gop, part].map(Duration::from_secs_f64);
        let (container, quality) = (Container::Fmp4, Quality::Constant(23.0));
        Settings { container, height: 240, preset: "ultrafast", quality, segment, gop, part, threads: 1 }
    }

    const WIDE: Bounds = Bounds { bytes: 1000, seconds: f64::INFINITY, fragment: 0.0 };

    fn fragment(seconds: f64, independent: bool, last: bool) -> Fragment {
        Fragment { bytes: 100, seconds, independent, last }
    }

    /// The lengths of the segments that a run of fragments makes.
    fn cut(cutter: &mut Cutter, fragments: &[Fragment], bounds: Bounds) -> Vec<f64> {
        let ended = fragments.iter().filter_map(|fragment| cutter.push(*fragment, bounds));
        ended.map(|seconds| (seconds * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn a_segment_ends_before_a_key_frame() {
        let mut cutter = Cutter::new(&settings(2.0, 2.0, 0.8));
        let group = [fragment(0.8, true, false), fragment(0.8, false, false), fragment(0.4, false, true)];
        assert_eq!(cut(&mut cutter, &[group, group].concat(), WIDE), [2.0, 2.0]);
        assert!(cutter.all_independent());
        assert!(cut(&mut cutter, &[fragment(0.3, true, false)], WIDE).is_empty());
        assert_eq!(cutter.end(), 0.3);
    }

    #[test]
    fn several_groups_make_a_segment_even_where_each_is_a_picture_short() {
        let mut cutter = Cutter::new(&settings(2.0, 1.0, 1.0));
        assert_eq!(cut(&mut cutter, &[fragment(0.98, true, true); 4], WIDE), [1.96, 1.96]);
    }

    #[test]
    fn one_that_grows_over_a_bound_is_cut_and_the_next_finds_back() {
        let mut cutter = Cutter::new(&settings(2.0, 2.0, 0.5));
        let group = [
            fragment(0.5, true, false),
            fragment(0.5, false, false),
            fragment(0.5, false, false),
            fragment(0.5, false, true),
        ];
        let narrow = Bounds { bytes: 300, ..WIDE };
        assert_eq!(cut(&mut cutter, &[group, group].concat(), narrow), [1.5, 0.5, 1.5, 0.5]);
        assert!(!cutter.all_independent());
        let short = Bounds { seconds: 1.2, fragment: 0.5, ..WIDE };
        assert_eq!(cut(&mut Cutter::new(&settings(2.0, 2.0, 0.5)), &group, short), [1.0, 1.0]);
    }
}
