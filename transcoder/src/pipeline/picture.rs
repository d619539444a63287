//! The picture's track: decoder, filter and encoder, and the clock that must never run backwards.
//!
//! What the output is like is decided by the first picture, not by what the container says of it.

use super::decode::Decoder;
use super::encode::Encoder;
use super::error::Polled;
use super::filter::{Filter, Shape, Target};
use super::mux::Muxer;
use super::turn::Turn;
use super::{Cancel, PipelineError, Settings};
use ffmpeg_next::{Frame, Packet, Rational, Rescale, Stream};
use std::time::Duration;

/// Assumed where nothing tells, or tells nonsense.
const USUAL_RATE: Rational = Rational(25, 1);
/// Pictures a second that are made at most.
const MOST_RATE: f64 = 60.0;
/// Width of the output, in pixels.
const WIDTHS: std::ops::RangeInclusive<f64> = 16.0..=3840.0;

/// The track.
pub(super) struct Picture {
    settings: Settings,
    clock: Rational,
    /// What the container says of the rate, and of a pixel's shape.
    rate: Rational,
    aspect: Rational,
    turn: Turn,
    decoder: Decoder,
    decoded: Frame,
    filtered: Frame,
    /// The time to assume for a picture without one.
    next: i64,
    /// Before this time, in seconds, pictures are too many.
    due: f64,
    made: Option<Made>,
    frames: u64,
}

/// What is there from the first picture on.
struct Made {
    filter: Filter,
    encoder: Encoder,
    output: usize,
    clock: Rational,
    last: i64,
    /// The number of the next key frame's place.
    place: i64,
    /// How long a picture is seen if nothing else is known.
    usual: i64,
}

impl Picture {
    /// Opens the decoder.
    pub(super) fn open(stream: &Stream<'_>, settings: Settings) -> Result<Self, PipelineError> {
        // SAFETY: the stream lives as long as its context; the field is a pair of plain integers.
        let aspect = unsafe { (*stream.as_ptr()).sample_aspect_ratio }.into();
        Ok(Self {
            settings,
            clock: stream.time_base(),
            rate: stream.avg_frame_rate(),
            aspect,
            turn: Turn::of(stream),
            decoder: Decoder::open(stream, settings.threads)?,
            // SAFETY: allocates an empty frame; ffmpeg-next calls it unsafe because reading its data would be.
            decoded: unsafe { Frame::empty() },
            // SAFETY: as above.
            filtered: unsafe { Frame::empty() },
            next: 0,
            due: 0.0,
            made: None,
            frames: 0,
        })
    }

    /// Pictures sent to the encoder since the last call.
    pub(super) fn take_frames(&mut self) -> u64 {
        std::mem::take(&mut self.frames)
    }

    /// Gives the decoder a packet; whether it is worth asking for pictures.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<bool, PipelineError> {
        self.decoder.send(packet)
    }

    /// There are no more packets.
    pub(super) fn end(&mut self) {
        self.decoder.end();
    }

    /// Decodes a picture and keeps it for [`Self::take`]; false if there is none.
    pub(super) fn decode(&mut self) -> Result<bool, PipelineError> {
        loop {
            let Polled::Ready = self.decoder.receive(&mut self.decoded)? else { return Ok(false) };
            let time = self.decoded.timestamp().unwrap_or(self.next);
            self.decoded.set_pts(Some(time));
            let step = self.usual_step();
            self.next = time.saturating_add(step);
            if self.is_wanted(time) {
                return Ok(true);
            }
        }
    }

    /// Thins out what is more than [`MOST_RATE`]. Times that are rounded to milliseconds may come a little early.
    fn is_wanted(&mut self, time: i64) -> bool {
        let seconds = time as f64 * f64::from(self.clock);
        if seconds < self.due - 0.25 / MOST_RATE && self.due - seconds < 1.0 {
            return false;
        }
        self.due = self.due.max(seconds - 0.5 / MOST_RATE) + 1.0 / MOST_RATE;
        true
    }

    fn usual_step(&self) -> i64 {
        1.rescale(self.rate().invert(), self.clock).max(1)
    }

    /// The best that is known of the rate.
    fn rate(&self) -> Rational {
        let sane = |rate: &Rational| (0.1..=1000.0).contains(&f64::from(*rate));
        [Some(self.rate), self.decoder.rate()].into_iter().flatten().find(sane).unwrap_or(USUAL_RATE)
    }

    /// Whether the output's track was made.
    pub(super) fn is_open(&self) -> bool {
        self.made.is_some()
    }

    /// Width and height of the picture that was decoded.
    pub(super) fn size(&self) -> (u32, u32) {
        match Shape::of_picture(&self.decoded) {
            Shape::Video { width, height, .. } => (width.unsigned_abs(), height.unsigned_abs()),
            Shape::Audio { .. } => (0, 0),
        }
    }

    /// Makes the output's track for the picture that was decoded.
    pub(super) fn begin(&mut self, muxer: &mut Muxer) -> Result<(), PipelineError> {
        let shape = Shape::of_picture(&self.decoded);
        let Shape::Video { width, height, .. } = shape else { return Err(PipelineError::NothingDecoded) };
        // SAFETY: a frame that a decoder filled; a pair of plain integers is copied out of it.
        let of_frame: Rational = unsafe { (*self.decoded.as_ptr()).sample_aspect_ratio }.into();
        let known = |aspect: &Rational| aspect.numerator() > 0 && aspect.denominator() > 0;
        // Containers write 0 for "unknown", which is square.
        let aspect = [self.aspect, of_frame].into_iter().find(known).unwrap_or(Rational(1, 1));
        let (width, height) = size((width, height), aspect, self.turn, self.settings.height)?;
        let target = Target::Video { width, height, turn: self.turn };
        let mut filter = Filter::open(shape, target, self.clock, self.settings.threads)?;
        let clock = filter.time_base();
        let rate = self.rate();
        let rate = if f64::from(rate) > MOST_RATE { Rational(MOST_RATE as i32, 1) } else { rate };
        let encoder = Encoder::video(self.settings, (width, height), rate, clock, muxer.global_header())?;
        let output = muxer.add(encoder.context(), clock)?;
        let usual = 1.rescale(rate.invert(), clock).max(1);
        self.made = Some(Made { filter, encoder, output, clock, last: -1, place: 0, usual });
        Ok(())
    }

    /// Takes the picture that was decoded through to the muxer.
    pub(super) fn take(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        let Some(made) = &mut self.made else { return Ok(()) };
        let shape = Shape::of_picture(&self.decoded);
        if shape != made.filter.shape() {
            made.filter.renew(shape)?;
        }
        made.filter.push(&self.decoded)?;
        self.encode(muxer, cancel)
    }

    /// Takes out all that filter and encoder still hold.
    pub(super) fn finish(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        if let Some(made) = &mut self.made {
            made.filter.end()?;
        }
        self.encode(muxer, cancel)?;
        let Some(made) = &mut self.made else { return Ok(()) };
        made.encoder.end()?;
        made.mux(muxer, cancel)
    }

    fn encode(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        let Some(made) = &mut self.made else { return Ok(()) };
        while let Polled::Ready = made.filter.pull(&mut self.filtered)? {
            // Muxers refuse a clock that stands still; a picture too many is no loss.
            let Some(time) = self.filtered.pts().filter(|time| *time > made.last) else { continue };
            made.last = time;
            let key = made.is_place_of_a_key(time, self.settings.gop);
            made.encoder.send(&mut self.filtered, key)?;
            self.frames += 1;
            made.mux(muxer, cancel)?;
        }
        Ok(())
    }
}

impl Made {
    /// Whether this is the first picture at or after a whole number of key-frame distances.
    fn is_place_of_a_key(&mut self, time: i64, distance: Duration) -> bool {
        let place = place(time, self.clock, distance);
        let first = place >= self.place;
        self.place = self.place.max(place.saturating_add(1));
        first
    }

    fn mux(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        loop {
            if cancel.is_set() {
                return Err(PipelineError::Cancelled);
            }
            let mut packet = Packet::empty();
            let Polled::Ready = self.encoder.receive(&mut packet)? else { return Ok(()) };
            packet.set_duration(self.usual);
            muxer.write(packet, self.output, self.clock)?;
        }
    }
}

/// How many whole key-frame distances have passed; a clock that rounds may be half a tick early.
fn place(time: i64, clock: Rational, distance: Duration) -> i64 {
    ((time as f64 + 0.5) * f64::from(clock) / distance.as_secs_f64()).floor() as i64
}

/// The output's size: as high as asked for, as wide as it must be to look right, both even.
fn size((width, height): (i32, i32), pixel: Rational, turn: Turn, lines: u32) -> Result<(u32, u32), PipelineError> {
    let aspect = f64::from(width) * f64::from(pixel) / f64::from(height).max(1.0);
    let aspect = if turn.swaps { 1.0 / aspect } else { aspect };
    let wide = (f64::from(lines) * aspect / 2.0).round() * 2.0;
    if WIDTHS.contains(&wide) {
        Ok((wide as u32, lines))
    } else {
        let detail = format!("a picture of {width}x{height} is {wide} pixels wide at a height of {lines}");
        Err(PipelineError::Unsupported(detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPRIGHT: Turn = Turn { filter: "", swaps: false };
    const LYING: Turn = Turn { filter: ",transpose=clock", swaps: true };
    const SQUARE: Rational = Rational(1, 1);

    #[test]
    fn sizes_keep_the_aspect_and_are_even() {
        assert_eq!(size((1920, 1080), SQUARE, UPRIGHT, 240).ok(), Some((426, 240)));
        assert_eq!(size((720, 576), Rational(16, 11), UPRIGHT, 240).ok(), Some((436, 240)));
        assert_eq!(size((320, 180), SQUARE, UPRIGHT, 180).ok(), Some((320, 180)));
        assert_eq!(size((1920, 1080), SQUARE, LYING, 240).ok(), Some((136, 240)));
    }

    #[test]
    fn slivers_are_refused() {
        for (wrong, pixel) in
            [((10_000, 16), SQUARE), ((2, 4000), SQUARE), ((0, 0), SQUARE), ((16, 16), Rational(999, 1))]
        {
            assert!(size(wrong, pixel, UPRIGHT, 240).is_err(), "{wrong:?} passed");
        }
    }

    #[test]
    fn key_frames_have_their_places_in_time() {
        let two = Duration::from_secs(2);
        // 29.97 a second: 60 pictures are a little longer than two seconds.
        let clock = Rational(1, 90_000);
        let keys: Vec<i64> = (0..200)
            .filter(|picture| {
                *picture == 0 || place(picture * 3003, clock, two) > place((picture - 1) * 3003, clock, two)
            })
            .collect();
        assert_eq!(keys, [0, 60, 120, 180]);
        // A third of a second in milliseconds is rounded down.
        assert_eq!(place(333 * 6 + 2, Rational(1, 1000), Duration::from_secs_f64(2.0)), 1);
    }
}
