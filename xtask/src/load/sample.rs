//! A sample of answers from all over a run, and a look at each: is it the video that was asked for, with every picture?
//!
//! Bounded: at most twice as many answers as are wanted are kept, of 8 MiB each at most.

use super::{multipart, plan::Plan};
use crate::video;
use anyhow::{Context as _, bail};
use bytes::Bytes;

/// Requests that are kept have this rest: the first of a run is often slower than the others.
const REST: usize = 3;

/// Answers with the number of their request and their media type.
#[derive(Debug)]
pub(super) struct Sample {
    wanted: usize,
    every: usize,
    answers: Vec<(usize, String, Bytes)>,
}

impl Sample {
    /// So many, or a few more.
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, every: REST + 1, answers: Vec::new() }
    }

    /// Whether the answer to this request is to be kept.
    pub(super) fn wants(&self, number: usize) -> bool {
        self.wanted > 0 && number % self.every == REST
    }

    /// Keeps it. When there are too many, every other one goes, and so does every other one from then on.
    pub(super) fn keep(&mut self, number: usize, media_type: String, body: Bytes) {
        // Its beginning may have been wanted, and its end no more.
        if self.wants(number) {
            self.answers.push((number, media_type, body));
        }
        while self.answers.len() >= 2 * self.wanted && self.answers.len() > 1 {
            self.every *= 2;
            let every = self.every;
            self.answers.retain(|(number, ..)| number % every == REST);
        }
    }

    /// How many were looked at, and what is wrong with those that are not what was asked for.
    pub(super) fn look(self, plan: &Plan) -> (usize, Vec<String>) {
        let broken = self.answers.iter().filter_map(|(number, media_type, body)| {
            let found = look(plan, media_type, body);
            found.err().map(|error| format!("answer {number}: {error:#}"))
        });
        (self.answers.len(), broken.collect())
    }
}

fn look(plan: &Plan, media_type: &str, body: &Bytes) -> anyhow::Result<()> {
    let video = multipart::video(media_type, body)?;
    let file = tempfile::NamedTempFile::new().context("keep an answer")?;
    std::fs::write(file.path(), video).context("keep an answer")?;
    let probed = video::probe(file.path())?;
    let shape = plan.clip.shape();
    if probed.frames != shape.frames() {
        bail!("{} pictures of {}", probed.frames, shape.frames());
    }
    if plan.height.is_some_and(|height| probed.height != Some(u64::from(height & !1))) {
        bail!("{:?} lines of {:?}", probed.height, plan.height);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_from_all_over_and_small() {
        let mut sample = Sample::new(10);
        for number in 0..100_000 {
            if sample.wants(number) {
                sample.keep(number, String::new(), Bytes::new());
            }
            assert!(sample.answers.len() < 20, "{}", sample.answers.len());
        }
        let late = sample.answers.iter().filter(|(number, ..)| *number > 50_000).count();
        assert!(sample.answers.len() >= 9 && (4..=12).contains(&late), "{:?}", sample.answers);
    }

    #[test]
    fn none_is_kept_where_none_is_wanted() {
        let mut sample = Sample::new(0);
        assert!((0..100).all(|number| !sample.wants(number)));
        sample.keep(3, String::new(), Bytes::new());
        assert!(sample.answers.is_empty());
    }
}
