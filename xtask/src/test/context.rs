//! What several steps share: the binaries and the compiled test suites, each made once, when the first step asks.

use super::{report::Counts, watch::watch};
use crate::suites::{self, Suite};
use anyhow::bail;
use std::{path::PathBuf, process::Command, time::Duration};

/// How long a suite may take.
const BOUND: Duration = Duration::from_secs(15 * 60);

/// State that the steps hand on.
#[derive(Debug)]
pub(super) struct Context {
    /// Where the standard library's source is, if the caller said.
    pub(super) rust_src: Option<PathBuf>,
    /// What is compiled, once somebody asked; none: it does not compile.
    built: Option<Option<Vec<Suite>>>,
}

impl Context {
    /// Nothing made yet.
    pub(super) fn new(rust_src: Option<PathBuf>) -> Self {
        Self { rust_src, built: None }
    }

    /// The suites that `wanted` picks, compiled, and the release binaries with them.
    ///
    /// # Errors
    /// They do not compile (said again to whoever asks again).
    pub(super) fn suites(&mut self, wanted: impl Fn(&Suite) -> bool) -> anyhow::Result<Vec<Suite>> {
        let built = self.built.get_or_insert_with(|| suites::compile().inspect_err(|error| println!("{error:#}")).ok());
        match built {
            Some(suites) => Ok(suites.iter().filter(|suite| wanted(suite)).cloned().collect()),
            None => bail!("the workspace does not compile"),
        }
    }
}

/// Runs one suite with these arguments for libtest; why it failed, if it did.
///
/// # Errors
/// It could not be started.
pub(super) fn run(suite: &Suite, arguments: &[&str]) -> anyhow::Result<(Counts, Option<String>)> {
    let mut command = Command::new(&suite.executable);
    command.args(arguments).current_dir(&suite.folder).env("CARGO_MANIFEST_DIR", &suite.folder);
    // An error says why by itself; its way through the test runner would fill what the report says again at its end.
    command.env("RUST_LIB_BACKTRACE", "0");
    let watched = watch(&suite.name, &mut command, BOUND)?;
    let why = (!watched.succeeded()).then(|| format!("{}\n{}", suite.name, watched.failures.trim()));
    Ok((watched.tests, why))
}
