//! Frames to packets: H.264 by x264, AAC.

use super::error::Polled;
use super::filter::SAMPLE_RATE;
use super::stage::{self, Stage};
use super::{PipelineError, Quality, Settings};
use ffmpeg_next::codec::{self, threading};
use ffmpeg_next::{ChannelLayout, Dictionary, Error, Frame, Packet, Rational, encoder, format};

const AUDIO_BITS_PER_SECOND: usize = 96_000;
/// Pictures after which there is a key frame in any case: ten seconds of the most that there can be.
const MOST_WITHOUT_KEY: u32 = 600;

/// An encoder of one track.
pub(super) enum Encoder {
    Video(encoder::video::Encoder),
    Audio(encoder::audio::Encoder),
}

/// Slices of one picture at a time: threads that add no delay.
fn threads(count: u32) -> threading::Config {
    let kind = if count > 1 { threading::Type::Slice } else { threading::Type::None };
    threading::Config { kind, count: count as usize, safe: false }
}

impl Encoder {
    /// H.264 without look-ahead: what goes in comes out at once, and little is kept.
    pub(super) fn video(
        settings: Settings,
        (width, height): (u32, u32),
        rate: Rational,
        time_base: Rational,
        global_header: bool,
    ) -> Result<Self, PipelineError> {
        let codec = encoder::find_by_name("libx264").ok_or_else(|| missing("libx264"))?;
        let mut video = codec::context::Context::new_with_codec(codec)
            .encoder()
            .video()
            .map_err(PipelineError::at("video encoder"))?;
        video.set_width(width);
        video.set_height(height);
        video.set_format(format::Pixel::YUV420P);
        video.set_frame_rate(Some(rate));
        video.set_time_base(time_base);
        // Key frames are asked for by time; a wrong guess of the rate must not add others.
        video.set_gop(MOST_WITHOUT_KEY);
        video.set_threading(threads(settings.threads));
        if global_header {
            video.set_flags(codec::Flags::GLOBAL_HEADER);
        }
        let mut options = Dictionary::new();
        for (name, value) in [("preset", settings.preset), ("tune", "zerolatency"), ("sc_threshold", "0")] {
            options.set(name, value);
        }
        match settings.quality {
            Quality::Constant(crf) => options.set("crf", &crf.to_string()),
            Quality::Bitrate(bits) => {
                // A buffer of one second: no second of the result has more.
                for name in ["b", "maxrate", "bufsize"] {
                    options.set(name, &bits.to_string());
                }
            }
        }
        video.open_with(options).map(Self::Video).map_err(PipelineError::at("video encoder"))
    }

    /// AAC, stereo.
    pub(super) fn audio(global_header: bool) -> Result<Self, PipelineError> {
        let codec = encoder::find_by_name("aac").ok_or_else(|| missing("aac"))?;
        let mut audio = codec::context::Context::new_with_codec(codec)
            .encoder()
            .audio()
            .map_err(PipelineError::at("audio encoder"))?;
        audio.set_rate(SAMPLE_RATE);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_channels(2);
        audio.set_format(format::Sample::F32(format::sample::Type::Planar));
        audio.set_bit_rate(AUDIO_BITS_PER_SECOND);
        audio.set_time_base((1, SAMPLE_RATE));
        audio.set_threading(threads(1));
        if global_header {
            audio.set_flags(codec::Flags::GLOBAL_HEADER);
        }
        audio.open().map(Self::Audio).map_err(PipelineError::at("audio encoder"))
    }

    /// For the muxer, which copies the parameters.
    pub(super) fn context(&self) -> &codec::Context {
        match self {
            Self::Video(encoder) => encoder.as_ref(),
            Self::Audio(encoder) => encoder.as_ref(),
        }
    }

    fn opened(&mut self) -> &mut encoder::Encoder {
        match self {
            Self::Video(encoder) => encoder,
            Self::Audio(encoder) => encoder,
        }
    }

    /// Samples that an audio frame must have.
    pub(super) fn frame_size(&self) -> u32 {
        match self {
            Self::Video(_) => 0,
            Self::Audio(encoder) => encoder.frame_size(),
        }
    }

    /// Gives it a frame; `key` makes a picture one that players can begin with.
    pub(super) fn send(&mut self, frame: &mut Frame, key: bool) -> Result<(), PipelineError> {
        use ffmpeg_next::ffi::AVPictureType::{AV_PICTURE_TYPE_I, AV_PICTURE_TYPE_NONE};
        let _stage = stage::enter(Stage::Encode);
        // SAFETY: a frame that the filter filled and that nobody else reads. Uploads must not choose our key frames.
        unsafe { (*frame.as_mut_ptr()).pict_type = if key { AV_PICTURE_TYPE_I } else { AV_PICTURE_TYPE_NONE } };
        self.opened().send_frame(frame).map_err(PipelineError::at("encode"))
    }

    /// There are no more frames.
    pub(super) fn end(&mut self) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Encode);
        match self.opened().send_eof() {
            Ok(()) | Err(Error::Eof) => Ok(()),
            Err(error) => Err(PipelineError::at("encode")(error)),
        }
    }

    /// Takes a packet.
    pub(super) fn receive(&mut self, packet: &mut Packet) -> Result<Polled, PipelineError> {
        let _stage = stage::enter(Stage::Encode);
        let polled = Polled::from(self.opened().receive_packet(packet)).map_err(PipelineError::at("encode"))?;
        if let Polled::Ready = polled {
            stage::made(Stage::Encode, packet.size());
        }
        Ok(polled)
    }
}

fn missing(codec: &str) -> PipelineError {
    PipelineError::Unsupported(format!("this build of ffmpeg has no {codec} encoder"))
}
