//! Where a stack becomes the program's own: what lies before is how any program of its language enters the system.
//!
//! Invariant: only the beginning of a stack is left out, and only for people; programs get all of it.

use super::allocators;

/// Functions through which a program enters the system; nobody's own code.
const ENTRANCES: &[&str] = &[
    "_",
    "open",
    "syscall",
    "clone",
    "lll_",
    "pthread_",
    "futex",
    "socket",
    "accept",
    "pipe",
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "uv_",
    "node::",
    "v8::",
    "void node::",
    "Builtins_",
    "new_socket",
    "maybe_new_socket",
];

/// What Go's standard library begins with; nothing of it has a dot before the first slash.
const GO: &[&str] = &[
    "bufio", "bytes", "context", "crypto", "database", "encoding", "fmt", "internal", "io", "log", "net", "os", "path",
    "runtime", "sync", "syscall", "time", "vendor",
];

/// How C libraries are called, in whose functions a thread that waits mostly stands.
const C_LIBRARIES: &[&str] = &["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl"];

/// Where Python keeps what is not the program's own.
const PYTHON: &[&str] = &["/lib/python3", "/site-packages/", "/dist-packages/"];

/// A line of Python: whatever such a function is called, it is not how Python enters the system.
fn is_python(place: &str) -> bool {
    place.contains(".py:") || place.starts_with('<')
}

/// Sources of a library, as sites name them: from its crate (`tokio-1.54.1/src/…`) or Rust's own library on; Node's
/// own (`node:fs`), and what npm and Go's module cache brought.
fn is_library(place: &str) -> bool {
    if is_python(place) {
        return place.starts_with("<frozen ") || PYTHON.iter().any(|folder| place.contains(folder));
    }
    if place.starts_with("node:") || place.contains("/node_modules/") || place.contains("/pkg/mod/") {
        return true;
    }
    let Some((first, rest)) = place.split_once('/') else { return false };
    let versioned =
        || first.rsplit_once('-').is_some_and(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    rest.starts_with("src/") && (matches!(first, "std" | "core" | "alloc") || versioned())
}

/// Go's standard library: by the package, and by the language of the source.
fn is_go(function: &str, place: &str) -> bool {
    let is_source = [".go:", ".s:"].iter().any(|end| place.contains(end));
    is_source && function.split(['/', '.']).next().is_some_and(|package| GO.contains(&package))
}

fn place(frame: &str) -> &str {
    frame.rsplit_once(" (").map(|(_, place)| place).unwrap_or_default()
}

/// How a program of some language enters the system.
fn is_entrance(frame: &str) -> bool {
    if is_python(place(frame)) {
        return false;
    }
    allocators::is_allocator(frame)
        || frame.contains("/sysdeps/")
        || C_LIBRARIES.iter().any(|start| place(frame).starts_with(start) || frame.starts_with(start))
        || ["(nptl/", "/nptl/"].iter().any(|folder| frame.contains(folder))
        || frame.contains("(/rustc/")
        || is_go(frame, place(frame))
        || ENTRANCES.iter().any(|start| frame.starts_with(start) && !frame.starts_with("_Py"))
}

/// Whether a frame, as a line, is certainly not the program's own: a library's, or how it enters the system.
pub(crate) fn is_foreign(frame: &str) -> bool {
    is_entrance(frame) || is_library(place(frame))
}

/// The frames from the first that is likely the program's own on, one whose line is known before others: what
/// lies before it is libraries and how any program enters the system. All of them if none is.
pub(crate) fn own_frames(frames: &[String]) -> &[String] {
    let known = |frame: &String| {
        let place = place(frame);
        !is_foreign(frame) && place.ends_with(')') && place.contains(':')
    };
    let first = frames.iter().position(known).or_else(|| frames.iter().position(|frame| !is_entrance(frame)));
    match first {
        Some(first) => frames.get(first..).unwrap_or(frames),
        None => frames,
    }
}

/// The frames that are likely the program's own, by number, ascending; first the one to begin to read at, whatever it is.
pub(crate) fn own_numbers(frames: &[String]) -> Vec<usize> {
    let first = frames.len() - own_frames(frames).len();
    let from = frames.iter().enumerate().skip(first);
    from.filter(|(number, frame)| *number == first || !is_foreign(frame)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_begins_with_the_programs_own_code() {
        let frames =
            ["__libc_open64 (io/../sysdeps/unix/sysv/linux/open64.c:41)", "std::fs::File::open", "spool::park"];
        let frames: Vec<String> = frames.map(String::from).to_vec();
        assert_eq!(own_frames(&frames), ["spool::park"]);
        assert_eq!(own_frames(&frames[..2]).len(), 2, "nothing is hidden if that would leave nothing");
        assert!(own_frames(&[]).is_empty() && own_numbers(&[]).is_empty());
        assert_eq!(
            (own_numbers(&frames), own_numbers(&frames[..2])),
            (vec![2], vec![0]),
            "where all is foreign, the top"
        );
        let mixed = ["tempfile::tempfile", "poll (axum-0.8.9/src/util.rs:94)", "spool (/srv/app/src/a.rs:9)", "main"];
        let mixed: Vec<String> = mixed.map(String::from).to_vec();
        assert_eq!(
            own_frames(&mixed),
            ["spool (/srv/app/src/a.rs:9)", "main"],
            "a line that can be opened comes first"
        );
        let below = ["open", "spool (/srv/a.rs:9)", "poll (tokio-1.54.1/src/runtime.rs:94)", "main (/srv/main.rs:3)"];
        assert_eq!(own_numbers(&below.map(String::from)), [1, 3]);
    }

    #[test]
    fn other_languages_enter_the_system_their_own_way() {
        for (frames, own) in [
            (
                &[
                    "syscall.openat (/usr/lib/go/src/syscall/zsyscall_linux_amd64.go:98)",
                    "os.Open (os/file.go:3)",
                    "github.com/x/y.F (/root/go/pkg/mod/github.com/x/y@v1/f.go:2)",
                    "main.settings (/srv/main.go:41)",
                ][..],
                "main.settings (/srv/main.go:41)",
            ),
            (
                &[
                    "__libc_open64 (io/../sysdeps/unix/sysv/linux/open64.c:41)",
                    "uv__fs_open (/w/deps/uv/src/unix/fs.c:386)",
                    "node::fs::Open(v8::FunctionCallbackInfo const&)",
                    "openSync (node:fs:570)",
                    "[interpreted JavaScript]",
                    "(anonymous) (/srv/service.js:86)",
                ],
                "(anonymous) (/srv/service.js:86)",
            ),
            (&["libc.so.6+0x85f16", "sem_wait (libc.so.6)", "bare+0x1234"], "bare+0x1234"),
            (
                &[
                    "__libc_open64 (io/../sysdeps/unix/sysv/linux/open64.c:41)",
                    "python3.11+0x1acfdf",
                    "_PyObject_MakeTpCall",
                ],
                "python3.11+0x1acfdf",
            ),
            (
                &[
                    "libc.so.6+0x85f16",
                    "fsync (libc.so.6)",
                    "_NamedTemporaryFile (/usr/lib/python3.11/tempfile.py:563)",
                    "open_spool (/usr/lib/python3/dist-packages/spool/files.py:3)",
                    "_load (<frozen importlib._bootstrap>:241)",
                    "_open (/srv/shop.py:41)",
                    "Thread.run (/usr/lib/python3.11/threading.py:975)",
                ],
                "_open (/srv/shop.py:41)",
            ),
        ] {
            let frames: Vec<String> = frames.iter().map(ToString::to_string).collect();
            assert_eq!(own_frames(&frames)[0], own);
        }
    }
}
