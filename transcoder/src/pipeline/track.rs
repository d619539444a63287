//! One track on its way: decoder, filter and encoder, and the clock that must never run backwards.

use super::decode::Decoder;
use super::encode::Encoder;
use super::error::Polled;
use super::filter::{Filter, SAMPLE_RATE, Shape, Target};
use super::mux::Muxer;
use super::{Cancel, PipelineError, Settings};
use ffmpeg_next::{Frame, Packet, Rational, Rescale, Stream};

/// Assumed where the container does not tell, or tells nonsense.
const USUAL_RATE: Rational = Rational(25, 1);
/// Pictures a second that are made at most.
const MOST_RATE: u32 = 60;
/// Width of the output, in pixels.
const WIDTHS: std::ops::RangeInclusive<f64> = 16.0..=3840.0;

/// One track.
pub(super) struct Track {
    input: usize,
    output: usize,
    decoder: Decoder,
    filter: Filter,
    encoder: Encoder,
    /// The encoder's clock.
    time_base: Rational,
    /// What the upload's clock showed at its beginning, in the track's own units.
    origin: i64,
    /// The last time that was sent to the encoder, and the next to assume for a frame without one.
    last: Option<i64>,
    next_input: i64,
    decoded: Frame,
    filtered: Frame,
    frames: u64,
}

impl Track {
    /// Opens codecs and filter for a track and adds it to the output.
    pub(super) fn open(
        stream: &Stream<'_>,
        origin_us: i64,
        settings: Settings,
        muxer: &mut Muxer,
    ) -> Result<Self, PipelineError> {
        let input_base = stream.time_base();
        let decoder = Decoder::open(stream)?;
        let (encoder, mut filter);
        let time_base;
        match &decoder {
            Decoder::Video(video) => {
                let shape = Shape::of_video(video);
                if !shape.is_known() {
                    return Err(PipelineError::NothingDecoded);
                }
                let rate = usable(stream.avg_frame_rate());
                let cap = (f64::from(rate) > f64::from(MOST_RATE)).then_some(MOST_RATE);
                let size = size(shape, settings.height)?;
                let target = Target::Video { width: size.0, height: size.1, rate, cap };
                filter = Filter::open(shape, target, input_base)?;
                time_base = filter.time_base();
                let rate = cap.map_or(rate, |cap| Rational(i32::try_from(cap).unwrap_or(i32::MAX), 1));
                encoder = Encoder::video(settings, size, rate, time_base, muxer.global_header())?;
            }
            Decoder::Audio(audio) => {
                let shape = Shape::of_audio(audio);
                if !shape.is_known() {
                    return Err(PipelineError::Unsupported(format!("{shape:?}")));
                }
                encoder = Encoder::audio(muxer.global_header())?;
                let target = Target::Audio { frame_size: encoder.frame_size() };
                filter = Filter::open(shape, target, input_base)?;
                time_base = Rational(1, SAMPLE_RATE);
            }
        }
        let output = muxer.add(encoder.context(), time_base)?;
        Ok(Self {
            input: stream.index(),
            output,
            decoder,
            filter,
            encoder,
            time_base,
            origin: origin_us.rescale(Rational(1, 1_000_000), input_base),
            last: None,
            next_input: 0,
            // SAFETY: allocates an empty frame; ffmpeg-next calls it unsafe because reading its data would be.
            decoded: unsafe { Frame::empty() },
            // SAFETY: as above.
            filtered: unsafe { Frame::empty() },
            frames: 0,
        })
    }

    /// Whether the packet belongs to this track.
    pub(super) fn reads(&self, packet: &Packet) -> bool {
        packet.stream() == self.input
    }

    /// Pictures sent to the encoder since the last call (0 for sound).
    pub(super) fn take_frames(&mut self) -> u64 {
        let frames = std::mem::take(&mut self.frames);
        if matches!(self.decoder, Decoder::Video(_)) { frames } else { 0 }
    }

    /// Takes a packet through to the muxer.
    pub(super) fn push(&mut self, packet: Packet, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        if self.decoder.send(&packet)? { self.decode(muxer, cancel) } else { Ok(()) }
    }

    /// Takes out all that codecs and filter still hold.
    pub(super) fn finish(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        self.decoder.end();
        self.decode(muxer, cancel)?;
        self.filter.end()?;
        self.encode(muxer)?;
        self.encoder.end()?;
        self.mux(muxer)
    }

    fn decode(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        while let Polled::Ready = self.decoder.receive(&mut self.decoded)? {
            if cancel.is_set() {
                return Err(PipelineError::Cancelled);
            }
            let time = self.decoded.timestamp().map_or(self.next_input, |time| time.saturating_sub(self.origin));
            self.next_input = time.saturating_add(1);
            self.decoded.set_pts(Some(time));
            if !self.filter.fits(&self.decoded) {
                self.filter.follow(&self.decoded)?;
            }
            self.filter.push(&self.decoded)?;
            self.encode(muxer)?;
        }
        Ok(())
    }

    fn encode(&mut self, muxer: &mut Muxer) -> Result<(), PipelineError> {
        while let Polled::Ready = self.filter.pull(&mut self.filtered)? {
            let time = self.filtered.pts();
            // Muxers refuse a clock that stands still; a picture too many is no loss.
            if time.is_none() || time <= self.last {
                continue;
            }
            self.last = time;
            self.encoder.send(&mut self.filtered)?;
            self.frames += 1;
            self.mux(muxer)?;
        }
        Ok(())
    }

    fn mux(&mut self, muxer: &mut Muxer) -> Result<(), PipelineError> {
        loop {
            let mut packet = Packet::empty();
            let Polled::Ready = self.encoder.receive(&mut packet)? else { return Ok(()) };
            muxer.write(&mut packet, self.output, self.time_base)?;
        }
    }
}

fn usable(rate: Rational) -> Rational {
    let frames = f64::from(rate);
    if frames.is_finite() && (0.1..=1000.0).contains(&frames) { rate } else { USUAL_RATE }
}

/// The output's size: as high as asked for, as wide as it must be to look right, both even.
fn size(shape: Shape, height: u32) -> Result<(u32, u32), PipelineError> {
    let width = (f64::from(height) * shape.display_aspect() / 2.0).round() * 2.0;
    if WIDTHS.contains(&width) {
        Ok((width as u32, height))
    } else {
        Err(PipelineError::Unsupported(format!("{shape:?} is {width} pixels wide at a height of {height}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(width: i32, height: i32, aspect: (i32, i32)) -> Shape {
        Shape::Video { width, height, format: 0, aspect }
    }

    #[test]
    fn sizes_keep_the_aspect_and_are_even() {
        assert_eq!(size(shape(1920, 1080, (1, 1)), 240).ok(), Some((426, 240)));
        assert_eq!(size(shape(720, 576, (16, 11)), 240).ok(), Some((436, 240)));
        assert_eq!(size(shape(320, 180, (1, 1)), 180).ok(), Some((320, 180)));
    }

    #[test]
    fn slivers_are_refused() {
        for wrong in [shape(10_000, 16, (1, 1)), shape(2, 4000, (1, 1)), shape(0, 0, (1, 1))] {
            assert!(size(wrong, 240).is_err(), "{wrong:?} passed");
        }
    }

    #[test]
    fn nonsense_rates_are_replaced() {
        assert_eq!(usable(Rational(30_000, 1001)), Rational(30_000, 1001));
        for wrong in [Rational(0, 0), Rational(0, 1), Rational(90_000, 1)] {
            assert_eq!(usable(wrong), USUAL_RATE);
        }
    }
}
