//! Real test videos, made by the `ffmpeg` command and kept under the target folder, and looks at others by `ffprobe`.
//!
//! Cost: under a second of encoding for each clip, once. The picture and the tone are synthetic, but each clip goes
//! through real encoders and muxers.

use crate::process;
use anyhow::{Context as _, bail};
use rand::{RngCore as _, SeedableRng as _};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A clip of a known shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clip {
    /// H.264 and AAC in fragmented MP4.
    Fragmented,
    /// H.264 and AAC in MPEG-TS.
    Transport,
    /// H.264 alone in fragmented MP4.
    Silent,
    /// H.264 and AAC in MP4 whose index comes last.
    IndexLast,
    /// Begins as fragmented MP4, then noise.
    Broken,
}

impl Clip {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Fragmented, Self::Transport, Self::Silent, Self::IndexLast, Self::Broken];

    /// Length of each clip.
    pub const LENGTH: Duration = Duration::from_secs(SECONDS as u64);

    /// The media type to declare.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        if self == Self::Transport { "video/mp2t" } else { "video/mp4" }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented.mp4",
            Self::Transport => "transport.ts",
            Self::Silent => "silent.mp4",
            Self::IndexLast => "index-last.mp4",
            Self::Broken => "broken.mp4",
        }
    }

    /// The file, made if it is not there yet.
    ///
    /// # Errors
    /// `ffmpeg` is missing or failed.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        let folder = process::target_dir().join("videos");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(self.file_name());
        if !path.is_file() {
            // Made aside and renamed: another process that makes the same clip never sees half of one.
            let aside = folder.join(format!("{}.{}", std::process::id(), self.file_name()));
            self.make(&aside)?;
            fs::rename(&aside, &path).with_context(|| format!("create {}", path.display()))?;
        }
        Ok(path)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// See [`Clip::path`].
    pub fn bytes(self) -> anyhow::Result<bytes::Bytes> {
        let path = self.path()?;
        Ok(fs::read(&path).with_context(|| format!("read {}", path.display()))?.into())
    }

    fn make(self, path: &Path) -> anyhow::Result<()> {
        if self == Self::Broken {
            let mut bytes = fs::read(Self::Fragmented.path()?).context("read the clip to break")?;
            // The file type box stays, so that the demuxer takes it for MP4 and only then finds the noise.
            let noise = bytes.get_mut(64..).context("the clip to break is too short")?;
            rand::rngs::StdRng::seed_from_u64(1).fill_bytes(noise);
            return fs::write(path, bytes).with_context(|| format!("write {}", path.display()));
        }
        let picture = format!("testsrc2=size=320x180:rate=15:duration={SECONDS}");
        let tone = format!("sine=frequency=440:sample_rate=48000:duration={SECONDS}");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &picture]);
        if self != Self::Silent {
            ffmpeg.args(["-f", "lavfi", "-i", &tone, "-c:a", "aac", "-b:a", "64k"]);
        }
        ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "15", "-threads", "1"]);
        match self {
            Self::Transport => ffmpeg.args(["-f", "mpegts"]),
            Self::IndexLast => ffmpeg.args(["-f", "mp4"]),
            // Pieces of a fifth of a second, as a live encoder sends them.
            _ => ffmpeg.args(["-f", "mp4", "-frag_duration", "200000", "-movflags", "empty_moov+default_base_moof"]),
        };
        run(ffmpeg.arg(path), "ffmpeg").map(drop)
    }
}

const SECONDS: u32 = 4;

/// What `ffprobe` finds in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// The container, as in `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// The codec of each stream, as in `h264`.
    pub codecs: Vec<String>,
    /// Height of the picture.
    pub height: Option<u64>,
    /// Pictures that could really be decoded.
    pub frames: u64,
}

/// Decodes a file and says what is in it.
///
/// # Errors
/// `ffprobe` is missing, or the file is not media.
pub fn probe(path: &Path) -> anyhow::Result<Probed> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-count_frames", "-of", "json", "-show_entries"]);
    ffprobe.args(["format=format_name:stream=codec_name,height,nb_read_frames,codec_type"]).arg(path);
    let answer: serde_json::Value =
        serde_json::from_slice(&run(&mut ffprobe, "ffprobe")?).context("ffprobe's answer")?;
    let streams = answer["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let video = streams.iter().find(|stream| stream["codec_type"] == "video");
    let frames = video.and_then(|stream| stream["nb_read_frames"].as_str()).and_then(|frames| frames.parse().ok());
    Ok(Probed {
        container: answer["format"]["format_name"].as_str().unwrap_or_default().to_owned(),
        codecs: streams.iter().filter_map(|stream| stream["codec_name"].as_str().map(str::to_owned)).collect(),
        height: video.and_then(|stream| stream["height"].as_u64()),
        frames: frames.unwrap_or(0),
    })
}

fn run(command: &mut Command, name: &str) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("run {name} (is the package ffmpeg installed?)"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_what_they_say() {
        for clip in Clip::ALL {
            let probed = probe(&clip.path().unwrap());
            if clip == Clip::Broken {
                assert!(probed.map_or(true, |probed| probed.frames == 0), "the broken clip plays");
                continue;
            }
            let probed = probed.unwrap();
            assert_eq!(probed.frames, u64::from(15 * SECONDS), "{clip:?}");
            assert_eq!(probed.height, Some(180), "{clip:?}");
            assert_eq!(probed.codecs.iter().any(|codec| codec == "aac"), clip != Clip::Silent, "{clip:?}");
        }
    }

    #[test]
    fn the_index_is_where_the_name_says() {
        let find = |bytes: &[u8], name: &[u8]| bytes.windows(4).position(|four| four == name);
        let late = Clip::IndexLast.bytes().unwrap();
        assert!(find(&late, b"moov") > find(&late, b"mdat"));
        let early = Clip::Fragmented.bytes().unwrap();
        assert!(find(&early, b"moov") < find(&early, b"mdat"));
    }
}
