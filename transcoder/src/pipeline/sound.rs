//! The sound's track: decoder, filter and encoder. Its output is the same for all uploads: AAC, 48 kHz, stereo.
//!
//! Invariant: what is made is bounded by what comes in. Short gaps are filled with silence, long ones stay gaps.

use super::decode::Decoder;
use super::encode::Encoder;
use super::error::Polled;
use super::filter::{Filter, SAMPLE_RATE, Shape, Target};
use super::mux::Muxer;
use super::{Cancel, PipelineError};
use ffmpeg_next::{Frame, Packet, Rational, Rescale, Stream};

/// The encoder's clock.
const CLOCK: Rational = Rational(1, SAMPLE_RATE);
/// Gaps up to this many samples of the output are filled with silence.
const LONGEST_SILENCE: i64 = 2 * SAMPLE_RATE as i64;
/// The longest frame, in samples: ten seconds.
const LONGEST_FRAME: i64 = 10;

/// The track.
pub(super) struct Sound {
    clock: Rational,
    decoder: Decoder,
    encoder: Encoder,
    output: usize,
    filter: Option<Filter>,
    decoded: Frame,
    filtered: Frame,
    /// When the next samples are expected, in samples of the output.
    next: Option<i64>,
    last: i64,
}

impl Sound {
    /// Opens codecs and adds the track to the output.
    pub(super) fn open(stream: &Stream<'_>, muxer: &mut Muxer) -> Result<Self, PipelineError> {
        let decoder = Decoder::open(stream, 1)?;
        let encoder = Encoder::audio(muxer.global_header())?;
        let output = muxer.add(encoder.context(), CLOCK)?;
        Ok(Self {
            clock: stream.time_base(),
            decoder,
            encoder,
            output,
            filter: None,
            // SAFETY: allocates an empty frame; ffmpeg-next calls it unsafe because reading its data would be.
            decoded: unsafe { Frame::empty() },
            // SAFETY: as above.
            filtered: unsafe { Frame::empty() },
            next: None,
            last: -1,
        })
    }

    /// Takes a packet through to the muxer.
    pub(super) fn push(&mut self, packet: &Packet, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        if self.decoder.send(packet)? { self.decode(muxer, cancel) } else { Ok(()) }
    }

    /// Takes out all that codecs and filter still hold.
    pub(super) fn finish(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        self.decoder.end();
        self.decode(muxer, cancel)?;
        if let Some(filter) = &mut self.filter {
            filter.end()?;
        }
        self.encode(muxer, cancel)?;
        self.encoder.end()?;
        self.mux(muxer, cancel)
    }

    fn decode(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        while let Polled::Ready = self.decoder.receive(&mut self.decoded)? {
            let shape = Shape::of_samples(&self.decoded);
            let Shape::Audio { rate, .. } = shape else { continue };
            // SAFETY: a frame that a decoder filled; a plain integer is copied out of it.
            let samples = i64::from(unsafe { (*self.decoded.as_ptr()).nb_samples });
            if !shape.is_sane() || samples > LONGEST_FRAME * i64::from(rate) {
                continue;
            }
            let known = self.decoded.timestamp();
            let time = known.map(|time| time.rescale(self.clock, CLOCK)).or(self.next).unwrap_or(0);
            self.decoded.set_pts(Some(known.unwrap_or_else(|| time.rescale(CLOCK, self.clock))));
            let leaps = self.next.is_some_and(|next| !(-LONGEST_SILENCE..=LONGEST_SILENCE).contains(&(time - next)));
            self.next = Some(time.saturating_add(samples.rescale(Rational(1, rate), CLOCK)));
            self.follow(shape, leaps)?;
            if let Some(filter) = &mut self.filter {
                filter.push(&self.decoded)?;
            }
            self.encode(muxer, cancel)?;
        }
        Ok(())
    }

    /// Sees to it that there is a filter for this shape, and a fresh one where the clock leaps.
    fn follow(&mut self, shape: Shape, leaps: bool) -> Result<(), PipelineError> {
        match &mut self.filter {
            Some(filter) if leaps || filter.shape() != shape => filter.renew(shape),
            Some(_) => Ok(()),
            None => {
                let target = Target::Audio { frame_size: self.encoder.frame_size() };
                self.filter = Some(Filter::open(shape, target, self.clock, 1)?);
                Ok(())
            }
        }
    }

    fn encode(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        let Some(filter) = &mut self.filter else { return Ok(()) };
        loop {
            if cancel.is_set() {
                return Err(PipelineError::Cancelled);
            }
            let Polled::Ready = filter.pull(&mut self.filtered)? else { return Ok(()) };
            // What comes before the output's beginning, or again, is no loss.
            let Some(time) = self.filtered.pts().filter(|time| *time > self.last) else { continue };
            self.last = time;
            self.encoder.send(&mut self.filtered, false)?;
            drain(&mut self.encoder, self.output, muxer)?;
        }
    }

    fn mux(&mut self, muxer: &mut Muxer, cancel: &Cancel) -> Result<(), PipelineError> {
        if cancel.is_set() {
            return Err(PipelineError::Cancelled);
        }
        drain(&mut self.encoder, self.output, muxer)
    }
}

/// Takes the packets that an encoder has ready.
fn drain(encoder: &mut Encoder, output: usize, muxer: &mut Muxer) -> Result<(), PipelineError> {
    loop {
        let mut packet = Packet::empty();
        let Polled::Ready = encoder.receive(&mut packet)? else { return Ok(()) };
        muxer.write(packet, output, CLOCK)?;
    }
}
