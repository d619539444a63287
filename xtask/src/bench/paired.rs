//! One transcoding at a time: the service beside the `ffmpeg` command, in turns, each run in a process of its own.

use super::{
    Subject, ffmpeg,
    job::Job,
    quality,
    service::{Service, runtime, transcode},
    table::{Row, Target},
};

/// CPU seconds, peak memory and quality.
///
/// # Errors
/// A run fails, or a result is not the whole video.
pub(crate) fn rows(subject: &Subject, job: Job, runs: usize) -> anyhow::Result<Vec<Row>> {
    let video = job.clip.bytes()?;
    let (mut cpu, mut peak, mut wall) = (Vec::new(), Vec::new(), Vec::new());
    let mut difference = None;
    for run in 0..runs {
        let service = || -> anyhow::Result<_> {
            let (service, runtime) = (Service::start(subject, &[])?, runtime()?);
            let (begun, before) = (std::time::Instant::now(), service.cpu()?);
            let output = runtime.block_on(transcode(service.address(), job, video.clone()))?;
            Ok((service.cpu()? - before, service.peak()?, begun.elapsed().as_secs_f64(), output))
        };
        // Whoever comes second finds warmer caches: that is shared fairly.
        let (ours, theirs) = if run % 2 == 0 {
            let ours = service()?;
            (ours, ffmpeg::run(job, &video)?)
        } else {
            let theirs = ffmpeg::run(job, &video)?;
            (service()?, theirs)
        };
        cpu.push((ours.0, theirs.cpu));
        peak.push((ours.1 as f64 / 1e6, theirs.peak as f64 / 1e6));
        wall.push((ours.2, theirs.wall.as_secs_f64()));
        if difference.is_none() {
            difference = Some((quality::psnr(job, &ours.3)?, quality::psnr(job, &theirs.output)?));
        }
    }
    let ratio = |ours: f64, theirs: f64| ours / theirs;
    let name = job.name();
    let quality: Vec<(f64, f64)> = difference.into_iter().collect();
    Ok(vec![
        Row::paired(format!("{name} CPU"), &cpu, "s", ratio, Target::AtMost(1.02)),
        Row::paired(format!("{name} peak memory"), &peak, "MB", ratio, Target::AtMost(1.05)),
        Row::paired(format!("{name} time"), &wall, "s", ratio, Target::None),
        Row::paired(format!("{name} PSNR difference"), &quality, "dB", |a, b| (a - b).abs(), Target::AtMost(0.1)),
    ])
}
