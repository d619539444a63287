//! Frames to what the encoder takes: upright, scaled YUV 4:2:0 pictures, 48 kHz stereo samples.
//!
//! Uploads may change their size, pixel or sample format in the middle; the graph is then made anew. Its output never
//! changes.

use super::PipelineError;
use super::error::Polled;
use super::stage::{self, Stage};
use super::turn::Turn;
use ffmpeg_next::filter::Graph;
use ffmpeg_next::{Error, Frame, Rational, filter};

/// Samples a second of the output.
pub(super) const SAMPLE_RATE: i32 = 48_000;
/// Samples a second that are taken: fewer would make many out of few.
const SAMPLE_RATES: std::ops::RangeInclusive<i32> = 4_000..=384_000;
const MOST_CHANNELS: i32 = 24;
/// Ticks a second of a picture's clock. One that is coarser or finer is replaced by the usual one.
const TICKS: std::ops::RangeInclusive<f64> = 600.0..=1_000_000.0;

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Width, height and pixel format.
    Video { width: i32, height: i32, format: i32 },
    /// Rate, sample format, channel layout (0: unknown) and channels.
    Audio { rate: i32, format: i32, layout: u64, channels: i32 },
}

impl Shape {
    /// Of a picture.
    pub(super) fn of_picture(frame: &Frame) -> Self {
        // SAFETY: a frame that a decoder filled; plain integers are copied out of it.
        let raw = unsafe { &*frame.as_ptr() };
        Self::Video { width: raw.width, height: raw.height, format: raw.format }
    }

    /// Of samples.
    pub(super) fn of_samples(frame: &Frame) -> Self {
        // SAFETY: as above.
        let raw = unsafe { &*frame.as_ptr() };
        Self::Audio { rate: raw.sample_rate, format: raw.format, layout: raw.channel_layout, channels: raw.channels }
    }

    /// Whether a filter can be made for it that does not take all the memory there is.
    pub(super) fn is_sane(self) -> bool {
        match self {
            Self::Video { width, height, format } => width > 0 && height > 0 && format >= 0,
            Self::Audio { rate, format, channels, .. } => {
                SAMPLE_RATES.contains(&rate) && format >= 0 && (1..=MOST_CHANNELS).contains(&channels)
            }
        }
    }
}

/// What goes out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Pictures of this size, after turning.
    Video { width: u32, height: u32, turn: Turn },
    /// Frames of this many samples.
    Audio { frame_size: u32 },
}

/// A filter graph that follows its input.
pub(super) struct Filter {
    graph: Graph,
    shape: Shape,
    target: Target,
    time_base: Rational,
    threads: u32,
}

impl Filter {
    /// A graph for frames of this shape, with this clock, and so many threads.
    pub(super) fn open(shape: Shape, target: Target, time_base: Rational, threads: u32) -> Result<Self, PipelineError> {
        let unsupported = |error| PipelineError::Unsupported(format!("{shape:?}: {error}"));
        if !shape.is_sane() {
            return Err(unsupported(Error::InvalidData));
        }
        let graph = build(shape, target, time_base, threads).map_err(unsupported)?;
        Ok(Self { graph, shape, target, time_base, threads })
    }

    /// The clock of what goes out.
    pub(super) fn time_base(&mut self) -> Rational {
        self.graph.get("out").map_or(self.time_base, |mut out| out.sink().time_base())
    }

    /// What it is made for.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Makes the graph anew. The old one's last incomplete frame of samples is lost with it: flushed, it would be a
    /// short frame in the middle, which encoders refuse.
    pub(super) fn renew(&mut self, shape: Shape) -> Result<(), PipelineError> {
        *self = Self::open(shape, self.target, self.time_base, self.threads)?;
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

fn build(shape: Shape, target: Target, time_base: Rational, threads: u32) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    // SAFETY: the graph was just allocated and has no filters yet; the field is a plain integer.
    unsafe { (*graph.as_mut_ptr()).nb_threads = i32::try_from(threads).unwrap_or(1) };
    let (source, sink, arguments) = match shape {
        Shape::Video { width, height, format } => {
            let arguments = format!("video_size={width}x{height}:pix_fmt={format}:time_base={time_base}");
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
    graph.output("in", 0)?.input("out", 0)?.parse(&chain(target, time_base))?;
    graph.validate()?;
    if let (Target::Audio { frame_size }, Some(mut out)) = (target, graph.get("out")) {
        out.sink().set_frame_size(frame_size);
    }
    Ok(graph)
}

fn chain(target: Target, time_base: Rational) -> String {
    match target {
        Target::Video { width, height, turn } => {
            let clock = if TICKS.contains(&(1.0 / f64::from(time_base))) { "" } else { "settb=1/90000," };
            // Turned after scaling: there is less to turn.
            let (wide, high) = if turn.swaps { (height, width) } else { (width, height) };
            format!("{clock}scale={wide}:{high}:flags=bicubic,format=yuv420p{},setsar=1", turn.filter)
        }
        // `async` fills gaps and drops overlaps, so that the clock never runs backwards.
        Target::Audio { .. } => {
            format!("aresample={SAMPLE_RATE}:async=1000,aformat=sample_fmts=fltp:channel_layouts=stereo")
        }
    }
}
