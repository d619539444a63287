//! Compiling and linking the kernel object with a stable compiler.
//!
//! Invariant: no path of this machine gets into the object. The project, the standard library, cargo's home and the
//! registry's folder in it are renamed, and nothing of the caller's environment adds flags.

use super::RUST;
use crate::{process, program, setup};
use anyhow::{Context as _, ensure};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";

/// What would change the object behind our back.
const FOREIGN: [&str; 7] = [
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_INCREMENTAL",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// Builds the object as the linker leaves it, debug sections and all.
///
/// # Errors
/// The compiler is another version, or the source does not compile.
pub(super) fn object(library: &Path) -> anyhow::Result<Vec<u8>> {
    compiler_is_the_one()?;
    let out = process::target_dir().join("bpf");
    let mut command = program::cargo();
    command
        .args(["build", "--profile", "bpf", "--package", "snowshed-ebpf", "--bin", "snowshed-probes"])
        .args(["--features", "object", "--target", TARGET, "-Zbuild-std=core", "--locked"])
        .current_dir(process::root());
    for name in FOREIGN {
        command.env_remove(name);
    }
    program::run(
        command
            // A stable compiler that is told to accept what this target needs, build-std above all.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", library)
            .env("CARGO_TARGET_DIR", &out)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", setup::cargo_program("bpf-linker"))
            // Decides which registers a context has; the host's would be taken otherwise.
            .env("AYA_BPF_TARGET_ARCH", "x86_64")
            .env("CARGO_ENCODED_RUSTFLAGS", flags(library)?),
    )?;
    let linked = out.join(TARGET).join("bpf/snowshed-probes");
    std::fs::read(&linked).with_context(|| format!("read {}", linked.display()))
}

fn compiler_is_the_one() -> anyhow::Result<()> {
    let version = program::output(Command::new("rustc").arg("--version"))?;
    ensure!(
        version.split_whitespace().nth(1) == Some(RUST),
        "the object is built with rustc {RUST} and this is {version}: try `rustup run {RUST} cargo xtask ebpf`"
    );
    Ok(())
}

/// The flags, separated as cargo wants them, so that paths may hold spaces.
fn flags(library: &Path) -> anyhow::Result<OsString> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    // The last rule that matches wins, so what lies inside something else comes after it.
    let mut renamed =
        vec![(home.clone(), "/cargo"), (process::root(), "/snowshed"), (library.to_path_buf(), "/rust/library")];
    // A folder a registry, named after its address: a mirror's must not differ.
    if let Ok(registries) = std::fs::read_dir(home.join("registry/src")) {
        renamed.extend(registries.flatten().map(|registry| (registry.path(), "/cargo/registry")));
    }
    let mut flags = OsString::from("-Cdebuginfo=2\u{1f}-Clink-arg=--btf");
    for (from, to) in &renamed {
        for path in [Some(from.clone()), from.canonicalize().ok().filter(|real| real != from)].into_iter().flatten() {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(path);
            flags.push(format!("={to}"));
        }
    }
    Ok(flags)
}
