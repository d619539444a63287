//! The figures as causes see them: those that deviate, or also those that are about to.

use super::{Sign, Signs, track::Deviation};
use std::ops::Deref;

/// What is known of one target's shortages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) all: &'a Signs,
    /// What is about to deviate counts as well.
    pub(crate) early: bool,
}

impl Deref for Shown<'_> {
    type Target = Signs;

    fn deref(&self) -> &Signs {
        self.all
    }
}

impl<'a> Shown<'a> {
    /// A figure's deviation.
    pub(crate) fn of(&self, sign: Sign) -> Option<&'a Deviation> {
        let early = || self.all.early(sign).filter(|_| self.early);
        self.all.of(sign).or_else(early)
    }

    /// What requests suffer. What has no past may be as it always is: who reads uploads slowly on purpose, say.
    pub(crate) fn suffering(self) -> impl Iterator<Item = (Sign, &'a Deviation)> {
        let found = move |sign: &Sign| Some((*sign, self.of(*sign).filter(|found| found.has_past)?));
        Sign::SUFFERING.iter().filter_map(found)
    }
}
