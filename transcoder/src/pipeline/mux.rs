//! Putting the container together, and handing it on while it is made.
//!
//! Invariant: nothing leaves before the first packet is encoded, so that a request whose upload turns out to be
//! broken can still be answered with a status. After that no byte waits for more than [`FLUSH_EVERY`] of packets.

use super::{BodyWriter, Container, PipelineError};
use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::{Dictionary, Packet, Rational, codec, ffi, format};
use std::time::{Duration, Instant};

/// How long finished bytes may wait for company.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// The muxer's own buffer.
const BUFFER_BYTES: usize = 16 << 10;

/// The output container.
pub(super) struct Muxer {
    output: Output,
    container: Container,
    flushed: Option<Instant>,
}

impl Muxer {
    /// A container that writes to the response.
    pub(super) fn open(writer: BodyWriter, container: Container) -> Result<Self, PipelineError> {
        let name = match container {
            Container::Fmp4 => "mp4",
            Container::Ts => "mpegts",
        };
        let stream = StreamIo::from_write_with_capacity(writer, BUFFER_BYTES).map_err(PipelineError::at("output"))?;
        let output = format::output_to_stream(stream, None, Some(name)).map_err(PipelineError::at("output"))?;
        Ok(Self { output, container, flushed: None })
    }

    /// Whether encoders must put their parameters into the container's header.
    pub(super) fn global_header(&self) -> bool {
        self.output.format().flags().contains(format::Flags::GLOBAL_HEADER)
    }

    /// A new track; its number.
    pub(super) fn add(&mut self, encoder: &codec::Context, time_base: Rational) -> Result<usize, PipelineError> {
        let mut stream = self.output.add_stream_with(encoder).map_err(PipelineError::at("output track"))?;
        stream.set_time_base(time_base);
        Ok(stream.index())
    }

    /// All tracks are there: makes the header.
    pub(super) fn begin(&mut self) -> Result<(), PipelineError> {
        let mut options = Dictionary::new();
        // Flushing is decided here, not after every packet.
        options.set("flush_packets", "0");
        if self.container == Container::Fmp4 {
            options.set("movflags", "frag_keyframe+empty_moov+default_base_moof");
        }
        self.output.write_header_with(options).map_err(PipelineError::at("output header"))?;
        Ok(())
    }

    /// Writes a packet of track `index` whose times are in `time_base`.
    pub(super) fn write(
        &mut self,
        packet: &mut Packet,
        index: usize,
        time_base: Rational,
    ) -> Result<(), PipelineError> {
        packet.set_stream(index);
        // The header may have changed the track's clock.
        let clock = self.output.stream(index).map_or(time_base, |stream| stream.time_base());
        packet.rescale_ts(time_base, clock);
        packet.write_interleaved(&mut self.output).map_err(PipelineError::at("mux"))?;
        if self.flushed.is_none_or(|flushed| flushed.elapsed() >= FLUSH_EVERY) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PipelineError> {
        self.flushed = Some(Instant::now());
        // SAFETY: the context is open and `pb` is the stream that it was opened with; it lives as long as the context.
        let error = unsafe {
            let pb = (*self.output.as_mut_ptr()).pb;
            ffi::avio_flush(pb);
            (*pb).error
        };
        if error < 0 { Err(PipelineError::at("output")(error.into())) } else { Ok(()) }
    }

    /// Nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.flushed.is_none()
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), PipelineError> {
        self.output.write_trailer().map_err(PipelineError::at("output trailer"))?;
        self.flush()
    }
}
