//! Packets to frames. A packet that cannot be decoded is skipped, as every player does.

use super::PipelineError;
use super::error::Polled;
use super::stage::{self, Stage};
use ffmpeg_next::codec::{self, threading};
use ffmpeg_next::{Error, Frame, Packet, Stream, decoder, media};

/// The largest picture, in pixels: 8K, so that a few bytes cannot ask for gigabytes.
const MOST_PIXELS: i64 = 8192 * 4320;

/// A decoder of one track.
pub(super) enum Decoder {
    Video(decoder::Video),
    Audio(decoder::Audio),
}

impl Decoder {
    /// Opens the decoder of a track on this thread alone.
    pub(super) fn open(stream: &Stream<'_>) -> Result<Self, PipelineError> {
        let mut context = codec::context::Context::from_parameters(stream.parameters())
            .map_err(PipelineError::at("decoder parameters"))?;
        context.set_time_base(stream.time_base());
        context.set_threading(threading::Config { kind: threading::Type::None, count: 1, ..Default::default() });
        // SAFETY: the context was just allocated and is not open yet; the field is a plain integer.
        unsafe { (*context.as_mut_ptr()).max_pixels = MOST_PIXELS };
        let kind = context.medium();
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(stream.time_base());
        let unsupported = |error| PipelineError::Unsupported(format!("{kind:?} decoder: {error}"));
        if kind == media::Type::Video {
            decoder.video().map(Self::Video).map_err(unsupported)
        } else {
            decoder.audio().map(Self::Audio).map_err(unsupported)
        }
    }

    fn opened(&mut self) -> &mut decoder::Opened {
        match self {
            Self::Video(decoder) => decoder,
            Self::Audio(decoder) => decoder,
        }
    }

    /// Gives it a packet; false if the packet is broken.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<bool, PipelineError> {
        let _stage = stage::enter(Stage::Decode);
        match self.opened().send_packet(packet) {
            Ok(()) => Ok(true),
            Err(Error::InvalidData | Error::Eof) => Ok(false),
            // Decoders report damage in many ways (EINVAL, ERANGE …); only running out of memory is not the packet's.
            Err(Error::Other { errno }) if errno != libc::ENOMEM => Ok(false),
            Err(error) => Err(PipelineError::at("decode")(error)),
        }
    }

    /// There are no more packets.
    pub(super) fn end(&mut self) {
        // Fails only if it was said before.
        self.opened().send_eof().unwrap_or_default();
    }

    /// Takes a frame.
    pub(super) fn receive(&mut self, frame: &mut Frame) -> Result<Polled, PipelineError> {
        let _stage = stage::enter(Stage::Decode);
        match Polled::from(self.opened().receive_frame(frame)) {
            // A damaged frame; the next packets may be fine.
            Err(Error::InvalidData) => Ok(Polled::Starved),
            Ok(Polled::Ready) => {
                stage::made(Stage::Decode, 0);
                Ok(Polled::Ready)
            }
            polled => polled.map_err(PipelineError::at("decode")),
        }
    }
}
