//! Small C programs and libraries, built by the test into a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) struct Built {
    folder: tempfile::TempDir,
}

impl Built {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// One of the sources beside this file.
    pub(crate) fn source(&self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/context").join(name)
    }

    fn run(&self, compiler: &str, output: &str, arguments: &[&str]) -> PathBuf {
        let output = self.folder.path().join(output);
        let mut command = Command::new(compiler);
        command.args(["-O1", "-g", "-Wall", "-pthread", "-o"]).arg(&output).args(arguments);
        let status = command.status().unwrap_or_else(|error| panic!("this test needs {compiler}: {error}"));
        assert!(status.success(), "{command:?}");
        output
    }

    /// A program. `-DLINKED`, or "publisher", has the publisher in it.
    pub(crate) fn program(&self, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (source, publisher) = (self.source(source), self.source("publisher.c"));
        let mut arguments = vec![source.to_str().unwrap()];
        if flags.contains(&"-DLINKED") || flags.contains(&"publisher") {
            arguments.push(publisher.to_str().unwrap());
        }
        arguments.extend(flags.iter().filter(|flag| **flag != "publisher"));
        self.run(compiler, "program", &arguments)
    }

    pub(crate) fn library(&self, compiler: &str, name: &str, flags: &[&str]) -> PathBuf {
        let source = self.source(&format!("{name}.c"));
        let mut arguments = vec!["-shared", "-fPIC", source.to_str().unwrap()];
        arguments.extend(flags);
        self.run(compiler, &format!("lib{name}.so"), &arguments)
    }

    /// A program that is linked with the library that publishes.
    pub(crate) fn linked(&self, compiler: &str, library: &Path) -> PathBuf {
        self.against(compiler, "threads.c", library)
    }

    pub(crate) fn against(&self, compiler: &str, source: &str, library: &Path) -> PathBuf {
        let source = self.source(source);
        let folder = format!("-Wl,-rpath,{}", self.folder.path().display());
        // The publisher is the library's: the program only knows its function.
        let flag = ["-DLINKED", source.to_str().unwrap(), library.to_str().unwrap(), &folder];
        self.run(compiler, "linked", &flag)
    }

    /// Libraries with thread-local storage and nothing else.
    pub(crate) fn fillers(&self, compiler: &str, count: usize, flag: &str) -> Vec<PathBuf> {
        let source = self.source("filler.c");
        let arguments = ["-shared", "-fPIC", "-DSIZE=8", source.to_str().unwrap(), flag];
        let first = self.run(compiler, "libfiller0.so", &arguments);
        let copy = |number| {
            let name = self.folder.path().join(format!("libfiller{number}.so"));
            std::fs::copy(&first, &name).unwrap();
            name
        };
        std::iter::once(first.clone()).chain((1..count).map(copy)).collect()
    }

    pub(crate) fn strip(&self, file: &Path) {
        let status = Command::new("strip").arg(file).status();
        assert!(status.expect("this test needs strip (Debian: binutils)").success());
    }
}
