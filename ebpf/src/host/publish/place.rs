//! Where the threads of a process publish their trace context: the thread-local symbol `otel_thread_ctx_v1`, resolved as
//! the process's own loader has resolved it.
//!
//! In the program itself the place follows from its headers. In a library it is read from where the loader has written
//! it for the library's own code: an offset from the thread pointer (initial exec), a module's number and an offset
//! (general dynamic), or a TLS descriptor, which holds one or the other. So no list of the loader's is walked and nothing
//! is guessed. The table of a thread's blocks (DTV) is laid out by the C library: glibc and musl are known, others'
//! dynamic blocks read as "none".
//! One publisher a process: the program's symbol comes before a library's, and a library's before that of one higher up.

use super::{
    image::{Image, Kind, Relocation, Symbol, is_near},
    maps::Object,
    memory::Memory,
};
use crate::wire::Place;
use std::collections::HashSet;

/// Name of the symbol that the standard prescribes.
pub(crate) const SYMBOL: &str = "otel_thread_ctx_v1";
/// Modules of one process, and bytes of one module's block.
const MOST_MODULES: u64 = 1 << 16;
const MOST_BLOCK: u64 = 1 << 24;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody defines the symbol.
    Nowhere,
    /// It is there, and the loader has not got that far.
    NotYet,
    /// It is there, in a way that this version cannot follow.
    Unknown(&'static str),
    /// Here.
    At(Place, Way),
}

/// How the place was found, which is how the publisher was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// In the program.
    Program,
    /// In a library, at a fixed distance from the thread pointer.
    Library,
    /// In a library's own block, found by a module's number.
    Dynamic,
    /// The same, by a TLS descriptor.
    Descriptor,
}

/// Looks at everything that the process has loaded. `headers` is where the kernel has put the program's headers;
/// `plain` are objects that were looked at before and define nothing.
pub(crate) fn find<M: Memory>(memory: &M, objects: &[Object], headers: u64, plain: &mut HashSet<Object>) -> Found {
    let mut definers: Vec<(&Object, Image<'_, M>, Symbol)> = Vec::new();
    for object in objects {
        if plain.contains(object) {
            continue;
        }
        let image = Image::open(memory, object);
        let symbol = image.as_ref().and_then(|image| image.symbol(SYMBOL)).filter(|symbol| symbol.thread_local);
        match image.zip(symbol) {
            Some((image, symbol)) => definers.push((object, image, symbol)),
            None => {
                plain.insert(*object);
            }
        }
    }
    if let Some((_, image, symbol)) = definers.iter().find(|(_, image, _)| is_main(image, headers)) {
        return match image.beside_the_thread_pointer(symbol.value) {
            Some(offset) => Found::At(Place { offset, ..Place::default() }, Way::Program),
            None => Found::Unknown("the program's headers contradict the symbol"),
        };
    }
    let mut last = Found::Nowhere;
    for (object, image, symbol) in &definers {
        let about = |index: u32| {
            image.relocation(|relocation| {
                (relocation.symbol == index).then(|| resolved(memory, objects, object, relocation, symbol)).flatten()
            })
        };
        // By name first: another library's symbol may stand before this one.
        match about(symbol.index).or_else(|| about(0)).unwrap_or_else(|| users(memory, objects)) {
            found @ Found::At(..) => return found,
            other => last = other,
        }
    }
    last
}

fn is_main<M: Memory>(image: &Image<'_, M>, headers: u64) -> bool {
    image.headers == headers || image.is_program()
}

/// The library that defines it does not use it: somebody else does.
fn users<M: Memory>(memory: &M, objects: &[Object]) -> Found {
    let elsewhere = Symbol { index: 0, value: 0, thread_local: true };
    let used = objects.iter().find_map(|object| {
        let image = Image::open(memory, object)?;
        image.relocation(|relocation| {
            let about = image.names(&relocation, SYMBOL);
            about.then(|| resolved(memory, objects, object, relocation, &elsewhere)).flatten()
        })
    });
    used.unwrap_or(Found::Unknown("no code uses the symbol, so that the loader has not noted its place"))
}

/// What the loader has written for a relocation. A relocation of the image's whole block is as good: the symbol's
/// place in it is known.
fn resolved<M: Memory>(
    memory: &M,
    objects: &[Object],
    object: &Object,
    relocation: Relocation,
    symbol: &Symbol,
) -> Option<Found> {
    // What the symbol is away from what the loader resolved.
    let more = if relocation.symbol == 0 { symbol.value.wrapping_sub(relocation.addend) } else { 0 };
    let first = memory.word(relocation.at)?;
    let second = |memory: &M| memory.word(relocation.at.wrapping_add(8));
    Some(match relocation.kind {
        Kind::Static => near(first, more),
        Kind::Module => {
            // The pair's other half is the loader's too, or the linker's where it knew it.
            let offset = if relocation.symbol == 0 { symbol.value } else { second(memory)? };
            dynamic(memory, objects, first, offset, 0, Way::Dynamic)
        }
        // The function that resolves it: none yet.
        Kind::Descriptor if first == 0 => Found::NotYet,
        Kind::Descriptor => {
            let argument = second(memory)?;
            if is_near(argument as i64) {
                return Some(near(argument, more));
            }
            // One that is resolved by the first use points at its relocation until then.
            if (object.base..object.end).contains(&argument) {
                return Some(Found::NotYet);
            }
            let module = memory.word(argument)?;
            let offset = memory.word(argument.wrapping_add(8))?.wrapping_add(more);
            let generation = memory.word(argument.wrapping_add(16)).unwrap_or(0);
            dynamic(memory, objects, module, offset, generation, Way::Descriptor)
        }
    })
}

fn near(base: u64, more: u64) -> Found {
    match base.wrapping_add(more) as i64 {
        0 => Found::NotYet,
        offset if is_near(offset) => Found::At(Place { offset, ..Place::default() }, Way::Library),
        _ => Found::Unknown("its distance from the thread pointer is none"),
    }
}

fn dynamic<M: Memory>(memory: &M, objects: &[Object], module: u64, offset: u64, generation: u64, way: Way) -> Found {
    if module == 0 {
        return Found::NotYet;
    }
    let (Ok(number), Ok(inside)) = (u32::try_from(module), i64::try_from(offset)) else {
        return Found::Unknown("its module's number is none");
    };
    if module >= MOST_MODULES || offset >= MOST_BLOCK {
        return Found::Unknown("its module's number is none");
    }
    let arm = cfg!(target_arch = "aarch64");
    let place = match library(memory, objects) {
        Some(Library::Glibc) => Place {
            entry: module * 16,
            generation,
            table: if arm { 0 } else { 8 },
            // The word pair before the table's start.
            count: -16,
            ..Place::default()
        },
        Some(Library::Musl) => {
            Place { entry: module * 8, table: if arm { -8 } else { 8 }, count: 0, ..Place::default() }
        }
        None => return Found::Unknown("a C library whose table of thread-local blocks is not known"),
    };
    Found::At(Place { offset: inside, module: number, ..place }, way)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Glibc,
    Musl,
}

/// Whose loader it is: the one that looks thread-local symbols up. Only glibc's has the state that its debuggers read,
/// and only musl's is the C library as well.
fn library<M: Memory>(memory: &M, objects: &[Object]) -> Option<Library> {
    objects.iter().find_map(|object| {
        let image = Image::open(memory, object)?;
        image.symbol("__tls_get_addr")?;
        if image.symbol("_rtld_global").is_some() {
            Some(Library::Glibc)
        } else if image.symbol("__libc_start_main").is_some() && image.symbol("pthread_create").is_some() {
            Some(Library::Musl)
        } else {
            None
        }
    })
}
