//! Frames to what the encoder takes: scaled YUV 4:2:0 pictures, 48 kHz stereo samples.
//!
//! Uploads may change their size, pixel or sample format in the middle; the graph is then made anew. Its output never
//! changes.

use super::PipelineError;
use super::error::Polled;
use super::stage::{self, Stage};
use ffmpeg_next::filter::Graph;
use ffmpeg_next::{Error, Frame, Rational, decoder, ffi, filter};

/// Samples a second of the output.
pub(super) const SAMPLE_RATE: i32 = 48_000;

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Width, height, pixel format and sample aspect ratio.
    Video { width: i32, height: i32, format: i32, aspect: (i32, i32) },
    /// Rate, sample format, channel layout (0: unknown) and channels.
    Audio { rate: i32, format: i32, layout: u64, channels: i32 },
}

impl Shape {
    /// What a decoder says that it will give.
    pub(super) fn of_video(decoder: &decoder::Video) -> Self {
        let format: ffi::AVPixelFormat = decoder.format().into();
        let aspect = decoder.aspect_ratio();
        Self::Video {
            width: i32::try_from(decoder.width()).unwrap_or(0),
            height: i32::try_from(decoder.height()).unwrap_or(0),
            format: format as i32,
            aspect: sane(aspect.numerator(), aspect.denominator()),
        }
    }

    /// What a decoder says that it will give.
    pub(super) fn of_audio(decoder: &decoder::Audio) -> Self {
        let format: ffi::AVSampleFormat = decoder.format().into();
        Self::Audio {
            rate: i32::try_from(decoder.rate()).unwrap_or(0),
            format: format as i32,
            layout: decoder.channel_layout().bits(),
            channels: i32::from(decoder.channels()),
        }
    }

    /// What a frame really is, in the same kind as `self`.
    fn of_frame(self, frame: &Frame) -> Self {
        // SAFETY: a frame that a decoder filled; plain integers are copied out of it.
        let raw = unsafe { &*frame.as_ptr() };
        match self {
            Self::Video { .. } => Self::Video {
                width: raw.width,
                height: raw.height,
                format: raw.format,
                aspect: sane(raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den),
            },
            Self::Audio { .. } => Self::Audio {
                rate: raw.sample_rate,
                format: raw.format,
                layout: raw.channel_layout,
                channels: raw.channels,
            },
        }
    }

    /// Whether the container told enough to begin with; if not, nothing of the track could be decoded in advance.
    pub(super) fn is_known(self) -> bool {
        match self {
            Self::Video { width, height, format, .. } => width > 0 && height > 0 && format >= 0,
            Self::Audio { rate, format, channels, .. } => rate > 0 && format >= 0 && channels > 0,
        }
    }

    /// Width over height as it is to be seen.
    pub(super) fn display_aspect(self) -> f64 {
        match self {
            Self::Video { width, height, aspect: (num, den), .. } => {
                f64::from(width) * f64::from(num) / (f64::from(height) * f64::from(den)).max(1.0)
            }
            Self::Audio { .. } => 1.0,
        }
    }
}

/// Containers write 0 for "unknown", which is square.
fn sane(num: i32, den: i32) -> (i32, i32) {
    if num > 0 && den > 0 { (num, den) } else { (1, 1) }
}

/// What goes out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Pictures of this size, at most this many a second if the upload has more.
    Video { width: u32, height: u32, rate: Rational, cap: Option<u32> },
    /// Frames of this many samples.
    Audio { frame_size: u32 },
}

/// A filter graph that follows its input.
pub(super) struct Filter {
    graph: Graph,
    shape: Shape,
    target: Target,
    time_base: Rational,
}

impl Filter {
    /// A graph for frames of this shape, with this clock.
    pub(super) fn open(shape: Shape, target: Target, time_base: Rational) -> Result<Self, PipelineError> {
        let graph = build(shape, target, time_base)
            .map_err(|error| PipelineError::Unsupported(format!("{shape:?}: {error}")))?;
        Ok(Self { graph, shape, target, time_base })
    }

    /// The clock of what goes out.
    pub(super) fn time_base(&mut self) -> Rational {
        self.graph.get("out").map_or(self.time_base, |mut out| out.sink().time_base())
    }

    /// Whether this frame needs a new graph.
    pub(super) fn fits(&self, frame: &Frame) -> bool {
        self.shape.of_frame(frame) == self.shape
    }

    /// Makes the graph anew for this frame. The old one's last incomplete frame of samples is lost with it: flushed,
    /// it would be a short frame in the middle, which encoders refuse.
    pub(super) fn follow(&mut self, frame: &Frame) -> Result<(), PipelineError> {
        let shape = self.shape.of_frame(frame);
        *self = Self::open(shape, self.target, self.time_base)?;
        Ok(())
    }

    /// Puts a frame in.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Encode);
        let Some(mut source) = self.graph.get("in") else { return Ok(()) };
        source.source().add(frame).map_err(PipelineError::at("filter"))
    }

    /// There are no more frames.
    pub(super) fn end(&mut self) -> Result<(), PipelineError> {
        let Some(mut source) = self.graph.get("in") else { return Ok(()) };
        source.source().flush().map_err(PipelineError::at("filter"))
    }

    /// Takes a frame out.
    pub(super) fn pull(&mut self, frame: &mut Frame) -> Result<Polled, PipelineError> {
        let _stage = stage::enter(Stage::Encode);
        let Some(mut sink) = self.graph.get("out") else { return Ok(Polled::Ended) };
        Polled::from(sink.sink().frame(frame)).map_err(PipelineError::at("filter"))
    }
}

fn build(shape: Shape, target: Target, time_base: Rational) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    // SAFETY: the graph was just allocated and has no filters yet; the field is a plain integer.
    unsafe { (*graph.as_mut_ptr()).nb_threads = 1 };
    let (source, sink, arguments) = match shape {
        Shape::Video { width, height, format, aspect } => {
            let rate = match target {
                Target::Video { rate, .. } => rate,
                Target::Audio { .. } => Rational(0, 1),
            };
            let arguments = format!(
                "video_size={width}x{height}:pix_fmt={format}:time_base={time_base}:pixel_aspect={}/{}:frame_rate={rate}",
                aspect.0, aspect.1
            );
            ("buffer", "buffersink", arguments)
        }
        Shape::Audio { rate, format, layout, channels } => {
            let layout =
                if layout == 0 { format!("channels={channels}") } else { format!("channel_layout=0x{layout:x}") };
            let arguments = format!("time_base={time_base}:sample_rate={rate}:sample_fmt={format}:{layout}");
            ("abuffer", "abuffersink", arguments)
        }
    };
    graph.add(&filter::find(source).ok_or(Error::FilterNotFound)?, "in", &arguments)?;
    graph.add(&filter::find(sink).ok_or(Error::FilterNotFound)?, "out", "")?;
    graph.output("in", 0)?.input("out", 0)?.parse(&chain(target))?;
    graph.validate()?;
    if let (Target::Audio { frame_size }, Some(mut out)) = (target, graph.get("out")) {
        out.sink().set_frame_size(frame_size);
    }
    Ok(graph)
}

fn chain(target: Target) -> String {
    match target {
        Target::Video { width, height, cap, .. } => {
            let cap = cap.map(|cap| format!("fps={cap},")).unwrap_or_default();
            format!("{cap}scale={width}:{height}:flags=bicubic,setsar=1,format=yuv420p")
        }
        // `async` fills gaps and drops overlaps, so that the clock never runs backwards.
        Target::Audio { .. } => {
            format!("aresample={SAMPLE_RATE}:async=1000,aformat=sample_fmts=fltp:channel_layouts=stereo")
        }
    }
}
