//! The upload's clock made steady: it begins at zero and neither leaps nor runs backwards for good.
//!
//! Transport streams are cut together, and their 33 bits wrap; hostile ones leap for years. A leap of a track away
//! from where it and its neighbour were is taken out, as the `ffmpeg` command does; where the neighbour leapt before
//! it by as much, both stay together.

use super::demux::MICROSECONDS;
use ffmpeg_next::{Packet, Rational, Rescale};

/// A leap in a transport stream, in microseconds (the `ffmpeg` command's `-dts_delta_threshold`).
const LEAP: i64 = 10_000_000;
/// A leap in a file with an index, whose pauses are meant: a slide show, a recorded screen.
const LEAP_IN_FILE: i64 = 120_000_000;
/// How far a transport stream's track may run back before that is a leap, in microseconds.
const BACK: i64 = 500_000;
/// A picture's way between decoding and showing is not longer, in microseconds.
const REORDER: i64 = 10_000_000;

/// One track's part of it.
#[derive(Clone, Copy, Debug)]
struct Hand {
    /// What is added to the upload's time.
    offset: i64,
    /// When the next packet is expected, without the leaps.
    next: Option<i64>,
}

/// The clock of two tracks. Times are microseconds.
#[derive(Debug)]
pub(super) struct Clock {
    leap: i64,
    back: i64,
    hands: [Hand; 2],
}

impl Clock {
    /// Begins with zero at `origin`. `pauses`: whether long pauses are meant.
    pub(super) fn new(origin: i64, pauses: bool) -> Self {
        let hand = Hand { offset: origin.saturating_neg(), next: None };
        let (leap, back) = if pauses { (LEAP_IN_FILE, LEAP_IN_FILE) } else { (LEAP, BACK) };
        Self { leap, back, hands: [hand, hand] }
    }

    /// Sets a packet's times right. `track` is 0 or 1.
    pub(super) fn set(&mut self, packet: &mut Packet, track: usize, base: Rational) {
        let micros = |time: Option<i64>| time.map(|time| time.rescale(base, MICROSECONDS));
        let (pts, dts) = (micros(packet.pts()), micros(packet.dts()));
        let Some(time) = dts.or(pts) else { return };
        let offset = self.offset(track, time, packet.duration().rescale(base, MICROSECONDS));
        let add = |time: i64| time.saturating_add(offset.rescale(MICROSECONDS, base));
        if let (Some(pts), Some(dts)) = (pts, dts)
            && pts.saturating_sub(dts).saturating_abs() > REORDER
        {
            packet.set_pts(None);
        }
        packet.set_pts(packet.pts().map(add));
        packet.set_dts(packet.dts().map(add));
    }

    /// What is to be added to this packet's time.
    fn offset(&mut self, track: usize, time: i64, duration: i64) -> i64 {
        let (own, other) = (self.hands[track & 1], self.hands[1 - (track & 1)]);
        let near = |offset: i64, expected: i64| distance(time.saturating_add(offset), expected) <= self.leap;
        // A track may pause, but its own time does not run back.
        let goes_on = |offset: i64, expected: i64| {
            near(offset, expected) && time.saturating_add(offset) >= expected.saturating_sub(self.back)
        };
        let offset = match (own.next, other.next) {
            (None, None) => own.offset,
            // A track's first packet is measured by its neighbour.
            (None, Some(there)) => match [own.offset, other.offset].into_iter().find(|offset| near(*offset, there)) {
                Some(offset) => offset,
                None => there.saturating_sub(time),
            },
            (Some(here), there) => {
                let filled =
                    there.is_some_and(|there| near(own.offset, there)) && time.saturating_add(own.offset) >= here;
                let offsets = [own.offset, other.offset];
                match offsets.into_iter().find(|offset| goes_on(*offset, here)) {
                    _ if filled => own.offset,
                    Some(offset) => offset,
                    None => here.saturating_sub(time),
                }
            }
        };
        let next = time.saturating_add(offset).saturating_add(duration.clamp(0, self.leap));
        self.hands[track & 1] = Hand { offset, next: Some(next) };
        offset
    }
}

fn distance(one: i64, other: i64) -> i64 {
    one.saturating_sub(other).saturating_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const FRAME: i64 = 40_000;

    /// Feeds times to track 0 and says what became of them.
    fn told(clock: &mut Clock, times: &[i64]) -> Vec<i64> {
        times.iter().map(|time| time + clock.offset(0, *time, FRAME)).collect()
    }

    #[test]
    fn it_begins_at_zero_and_keeps_what_is_steady() {
        let mut clock = Clock::new(5 * S, false);
        assert_eq!(told(&mut clock, &[5 * S, 5 * S + FRAME, 9 * S]), [0, FRAME, 4 * S]);
    }

    #[test]
    fn leaps_are_taken_out_in_both_directions() {
        let year = 365 * 24 * 3600 * S;
        for leap in [year, -year, 20 * S, -20 * S, -S, i64::MAX / 2, i64::MIN / 2] {
            let mut clock = Clock::new(0, false);
            let times = [0, FRAME, leap, leap.saturating_add(FRAME)];
            assert_eq!(told(&mut clock, &times), [0, FRAME, 2 * FRAME, 3 * FRAME], "{leap}");
        }
    }

    #[test]
    fn a_file_may_pause_but_not_for_ever() {
        let mut clock = Clock::new(0, true);
        assert_eq!(told(&mut clock, &[0, 60 * S, 1000 * S]), [0, 60 * S, 60 * S + FRAME]);
    }

    #[test]
    fn a_pause_of_one_track_that_its_neighbour_fills_is_no_leap() {
        let mut clock = Clock::new(0, true);
        told(&mut clock, &[0]);
        for second in 0..300 {
            assert_eq!(clock.offset(1, second * S, S), 0);
        }
        assert_eq!(clock.offset(0, 299 * S, FRAME), 0, "the picture comes back where the sound is");
    }

    #[test]
    fn both_tracks_leap_together() {
        let mut clock = Clock::new(0, false);
        for time in (0..2 * S).step_by(FRAME as usize) {
            clock.offset(0, time, FRAME);
            clock.offset(1, time, FRAME);
        }
        let offset = clock.offset(0, 1000 * S, FRAME);
        assert_eq!(clock.offset(1, 1000 * S + 7, FRAME), offset, "the second follows the first exactly");
    }

    #[test]
    fn a_wrap_goes_unseen() {
        let wrap = (1i64 << 33) * 100 / 9;
        let mut clock = Clock::new(wrap - FRAME, false);
        let told = told(&mut clock, &[wrap - FRAME, 0, FRAME]);
        assert_eq!(told, [0, FRAME, 2 * FRAME]);
    }

    #[test]
    fn the_second_track_may_begin_elsewhere() {
        let mut clock = Clock::new(0, false);
        clock.offset(0, 0, FRAME);
        assert_eq!(clock.offset(1, 3 * S, FRAME), 0);
        let mut clock = Clock::new(0, false);
        clock.offset(0, 0, FRAME);
        assert_eq!(clock.offset(1, 3_000_000 * S, FRAME) + 3_000_000 * S, FRAME, "but not in another year");
    }
}
