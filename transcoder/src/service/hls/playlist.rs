//! The text of playlists, and the names of what they list (RFC 8216, and its successor's draft 16 for low latency).
//!
//! Pure. Segments are numbered from 1, and their number is their media sequence number.

use std::fmt::Write as _;

/// Of playlists.
pub(super) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// Of the header, segments and parts.
pub(super) const MEDIA_TYPE: &str = "video/mp4";
/// The playlist's name.
pub(super) const PLAYLIST: &str = "index.m3u8";
/// The header's name.
pub(super) const INIT: &str = "init.mp4";
/// What `EXT-X-MAP` with fragmented MP4 asks for.
const VERSION: u32 = 7;

/// A segment's name.
pub(super) fn segment_name(number: u64) -> String {
    format!("segment-{number:05}.m4s")
}

/// The name of a part of a segment; parts are numbered from 0.
pub(super) fn part_name(number: u64, part: usize) -> String {
    format!("part-{number:05}.{part}.m4s")
}

/// What a name in a playlist stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Playlist,
    Init,
    Segment(u64),
    Part(u64, usize),
}

impl Named {
    /// Reads a name. Only names that playlists show are names: no other spelling of a number.
    pub(super) fn read(name: &str) -> Option<Self> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let named = match name {
            PLAYLIST => return Some(Self::Playlist),
            INIT => return Some(Self::Init),
            _ => match name.strip_suffix(".m4s")?.split_once('-')? {
                ("segment", digits) => Self::Segment(number(digits)?),
                ("part", digits) => {
                    let (segment, part) = digits.split_once('.')?;
                    Self::Part(number(segment)?, part.parse().ok()?)
                }
                _ => return None,
            },
        };
        let shown = match named {
            Self::Segment(number) => segment_name(number),
            Self::Part(number, part) => part_name(number, part),
            Self::Playlist | Self::Init => return None,
        };
        (shown == name).then_some(named)
    }
}

/// Whole seconds for `EXT-X-TARGETDURATION`: no segment may round to more.
fn rounded(seconds: f64) -> u64 {
    seconds.round().max(1.0) as u64
}

fn head(target: u64, independent: bool) -> String {
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target}\n");
    if independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    text
}

/// Adds a line and its end.
macro_rules! line {
    // Writing to a string cannot fail.
    ($text:expr, $($line:tt)*) => { writeln!($text, $($line)*).unwrap_or_default() };
}

/// The playlist of a stream that is over and of which everything is there. `lengths` are the segments' seconds.
pub(super) fn whole(lengths: &[f64], independent: bool) -> String {
    let target = lengths.iter().copied().map(rounded).max().unwrap_or(1);
    let mut text = head(target, independent);
    line!(text, "#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"{INIT}\"");
    for (number, seconds) in (1..).zip(lengths) {
        line!(text, "#EXTINF:{seconds:.6},\n{}", segment_name(number));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// One entry of a live playlist.
pub(super) struct Entry<'a> {
    pub(super) number: u64,
    /// Its length, once it is whole.
    pub(super) seconds: Option<f64>,
    /// Of each part: seconds, and whether it begins with a key frame. Empty where parts are no longer told.
    pub(super) parts: &'a mut dyn Iterator<Item = (f64, bool)>,
}

/// What a live playlist says before its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// `EXT-X-TARGETDURATION`, fixed for the stream's life.
    pub(super) target: u64,
    /// The longest part, in seconds, fixed likewise.
    pub(super) part_target: f64,
    pub(super) independent: bool,
    /// The number of the first entry.
    pub(super) first: u64,
}

impl Live {
    /// The text up to the first entry.
    pub(super) fn begin(self) -> String {
        let Self { target, part_target, independent, first } = self;
        let mut text = head(target, independent);
        line!(
            text,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={:.3},HOLD-BACK={}\n\
             #EXT-X-PART-INF:PART-TARGET={part_target:.3}\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"{INIT}\"",
            part_target * 3.0,
            target * 3
        );
        text
    }
}

/// Adds an entry.
pub(super) fn add(text: &mut String, entry: Entry<'_>) {
    for (index, (seconds, independent)) in entry.parts.enumerate() {
        let independent = if independent { ",INDEPENDENT=YES" } else { "" };
        let name = part_name(entry.number, index);
        line!(text, "#EXT-X-PART:DURATION={seconds:.6},URI=\"{name}\"{independent}");
    }
    if let Some(seconds) = entry.seconds {
        line!(text, "#EXTINF:{seconds:.6},\n{}", segment_name(entry.number));
    }
}

/// The end of a playlist: what comes next, or that nothing does.
pub(super) fn finish(text: &mut String, next: Option<(u64, usize)>) {
    match next {
        Some((number, part)) => line!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", part_name(number, part)),
        None => text.push_str("#EXT-X-ENDLIST\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_stream() {
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"init.mp4\"\n\
            #EXTINF:2.002000,\nsegment-00001.m4s\n#EXTINF:0.433767,\nsegment-00002.m4s\n#EXT-X-ENDLIST\n";
        assert_eq!(whole(&[2.002, 0.433_766_7], true), expected);
        assert!(!whole(&[2.5], false).contains("INDEPENDENT"));
        assert!(whole(&[2.5], false).contains("TARGETDURATION:3\n"));
        assert!(whole(&[0.2], true).contains("TARGETDURATION:1\n"));
    }

    #[test]
    fn a_live_stream() {
        let mut text = Live { target: 2, part_target: 0.5, independent: true, first: 7 }.begin();
        add(&mut text, Entry { number: 7, seconds: Some(2.0), parts: &mut std::iter::empty() });
        add(&mut text, Entry { number: 8, seconds: Some(0.92), parts: &mut [(0.48, true), (0.44, false)].into_iter() });
        add(&mut text, Entry { number: 9, seconds: None, parts: &mut [(0.48, true)].into_iter() });
        let mut ended = text.clone();
        finish(&mut text, Some((9, 1)));
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500,HOLD-BACK=6\n\
            #EXT-X-PART-INF:PART-TARGET=0.500\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"init.mp4\"\n\
            #EXTINF:2.000000,\nsegment-00007.m4s\n\
            #EXT-X-PART:DURATION=0.480000,URI=\"part-00008.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PART:DURATION=0.440000,URI=\"part-00008.1.m4s\"\n#EXTINF:0.920000,\nsegment-00008.m4s\n\
            #EXT-X-PART:DURATION=0.480000,URI=\"part-00009.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-00009.1.m4s\"\n";
        assert_eq!(text, expected);
        finish(&mut ended, None);
        assert!(ended.ends_with("\"part-00009.0.m4s\",INDEPENDENT=YES\n#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn names_are_read_as_they_are_written_and_no_other_way() {
        for named in [Named::Segment(1), Named::Segment(123_456), Named::Part(1, 0), Named::Part(99_999, 17)] {
            let name = match named {
                Named::Part(number, part) => part_name(number, part),
                Named::Segment(number) => segment_name(number),
                _ => continue,
            };
            assert_eq!(Named::read(&name), Some(named));
        }
        assert_eq!((Named::read("index.m3u8"), Named::read("init.mp4")), (Some(Named::Playlist), Some(Named::Init)));
        let wrong = [
            "",
            "index.m3u",
            "segment-1.m4s",
            "segment-000001.m4s",
            "segment-+0001.m4s",
            "segment--0001.m4s",
            "segment-00001.ts",
            "segment-18446744073709551616.m4s",
            "part-00001.m4s",
            "part-00001.00.m4s",
            "part-00001.1.1.m4s",
            "../init.mp4",
            "segment-\u{661}0000.m4s",
        ];
        for name in wrong {
            assert_eq!(Named::read(name), None, "{name}");
        }
    }
}
