//! One transcoding, as it is asked of the service and of the `ffmpeg` command alike.

use crate::video::Clip;

/// What to make of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// The upload.
    pub(crate) clip: Clip,
    /// Lines of the result.
    pub(crate) height: u32,
    /// x264's preset.
    pub(crate) preset: &'static str,
    /// The result's container, `fmp4` or `ts`.
    pub(crate) format: &'static str,
}

impl Job {
    /// As wide as the clip's shape asks for, even (the service's own rule).
    pub(crate) fn width(self) -> u32 {
        let shape = self.clip.shape();
        let width = f64::from(self.height) * f64::from(shape.width) / f64::from(shape.height);
        ((width / 2.0).round() * 2.0) as u32
    }

    /// As in `1080p→720p`.
    pub(crate) fn name(self) -> String {
        format!("{}p→{}p", self.clip.shape().height, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_services() {
        let job = |clip, height| Job { clip, height, preset: "ultrafast", format: "fmp4" };
        assert_eq!(job(Clip::Hd, 720).width(), 1280);
        assert_eq!(job(Clip::Sd, 240).width(), 426);
        assert_eq!(job(Clip::Hd, 720).name(), "1080p→720p");
    }
}
