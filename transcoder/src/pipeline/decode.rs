//! Packets to frames. A packet that cannot be decoded is skipped, as every player does.

use super::PipelineError;
use super::error::Polled;
use super::memory::{MOST_BYTES, Planes};
use super::stage::{self, Stage};
use ffmpeg_next::codec::{self, Id, threading};
use ffmpeg_next::{Error, Frame, Packet, Rational, Stream, decoder, ffi, media};

/// What cameras, editors and recorders write. Codecs that nobody uploads are surface for attacks.
const TAKEN: [Id; 38] = [
    Id::H264,
    Id::HEVC,
    Id::AV1,
    Id::VP8,
    Id::VP9,
    Id::MPEG1VIDEO,
    Id::MPEG2VIDEO,
    Id::MPEG4,
    Id::H263,
    Id::MSMPEG4V3,
    Id::VC1,
    Id::WMV3,
    Id::THEORA,
    Id::PRORES,
    Id::DNXHD,
    Id::DVVIDEO,
    Id::MJPEG,
    Id::FFV1,
    Id::HUFFYUV,
    Id::RAWVIDEO,
    Id::AAC,
    Id::AAC_LATM,
    Id::MP2,
    Id::MP3,
    Id::AC3,
    Id::EAC3,
    Id::DTS,
    Id::TRUEHD,
    Id::OPUS,
    Id::VORBIS,
    Id::FLAC,
    Id::ALAC,
    Id::PCM_S16LE,
    Id::PCM_S16BE,
    Id::PCM_S24LE,
    Id::PCM_S24BE,
    Id::PCM_F32LE,
    Id::PCM_ALAW,
];
/// H.264's profiles without pictures out of order.
const BASELINE: u8 = 66;

/// Whether this codec is decoded here.
pub(super) fn is_taken(id: Id) -> bool {
    TAKEN.contains(&id)
}

/// A decoder of one track.
pub(super) struct Decoder {
    codec: Codec,
    /// Behind a pointer, because the codec keeps its address. After the codec: dropped later.
    _planes: Box<Planes>,
}

enum Codec {
    Video(decoder::Video),
    Audio(decoder::Audio),
}

impl Decoder {
    /// Opens the decoder of a track, with so many threads.
    pub(super) fn open(stream: &Stream<'_>, threads: u32) -> Result<Self, PipelineError> {
        let parameters = stream.parameters();
        let id = parameters.id();
        if !is_taken(id) {
            return Err(PipelineError::Unsupported(format!("{id:?} is not decoded here")));
        }
        let mut context =
            codec::context::Context::from_parameters(parameters).map_err(PipelineError::at("decoder parameters"))?;
        context.set_time_base(stream.time_base());
        let kind = if threads > 1 { threading::Type::Frame } else { threading::Type::None };
        context.set_threading(threading::Config { kind, count: threads as usize, ..Default::default() });
        let planes = Box::<Planes>::default();
        let medium = context.medium();
        if medium == media::Type::Video {
            planes.watch(&mut context);
            if id == Id::H264 {
                order_by_the_book(&mut context);
            }
        }
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(stream.time_base());
        let unsupported = |error| PipelineError::Unsupported(format!("{medium:?} decoder: {error}"));
        let codec = match medium {
            media::Type::Video => Codec::Video(decoder.video().map_err(unsupported)?),
            _ => Codec::Audio(decoder.audio().map_err(unsupported)?),
        };
        Ok(Self { codec, _planes: planes })
    }

    fn opened(&mut self) -> &mut decoder::Opened {
        match &mut self.codec {
            Codec::Video(decoder) => decoder,
            Codec::Audio(decoder) => decoder,
        }
    }

    /// Pictures a second, if the bit stream says so. Known after the first picture.
    pub(super) fn rate(&self) -> Option<Rational> {
        match &self.codec {
            Codec::Video(decoder) => decoder.frame_rate(),
            Codec::Audio(_) => None,
        }
    }

    /// Gives it a packet; false if the packet is broken.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<bool, PipelineError> {
        let _stage = stage::enter(Stage::Decode);
        match self.opened().send_packet(packet) {
            Ok(()) => Ok(true),
            Err(Error::InvalidData | Error::Eof) => Ok(false),
            Err(Error::Other { errno: libc::ENOMEM }) => Err(too_large()),
            // Decoders report damage in many ways: EINVAL, ERANGE, patches welcome …
            Err(_) => Ok(false),
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
            Ok(polled) => {
                if let Polled::Ready = polled {
                    stage::made(Stage::Decode, 0);
                }
                Ok(polled)
            }
            Err(Error::Other { errno: libc::ENOMEM }) => Err(too_large()),
            // A damaged frame; the next packets may be fine.
            Err(_) => Ok(Polled::Starved),
        }
    }
}

fn too_large() -> PipelineError {
    PipelineError::Unsupported(format!("its pictures take more than {} MiB to decode", MOST_BYTES >> 20))
}

/// Where an H.264 stream does not say how far its pictures are out of order, the decoder would begin with none and
/// drop a picture each time that it finds out more. By the standard's bound nothing is lost, at the price of a delay.
fn order_by_the_book(context: &mut codec::Context) {
    // SAFETY: the context is not open yet; libavcodec keeps as many bytes there as it says.
    unsafe {
        let context = &mut *context.as_mut_ptr();
        let profile = if context.extradata.is_null() || context.extradata_size < 2 {
            None
        } else {
            Some(*context.extradata.add(1))
        };
        if profile != Some(BASELINE) {
            context.strict_std_compliance = ffi::FF_COMPLIANCE_STRICT;
        }
    }
}
