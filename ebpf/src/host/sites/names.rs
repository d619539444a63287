//! What the frames of a site are called: by symbols and debug information, by what a runtime told, or by where they are.

use super::{Frame, Site, identity::is_c_library};
use crate::host::{naming, unwind::Unwinder};
use blazesym::{
    Pid as SymPid,
    symbolize::{
        Input, Symbolized, Symbolizer,
        source::{Process, Source},
    },
};

/// An address as `module+0xoffset`, or as what it is if no file is mapped there (code made at run time).
pub(super) fn place(unwinder: &Unwinder, address: u64) -> String {
    match unwinder.code(address) {
        Some(code) => {
            let module = code.path.rsplit('/').next().unwrap_or(&code.path);
            format!("{module}+{:#x}", address - code.range.start + code.offset)
        }
        None => format!("[generated code] {address:#x}"),
    }
}

pub(super) fn symbolize(symbolizer: &Symbolizer, unwinder: Option<&Unwinder>, site: &Site) -> Vec<Frame> {
    let unknown = |place: &String| Frame { function: place.clone(), location: None };
    // The C library's debug information, where it is installed, takes ten megabytes to tell lines of its own sources.
    let named = |is_wanted: fn(&str) -> bool, debug_syms| {
        let wanted = site.places.iter().zip(&site.told).zip(&site.addresses);
        let wanted = wanted.filter(|((place, told), _)| told.is_none() && is_wanted(place));
        let addresses: Vec<u64> = wanted.map(|(_, address)| *address).collect();
        // What a map of generated code says now is not what it said when the stack was taken.
        let process = Process { debug_syms, perf_map: false, ..Process::new(SymPid::from(site.pid)) };
        let source = Source::Process(process);
        let found = symbolizer.symbolize(&source, Input::AbsAddr(&addresses)).unwrap_or_default();
        found.into_iter().map(Some).chain(std::iter::repeat_with(|| None))
    };
    let (mut own, mut of_c) = (named(|place| !is_c_library(place), true), named(is_c_library, false));
    let mut frames = Vec::with_capacity(site.addresses.len());
    for ((place, told), address) in site.places.iter().zip(&site.told).zip(&site.addresses) {
        if let Some(told) = told {
            let own = || (naming::function(told), None);
            let (function, location) = naming::compiled(told).unwrap_or_else(own);
            frames.push(Frame { function, location });
            continue;
        }
        let is_c = is_c_library(place);
        let found = if is_c { of_c.next() } else { own.next() }.flatten();
        let Some(Symbolized::Sym(symbol)) = found else {
            let go = unwinder.and_then(|unwinder| unwinder.go(site.pid, *address));
            frames.push(match go {
                Some((function, location)) => Frame { function, location },
                None => unknown(place),
            });
            continue;
        };
        if is_c {
            let module = place.split('+').next().unwrap_or(place);
            frames.push(Frame { function: naming::function(&symbol.name), location: Some((module.to_owned(), 0)) });
            continue;
        }
        let place = |code: &blazesym::symbolize::CodeInfo<'_>| {
            Some((naming::source(&code.to_path().to_string_lossy()).into_owned(), code.line?))
        };
        // What the compiler inlined comes first: it is further in.
        for inner in symbol.inlined.iter().rev() {
            let location = inner.code_info.as_ref().and_then(place);
            frames.push(Frame { function: naming::function(&inner.name), location });
        }
        if let Some((function, location)) = naming::compiled(&symbol.name) {
            frames.push(Frame { function, location });
            continue;
        }
        let location = symbol.code_info.as_deref().and_then(place);
        frames.push(Frame { function: naming::function(&symbol.name), location });
    }
    frames
}
