//! Names of services, routes and peers: spans repeat few of them, so each is kept once.
//!
//! Invariant: bounded. What is in use outlives its place here; a name that comes again after that is kept once more.

use crate::{correlate::quick::Secret, text::cut};
use std::{collections::HashSet, sync::Arc};

/// Names that are remembered; who tells of more makes up new ones all the time, and has nothing to share.
const MOST: usize = 1_024;

/// The names.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>, Secret>);

impl Names {
    /// A name as it is kept: cut to [`super::TEXT`].
    pub(super) fn of(&mut self, name: &str) -> Arc<str> {
        let name = cut(name, super::TEXT);
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_their_number_is_bounded() {
        let mut names = Names::default();
        let first = names.of("shop");
        assert!(Arc::ptr_eq(&first, &names.of("shop")));
        assert_eq!(names.of(&"x".repeat(1_000)).len(), super::super::TEXT);
        (0..3 * MOST).for_each(|n| assert_eq!(*names.of(&n.to_string()), *n.to_string()));
        assert!(names.0.len() <= MOST);
        assert_eq!((&*first, &*names.of("shop")), ("shop", "shop"), "what is in use stays as it is");
    }
}
