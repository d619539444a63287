//! Real test videos, made by the `ffmpeg` command and kept under the target folder, and looks at others by `ffprobe`.
//!
//! Cost: under a second of encoding for each small clip and some seconds for the large ones, once. The picture and the
//! tone are synthetic, but each clip goes through real encoders and muxers.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Clip {
    /// H.264 and AAC in fragmented MP4.
    Fragmented,
    /// H.264 and AAC in MPEG-TS.
    Transport,
    /// H.264 alone in fragmented MP4.
    Silent,
    /// H.264 and AAC in Matroska.
    Matroska,
    /// H.264 and AAC in MP4 whose index comes last.
    IndexLast,
    /// Begins as fragmented MP4, then noise.
    Broken,
    /// 1080 lines with detail and grain in fragmented MP4, as the benchmark needs it.
    Hd,
    /// 360 lines of the same.
    Sd,
    /// Two and a half minutes in fragmented MP4, for streams that go on while something else is measured.
    Long,
}

/// Picture and length of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pixels across.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Pictures a second.
    pub rate: u32,
    /// Length.
    pub seconds: u32,
}

impl Shape {
    /// Pictures in all.
    #[must_use]
    pub fn frames(self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }

    /// Length.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

const SMALL: Shape = Shape { width: 320, height: 180, rate: 15, seconds: 4 };

impl Clip {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fragmented,
        Self::Transport,
        Self::Silent,
        Self::Matroska,
        Self::IndexLast,
        Self::Broken,
        Self::Hd,
        Self::Sd,
        Self::Long,
    ];

    /// Picture and length.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self {
            Self::Hd => Shape { width: 1920, height: 1080, rate: 30, seconds: 5 },
            Self::Sd => Shape { width: 640, height: 360, rate: 30, seconds: 8 },
            Self::Long => Shape { seconds: 150, ..SMALL },
            _ => SMALL,
        }
    }

    /// The media type to declare.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Transport => "video/mp2t",
            Self::Matroska => "video/x-matroska",
            _ => "video/mp4",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented.mp4",
            Self::Transport => "transport.ts",
            Self::Silent => "silent.mp4",
            Self::Matroska => "matroska.mkv",
            Self::IndexLast => "index-last.mp4",
            Self::Broken => "broken.mp4",
            Self::Hd => "hd.mp4",
            Self::Sd => "sd.mp4",
            Self::Long => "long.mp4",
        }
    }

    /// The file, made if it is not there yet.
    ///
    /// # Errors
    /// `ffmpeg` is missing or failed.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        self.path_in(&process::target_dir().join("videos"))
    }

    fn path_in(self, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(self.file_name());
        if !path.is_file() {
            // Made aside, under a name of its own, and renamed: whoever makes the same clip meanwhile, in this process or
            // another, never sees half of one.
            let aside = tempfile::NamedTempFile::new_in(folder).context("keep a clip")?.into_temp_path();
            self.make(folder, &aside)?;
            aside.persist(&path).with_context(|| format!("create {}", path.display()))?;
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

    fn make(self, folder: &Path, path: &Path) -> anyhow::Result<()> {
        if self == Self::Broken {
            let mut bytes = fs::read(Self::Fragmented.path_in(folder)?).context("read the clip to break")?;
            // The file type box stays, so that the demuxer takes it for MP4 and only then finds the noise.
            let noise = bytes.get_mut(64..).context("the clip to break is too short")?;
            rand::rngs::StdRng::seed_from_u64(1).fill_bytes(noise);
            return fs::write(path, bytes).with_context(|| format!("write {}", path.display()));
        }
        let Shape { width, height, rate, seconds } = self.shape();
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i"]);
        if matches!(self, Self::Hd | Self::Sd) {
            // Fine structure that moves, lines and text, and grain: encoders have to work as on a camera's picture.
            ffmpeg.arg(format!(
                "mandelbrot=size=640x360:rate={rate}:maxiter=400[a];testsrc2=size=640x360:rate={rate}[b];\
                 [a][b]blend=all_mode=average,scale={width}:{height},noise=alls=4:allf=t:all_seed=1,\
                 trim=duration={seconds}"
            ));
        } else {
            ffmpeg.arg(format!("testsrc2=size={width}x{height}:rate={rate}:duration={seconds}"));
        }
        if self != Self::Silent {
            let tone = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
            ffmpeg.args(["-f", "lavfi", "-i", &tone, "-c:a", "aac", "-b:a", "64k"]);
        }
        ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]);
        ffmpeg.args(["-g", &rate.to_string(), "-threads", "1"]);
        match self {
            Self::Transport => ffmpeg.args(["-f", "mpegts"]),
            Self::Matroska => ffmpeg.args(["-f", "matroska"]),
            Self::IndexLast => ffmpeg.args(["-f", "mp4"]),
            // Pieces of a fifth of a second, as a live encoder sends them.
            _ => ffmpeg.args(["-f", "mp4", "-frag_duration", "200000", "-movflags", "empty_moov+default_base_moof"]),
        };
        run(ffmpeg.arg(path), "ffmpeg").map(drop)
    }
}

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
            assert_eq!(probed.frames, clip.shape().frames(), "{clip:?}");
            assert_eq!(probed.height, Some(clip.shape().height.into()), "{clip:?}");
            assert_eq!(probed.codecs.iter().any(|codec| codec == "aac"), clip != Clip::Silent, "{clip:?}");
        }
    }

    /// As tests do that run side by side on a fresh checkout.
    #[test]
    fn makers_of_one_clip_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| Clip::Broken.path_in(folder.path()))).collect();
            for maker in makers {
                assert!(maker.join().unwrap().unwrap().is_file());
            }
        });
        let fine = probe(&Clip::Fragmented.path_in(folder.path()).unwrap()).unwrap();
        assert_eq!(fine.frames, SMALL.frames());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left aside");
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
