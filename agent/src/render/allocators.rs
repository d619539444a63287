//! Frames of allocators: where memory is asked for on somebody else's behalf.
//!
//! A page comes in where memory is first touched, and above the toucher lies who wanted it. Names of allocators are
//! listed here, so that none of them is given as the place. Invariant: an explicit list; what is not on it is the
//! program's own, so a place is never lost, at worst it is one frame too deep.

/// Beginnings of functions: the C library's allocator and what fills memory for it, C++, jemalloc, tcmalloc,
/// mimalloc, Rust, CPython, Go, V8.
const STARTS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "free",
    "cfree",
    "sysmalloc",
    "sysmalloc_mmap",
    "systrim",
    "alloc_perturb",
    "tcache_",
    "arena_get",
    "new_heap",
    "grow_heap",
    "heap_trim",
    "unlink_chunk",
    "mmap",
    "mremap",
    "brk",
    "sbrk",
    "memset",
    "memcpy",
    "memmove",
    "bzero",
    "operator new",
    "std::allocator",
    "__gnu_cxx::new_allocator",
    "je_",
    "tc_",
    "tcmalloc::",
    "mi_",
    "alloc::",
    "<alloc::",
    "hashbrown::",
    "<hashbrown::",
    "PyMem_",
    "PyObject_Malloc",
    "PyObject_Calloc",
    "PyObject_Realloc",
    "PyObject_Free",
    "PyType_GenericAlloc",
    "PyType_GenericNew",
    "pymalloc_alloc",
    "allocate_from_new_pool",
    "new_arena",
    "object_alloc",
    "runtime.mallocgc",
    "runtime.newobject",
    "runtime.makeslice",
    "runtime.growslice",
    "runtime.newarray",
    "runtime.memclr",
    "runtime.memmove",
    "runtime.(*mheap)",
    "runtime.(*mcache)",
    "runtime.(*mcentral)",
    "runtime.(*mspan)",
    "runtime.systemstack",
    "v8::internal::Heap",
    "v8::internal::Factory",
    "v8::internal::NewSpace",
    "v8::internal::PagedSpace",
];

/// The same behind underscores: `_int_malloc`, `__libc_calloc`, `__rust_alloc`, `_PyObject_GC_New`.
const BEHIND_UNDERSCORES: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "int_malloc",
    "int_free",
    "int_realloc",
    "int_memalign",
    "mid_memalign",
    "libc_malloc",
    "libc_calloc",
    "libc_realloc",
    "libc_memalign",
    "libc_free",
    "rust_alloc",
    "rust_realloc",
    "rust_no_alloc",
    "rdl_alloc",
    "rdl_realloc",
    "rg_alloc",
    "rustc",
    "mmap",
    "mremap",
    "brk",
    "sbrk",
    "memset",
    "memcpy",
    "memmove",
    "default_morecore",
    "glibc_morecore",
    "PyObject_Malloc",
    "PyObject_GC_New",
    "PyObject_GC_Alloc",
    "PyObject_New",
    "PyMem_",
];

/// Whether a frame, as it is told (`function (file:line)`), is an allocator's.
pub(super) fn is_allocator(frame: &str) -> bool {
    if frame.contains(".py:") {
        return false;
    }
    // The C library's other name for its own functions, and its sources where they are told.
    let plain = frame.trim_start_matches('_');
    let plain = plain.strip_prefix("GI_").map_or(plain, |name| name.trim_start_matches('_'));
    frame.contains("(malloc/")
        || STARTS.iter().any(|start| frame.starts_with(start) && ends_a_word(frame, start))
        || (plain.len() < frame.len() && BEHIND_UNDERSCORES.iter().any(|start| plain.starts_with(start)))
}

/// Whether a frame is CPython's own, of which it cannot be told what of the program it runs.
fn is_interpreter(frame: &str) -> bool {
    let module = frame.starts_with("python3") || frame.starts_with("libpython3");
    let function = ["_Py", "Py", "pymain_"].iter().any(|start| frame.starts_with(start));
    (module && frame.contains("+0x")) || (function && !frame.starts_with("PyArray_") && !frame.starts_with("PyInit_"))
}

/// The place of pages, in words: the first frame above the allocator that is the program's own.
pub(crate) fn place_of_pages(frames: &[String]) -> Option<String> {
    let above: Vec<&String> = frames.iter().filter(|frame| !is_allocator(frame)).collect();
    let first = *above.first()?;
    if !is_interpreter(first) {
        // A place in a module without names is still the place.
        let nameless = first.contains("+0x");
        return if nameless { Some(first.clone()) } else { super::own_frames(frames).first().cloned() };
    }
    // An extension that the interpreter called is somebody's; what called the interpreter is nobody's.
    Some(format!("{first}, in CPython, of which no line of the program is told"))
}

/// `free` is the allocator's, `free_session` is not; names that end in a separator match anything behind it.
fn ends_a_word(frame: &str, start: &str) -> bool {
    let open = start.ends_with(['_', ':']) || start.starts_with(|first: char| first.is_ascii_uppercase());
    let next = frame[start.len()..].chars().next();
    open || start.contains("::")
        || start.contains('.')
        || next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
}

/// A stack from the first frame above the allocator on; all of it if there is no other.
pub(super) fn beyond_allocator(frames: Vec<String>) -> Vec<String> {
    match frames.iter().position(|frame| !is_allocator(frame)) {
        Some(first) if first > 0 => frames.into_iter().skip(first).collect(),
        _ => frames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_first_frame_above_the_allocator() {
        let beyond = |names: &[&str]| beyond_allocator(names.iter().map(|name| (*name).to_owned()).collect());
        for (stack, place) in [
            (
                &["__memset_avx2_unaligned_erms", "sysmalloc", "_int_malloc", "calloc", "keep (a.c:3)", "main"][..],
                "keep (a.c:3)",
            ),
            (&["_PyObject_Malloc", "PyByteArray_Resize", "main"], "PyByteArray_Resize"),
            (
                &["sysmalloc_mmap (malloc/malloc.c:2478)", "__GI___libc_malloc", "python3.11+0xfb51b"],
                "python3.11+0xfb51b",
            ),
            (&["new_arena", "pymalloc_alloc", "PyObject_Malloc", "PyUnicode_New"], "PyUnicode_New"),
            (
                &["alloc::raw_vec::finish_grow", "<alloc::vec::Vec<T> as X>::from", "spool::hold (a.rs:9)"],
                "spool::hold (a.rs:9)",
            ),
            (
                &["runtime.memclrNoHeapPointers", "runtime.mallocgc", "runtime.makeslice", "main.keep (m.go:4)"],
                "main.keep (m.go:4)",
            ),
            (&["operator new(unsigned long)", "Cache::add"], "Cache::add"),
            (&["je_arena_ralloc", "je_realloc", "grow"], "grow"),
        ] {
            assert_eq!(beyond(stack).first().map(String::as_str), Some(place));
        }
        assert_eq!(beyond(&["malloc", "_int_malloc"]).len(), 2, "a stack of nothing else is left as it is");
        assert!(beyond(&[]).is_empty());
    }

    #[test]
    fn the_interpreters_own_code_is_not_the_programs() {
        let place = |names: &[&str]| place_of_pages(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let words = place(&["__memset_avx2_unaligned_erms", "python3.11+0x1b91a9", "_PyEval_EvalFrameDefault", "main"]);
        assert!(
            words.as_deref().is_some_and(|words| words.starts_with("python3.11+0x1b91a9, in CPython")),
            "{words:?}"
        );
        let words = place(&["calloc", "_multiarray_umath.so+0x12", "_PyEval_EvalFrameDefault"]);
        assert_eq!(words.as_deref(), Some("_multiarray_umath.so+0x12"));
        assert_eq!(place(&["malloc", "keep (a.c:1)", "main (a.c:9)"]).as_deref(), Some("keep (a.c:1)"));
        assert_eq!(place(&["malloc"]), None);
    }

    #[test]
    fn a_programs_own_functions_are_no_allocator() {
        for name in [
            "free_session",
            "mallocator",
            "memset_all (a.c:1)",
            "mmap_file",
            "_PyEval_EvalFrameDefault",
            "main",
            "realloc2",
            "brkfast",
            "free (/srv/shop.py:3)",
        ] {
            assert!(!is_allocator(name), "{name}");
        }
    }
}
