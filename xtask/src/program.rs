//! Programs of the machine: where they are, and running one to its end.
//!
//! Invariant: a failure names the whole command line. Cost: none between calls.

use anyhow::{Context as _, bail};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Where administrators' programs lie; a plain user's `PATH` often leaves these out.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The path of a program, looked up as a shell would and then among the administrators' programs.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Cargo: the one that runs us, else the one on `PATH`. It does not learn that a cargo runs us: build scripts that look
/// (as that of `ring`) would run anew, and all that depends on them be compiled again.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let told = |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command whose output the user sees.
///
/// # Errors
/// It could not be started, or did not exit with 0.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command whose output the user sees on standard error: standard output is left to what was asked for.
///
/// # Errors
/// As [`run`].
pub fn run_aside(command: &mut Command) -> anyhow::Result<()> {
    run(command.stdout(std::io::stderr()))
}

/// Runs a command and returns what it printed, without the last line's end.
///
/// # Errors
/// It could not be started, did not exit with 0 (then its complaint is in the message), or printed no UTF-8.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {}", line(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", line(command), output.status, complaint.trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("{}: not UTF-8", line(command)))?;
    Ok(text.trim_end().to_owned())
}

/// The command as one would type it (for messages; not quoted).
#[must_use]
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_not_folders() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        assert!(!is_executable(Path::new("/usr")));
        assert!(!is_executable(Path::new("/etc/passwd")));
    }

    #[test]
    fn a_failure_names_the_command_and_its_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo sorry >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("sorry") && error.contains('3'), "{error}");
    }
}
