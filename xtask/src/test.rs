//! To be written.

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// Not written yet.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("test: not written yet")
}
