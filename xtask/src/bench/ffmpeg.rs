//! The `ffmpeg` command with the service's settings, from a pipe to a pipe, one thread everywhere.
//!
//! Its CPU time is the kernel's account of the ended child. Its peak memory is read while it runs, every 2 ms: the
//! account would include what the starter had resident when it forked.

use super::job::Job;
use crate::process;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// User and system time, seconds.
    pub(crate) cpu: f64,
    /// Most resident memory, bytes.
    pub(crate) peak: u64,
    /// From start to end.
    pub(crate) wall: Duration,
    /// What it made.
    pub(crate) output: Bytes,
}

/// The command. What the service sets (probing, scaler, encoder, distance of key frames, length of fragments) is set
/// to the same here.
pub(crate) fn command(job: Job) -> Command {
    let key_frames = 2 * job.clip.shape().rate;
    let scale = format!("scale={}:{}:flags=bicubic,setsar=1,format=yuv420p", job.width(), job.height);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-filter_threads", "1", "-filter_complex_threads", "1"]);
    ffmpeg.args(["-probesize", "1000000", "-analyzeduration", "1000000", "-threads", "1", "-i", "pipe:0"]);
    ffmpeg.args(["-vf", &scale, "-c:v", "libx264", "-preset", job.preset, "-tune", "zerolatency", "-crf", "23"]);
    ffmpeg.args(["-sc_threshold", "0", "-g", &key_frames.to_string(), "-threads", "1"]);
    // As many pictures as came in: the command would else fill gaps with copies.
    ffmpeg.args(["-fps_mode", "passthrough"]);
    ffmpeg.args(["-c:a", "aac", "-b:a", "96k", "-ar", "48000", "-ac", "2"]);
    if job.format == "ts" {
        ffmpeg.args(["-f", "mpegts"]);
    } else {
        ffmpeg.args(["-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof"]);
        ffmpeg.args(["-frag_duration", "500000"]);
    }
    ffmpeg.arg("pipe:1");
    ffmpeg
}

/// Runs it to its end.
///
/// # Errors
/// It is not installed or failed.
pub(crate) fn run(job: Job, video: &Bytes) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let mut child = command(job)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ffmpeg (is the package ffmpeg installed?)")?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
        bail!("ffmpeg: no pipes");
    };
    let (peak, over, pid) = (AtomicU64::new(0), AtomicBool::new(false), child.id());
    let mut output = Vec::new();
    let mut complaint = String::new();
    std::thread::scope(|scope| {
        // If it wants no more, its exit status tells.
        scope.spawn(move || stdin.write_all(video).ok());
        scope.spawn(|| stderr.read_to_string(&mut complaint).ok());
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(process::peak_resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let read = stdout.read_to_end(&mut output);
        over.store(true, Ordering::Relaxed);
        read
    })
    .context("ffmpeg's output")?;
    let cpu = reap(child)?;
    if output.is_empty() || !complaint.is_empty() {
        bail!("ffmpeg made {} bytes and said: {}", output.len(), complaint.trim());
    }
    Ok(Run { cpu, peak: peak.into_inner(), wall: begun.elapsed(), output: output.into() })
}

/// Waits for its end; its CPU seconds.
fn reap(child: Child) -> anyhow::Result<f64> {
    let pid = libc::pid_t::try_from(child.id()).context("ffmpeg's pid")?;
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both live on this stack for the length of the call; `child` is ours and has not been waited for.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        return Err(std::io::Error::last_os_error()).context("wait for ffmpeg");
    }
    if status != 0 {
        bail!("ffmpeg ended with status {status}");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::{self, Clip};

    #[test]
    fn it_makes_what_is_asked_for_and_is_measured() {
        for format in ["fmp4", "ts"] {
            let job = Job { clip: Clip::Fragmented, height: 120, preset: "ultrafast", format };
            let run = run(job, &job.clip.bytes().unwrap()).unwrap();
            assert!(run.cpu > 0.005 && run.wall.as_secs_f64() * 8.0 > run.cpu, "{} s", run.cpu);
            assert!(run.peak > 5 << 20 && run.peak < 1 << 30, "{}", run.peak);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &run.output).unwrap();
            let probed = video::probe(file.path()).unwrap();
            assert_eq!((probed.frames, probed.height), (job.clip.shape().frames(), Some(120)));
        }
    }

    #[test]
    fn a_file_that_is_none_is_an_error() {
        let job = Job { clip: Clip::Fragmented, height: 120, preset: "ultrafast", format: "ts" };
        assert!(run(job, &Bytes::from_static(b"no video")).is_err());
    }
}
