//! Names as people read them: without generic arguments, build directories and registry paths.

use std::borrow::Cow;

/// A function name is cut after this many characters.
const LONGEST: usize = 160;

/// `core::iter::Map<I, F>::fold::<A, B>` reads `core::iter::Map::fold`; `<T as Trait>::f` reads `T::f`.
pub(crate) fn function(name: &str) -> String {
    let mut short = String::with_capacity(name.len().min(LONGEST));
    let mut rest = name;
    while let Some(open) = rest.find('<') {
        let (head, tail) = rest.split_at(open);
        let Some(length) = group(tail) else { break };
        let inner = &tail[1..length - 1];
        let qualified = head.is_empty() || head.ends_with([' ', '(', '&', ',']);
        // `operator<` and the like of C++ are names, not groups.
        if head.ends_with("operator") {
            break;
        }
        short.push_str(if qualified { head } else { head.strip_suffix("::").unwrap_or(head) });
        if qualified {
            short.push_str(&function(before_as(inner)));
        }
        rest = &tail[length..];
    }
    short.push_str(rest);
    match short.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &short[..at]),
        None => short,
    }
}

/// How V8 calls functions: each kind for some versions.
const OF_V8: [&str; 3] = ["JS:", "LazyCompile:", "Function:"];
/// How well they are compiled: by a sign before the name.
const TIERS: [char; 4] = ['^', '~', '*', '+'];

/// The same function's name, however well it is compiled by now.
pub(crate) fn untiered(name: &str) -> Cow<'_, str> {
    match OF_V8.iter().find_map(|kind| name.strip_prefix(kind)) {
        Some(rest) => Cow::Owned(format!("JS:{}", rest.trim_start_matches(TIERS))),
        None => Cow::Borrowed(name),
    }
}

/// A function that a runtime compiled while it ran, as it told profilers (`/tmp/perf-PID.map`): V8's
/// `JS:^name /srv/app.js:12:34`, where the sign tells how well it is compiled. Others are called what they are called.
pub(crate) fn compiled(name: &str) -> Option<(String, Option<(String, u32)>)> {
    if name == "Builtins_InterpreterEntryTrampoline" {
        return Some(("[interpreted JavaScript]".to_owned(), None));
    }
    let rest = OF_V8.iter().find_map(|kind| name.strip_prefix(kind))?;
    let (function, place) = rest.trim_start_matches(TIERS).split_once(' ')?;
    let function = if function.is_empty() { "(anonymous)" } else { function };
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    column.parse::<u32>().ok()?;
    Some((function.to_owned(), Some((file.to_owned(), line.parse().ok()?))))
}

/// Length of a balanced `<…>` at the start; arrows are no brackets.
fn group(text: &str) -> Option<usize> {
    let (mut depth, mut before) = (0_u32, ' ');
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = character;
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// `T as Trait` reads `T`; an `as` inside brackets belongs to what is inside.
fn before_as(text: &str) -> &str {
    let (mut depth, mut before) = (0_i32, ' ');
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            ' ' if depth == 0 && text[at..].starts_with(" as ") => return &text[..at],
            _ => {}
        }
        before = character;
    }
    text
}

/// A source file, from its crate or library on where the place of the build does not matter.
pub(crate) fn source(path: &str) -> Cow<'_, str> {
    let from = |marker: &str, parts: usize| {
        let rest = &path[path.find(marker)? + marker.len()..];
        rest.splitn(parts + 1, '/').nth(parts)
    };
    // /rustc/<hash>/library/std/src/… and …/registry/src/<index>/<crate>/src/…
    let known = from("/rustc/", 2).or_else(|| from("/registry/src/", 1));
    known.map_or_else(|| Cow::Borrowed(path.trim_start_matches("./")), |rest| Cow::Owned(rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_lose_what_nobody_reads() {
        for (long, short) in [
            (
                "std::sys::pal::unix::cvt_r::<i32, <std::sys::fs::unix::File>::open_c::{closure#0}>",
                "std::sys::pal::unix::cvt_r",
            ),
            ("<std::fs::OpenOptions>::_open", "std::fs::OpenOptions::_open"),
            (
                "<alloc::boxed::Box<dyn core::ops::FnOnce<()>> as core::ops::FnOnce<()>>::call_once",
                "alloc::boxed::Box::call_once",
            ),
            ("open<&std::path::Path>", "open"),
            (
                "<fn() -> core::result::Result<(), String> as FnOnce<()>>::call_once",
                "fn() -> core::result::Result::call_once",
            ),
            ("std::operator<<char>", "std::operator<<char>"),
            ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
            ("broken<", "broken<"),
            ("->>", "->>"),
            ("", ""),
        ] {
            assert_eq!(function(long), short, "{long}");
        }
        assert!(function(&"x".repeat(1000)).chars().count() <= LONGEST + 1);
    }

    #[test]
    fn javascript_has_its_own_names() {
        let open = ("openSync".to_owned(), Some(("node:fs".to_owned(), 570)));
        assert_eq!(compiled("JS:^openSync node:fs:570:18"), Some(open));
        let handler = ("(anonymous)".to_owned(), Some(("/srv/my app.js".to_owned(), 86)));
        assert_eq!(compiled("JS:* /srv/my app.js:86:34"), Some(handler));
        assert_eq!(compiled("LazyCompile:~f /a.js:1:2").unwrap().0, "f");
        assert_eq!(untiered("LazyCompile:~f /a.js:1:2"), untiered("JS:*f /a.js:1:2"));
        assert_eq!(untiered("Builtins_JSEntry"), "Builtins_JSEntry");
        for other in ["main", "JS:", "JS:^x", "JS:^x y", "JS:^x y:1:", "Builtins_JSEntry"] {
            assert_eq!(compiled(other), None, "{other}");
        }
    }

    #[test]
    fn sources_begin_at_their_crate() {
        assert_eq!(source("/rustc/59807616/library/std/src/fs.rs"), "std/src/fs.rs");
        assert_eq!(
            source("/root/.cargo/registry/src/index-1949/tempfile-3.2.0/src/file/mod.rs"),
            "tempfile-3.2.0/src/file/mod.rs"
        );
        assert_eq!(source("./nptl/pthread_create.c"), "nptl/pthread_create.c");
        assert_eq!(source("/srv/app/src/main.rs"), "/srv/app/src/main.rs");
    }
}
