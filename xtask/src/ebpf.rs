//! `cargo xtask ebpf`: the kernel object from its source, byte for byte the same wherever it is built.
//!
//! The object is checked in, so that whoever builds or runs Snowshed needs no BPF toolchain; `--check` proves that it
//! is what the source says. Cost: half a minute on two cores, most of it the standard library's `core`.

mod build;
mod object;
mod rust_src;

use crate::{process, setup};
use anyhow::{Context as _, bail};
use std::path::PathBuf;

/// The checked-in object, from the workspace's root.
pub const OBJECT: &str = "ebpf/object/snowshed.bpf.o";

/// The compiler that the object is built with: another one gives other bytes.
const RUST: &str = "1.95.0";

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Change nothing: build, compare with the checked-in object, exit 1 where they differ
    #[arg(long)]
    check: bool,
    /// The standard library's source: its `library` folder, or a .tar.xz of that
    #[arg(long, value_name = "PATH")]
    rust_src: Option<PathBuf>,
}

/// Installs what is missing, builds, and writes or compares the object.
///
/// # Errors
/// The toolchain cannot be had, the source does not compile, or (with `--check`) the objects differ.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let fixed = format!("unpacks the source of Rust's core to {} (the path is part of the object)", rust_src::FIXED);
    let object = format!("writes {OBJECT}");
    setup::prepare(&setup::Plan {
        command: if args.check { "cargo xtask ebpf --check" } else { "cargo xtask ebpf" },
        needs: setup::EBPF,
        privileges: "none, once the packages are there",
        changes: &[fixed.as_str(), object.as_str()][..if args.check { 1 } else { 2 }],
    })?;
    if args.check { check(args.rust_src.as_deref()) } else { write(args.rust_src.as_deref()) }
}

/// Builds the object and compares it with the checked-in one.
///
/// # Errors
/// They differ; the message says in which sections. Or it cannot be built.
pub fn check(rust_src: Option<&std::path::Path>) -> anyhow::Result<()> {
    let path = process::root().join(OBJECT);
    let kept = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let built = build(rust_src)?;
    if kept == built {
        println!("{OBJECT} is what its source says, byte for byte ({} bytes)", built.len());
        return Ok(());
    }
    let differences = object::differences(&kept, &built)?;
    bail!("{OBJECT} is not what its source says (run `cargo xtask ebpf`):\n{}", differences.join("\n"));
}

fn write(rust_src: Option<&std::path::Path>) -> anyhow::Result<()> {
    let built = build(rust_src)?;
    let path = process::root().join(OBJECT);
    if std::fs::read(&path).is_ok_and(|kept| kept == built) {
        println!("{OBJECT} is up to date ({} bytes)", built.len());
        return Ok(());
    }
    let folder = path.parent().context("the object has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    std::fs::write(&path, &built).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {OBJECT} ({} bytes)", built.len());
    Ok(())
}

fn build(rust_src: Option<&std::path::Path>) -> anyhow::Result<Vec<u8>> {
    let library = rust_src::library(rust_src)?;
    let linked = build::object(&library)?;
    object::strip(&linked)
}
