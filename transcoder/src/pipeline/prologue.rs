//! The first packets: read until it is clear which tracks there are and when they begin, and not one further.
//!
//! Invariant: bounded in bytes and, on the upload's clock, in time. A transport stream may name sound that comes late
//! or never.

use super::PipelineError;
use super::clock::Clock;
use super::container::Kind;
use super::demux::{Demuxer, MICROSECONDS};
use ffmpeg_next::{Packet, Rescale, media};
use std::collections::VecDeque;

/// What is kept at most, in bytes.
const MOST_BYTES: usize = 5 << 20;
/// What is kept at most of it in microseconds: where a header names all tracks, and where none does.
const LONGEST: i64 = 1_000_000;
const LONGEST_WITHOUT_HEADER: i64 = 5_000_000;

/// The beginning of an upload.
pub(super) struct Prologue {
    /// The packets that were read, to be used before others.
    pub(super) packets: VecDeque<Packet>,
    /// The picture's track.
    pub(super) video: usize,
    /// The sound's, if there is any.
    pub(super) sound: Option<usize>,
    /// Begins with zero when the first of them does.
    pub(super) clock: Clock,
}

impl Prologue {
    /// Reads it.
    pub(super) fn read(input: &mut Demuxer) -> Result<Self, PipelineError> {
        let header = !matches!(input.kind(), Kind::Ts);
        let longest = if header { LONGEST } else { LONGEST_WITHOUT_HEADER };
        let mut packets = VecDeque::new();
        let (mut bytes, mut span) = (0, Span::default());
        let mut seen: Vec<usize> = Vec::new();
        let mut tracks = (None, None);
        while let Some(packet) = input.next_packet()? {
            let index = packet.stream();
            if !seen.contains(&index) {
                seen.push(index);
            }
            if let (Some(stream), Some(time)) = (input.track(index), packet.dts().or(packet.pts())) {
                span.add(time.rescale(stream.time_base(), MICROSECONDS));
            }
            bytes += packet.size();
            packets.push_back(packet);
            let video = input.best(media::Type::Video, None);
            tracks = (video, input.best(media::Type::Audio, video));
            // An index may tell when a track begins long before its first packet.
            let is_known = |track: Option<usize>| track.is_none_or(|track| input.start(track).is_some());
            let complete = video.is_some() && is_known(video) && is_known(tracks.1);
            if complete || bytes > MOST_BYTES || span.length() > longest {
                break;
            }
        }
        let (video, sound) = (tracks.0.ok_or(PipelineError::NoVideo)?, tracks.1);
        // Without a header nothing but its packets proves that a track is there at all.
        let sound = sound.filter(|sound| header || seen.contains(sound));
        let kept: Vec<usize> = [Some(video), sound].into_iter().flatten().collect();
        input.keep_only(&kept);
        packets.retain(|packet| kept.contains(&packet.stream()));
        let origin = kept.iter().filter_map(|track| input.start(*track)).min().unwrap_or(0);
        Ok(Self { packets, video, sound, clock: Clock::new(origin, header) })
    }
}

/// From the earliest to the latest time that was seen.
#[derive(Default)]
struct Span(Option<(i64, i64)>);

impl Span {
    fn add(&mut self, time: i64) {
        let (first, last) = self.0.unwrap_or((time, time));
        self.0 = Some((first.min(time), last.max(time)));
    }

    fn length(&self) -> i64 {
        self.0.map_or(0, |(first, last)| last.saturating_sub(first))
    }
}
