//! How much a result differs from the picture that it was made of: PSNR against the upload, scaled the same way.

use super::job::Job;
use crate::{program, video};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use std::process::Command;

/// The average over all pictures, in decibels.
///
/// # Errors
/// The result has not every picture of the upload, or cannot be decoded.
pub(crate) fn psnr(job: Job, result: &Bytes) -> anyhow::Result<f64> {
    let file = tempfile::NamedTempFile::new().context("keep a result")?;
    std::fs::write(file.path(), result).context("keep a result")?;
    let (probed, shape) = (video::probe(file.path())?, job.clip.shape());
    if probed.frames != shape.frames() || probed.height != Some(job.height.into()) {
        bail!("{}: {probed:?} for {shape:?}", job.name());
    }
    // Picture by picture, whatever the clocks show.
    let (width, height) = (job.width(), job.height);
    let graph = format!(
        "[0:v]settb=1/1000,setpts=N*40[made];[1:v]scale={width}:{height}:flags=bicubic,settb=1/1000,setpts=N*40[ideal];\
         [made][ideal]psnr"
    );
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-v", "info", "-i"]).arg(file.path()).arg("-i").arg(job.clip.path()?);
    ffmpeg.args(["-lavfi", &graph, "-fps_mode", "passthrough", "-an", "-f", "null", "-"]);
    let output = ffmpeg.output().with_context(|| format!("start {}", program::line(&ffmpeg)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let average = said.split("average:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    average.with_context(|| format!("{} told no PSNR: {}", program::line(&ffmpeg), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::ffmpeg, video::Clip};

    #[test]
    fn a_better_encoding_is_nearer() {
        let job = Job { clip: Clip::Fragmented, height: 180, preset: "ultrafast", format: "fmp4" };
        let video = job.clip.bytes().unwrap();
        let made = ffmpeg::run(job, &video).unwrap().output;
        let (made, same) = (psnr(job, &made).unwrap(), psnr(job, &video).unwrap());
        assert!((25.0..60.0).contains(&made) && same > 60.0, "{made} {same}");
        let cut = made_of_half(&video);
        assert!(psnr(job, &cut).is_err(), "pictures are missing");
    }

    fn made_of_half(video: &Bytes) -> Bytes {
        video.slice(..video.len() / 2)
    }
}
