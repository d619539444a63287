//! What makes two stacks the same site.

use super::Frame;
use crate::host::unwind::Unwinder;
use snowshed_engine::model::SiteId;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

/// Frames that tell two sites apart: the innermost ones outside the C library. Where an interpreter called them, or code made at
/// run time, of these so many, so that its own functions surely count.
const SIGNIFICANT: usize = 8;
const CALLED: usize = 3;

/// Equal for the same place in the same programs, in this run and the next: from paths and file offsets, and names of code
/// that was made at run time and lies elsewhere once it is made anew. What a runtime puts between its own functions says only
/// how well these are compiled.
pub(super) fn identity(
    unwinder: &Unwinder,
    addresses: &[u64],
    told: &[Option<Arc<str>>],
    script: &[Arc<Frame>],
) -> SiteId {
    let own = |address: &&u64| !unwinder.code(**address).is_some_and(|code| is_c_library(&code.path));
    let mut hasher = DefaultHasher::new();
    let mut used = 0;
    let made = told.iter().position(Option::is_some);
    let most = if made.is_none() && script.is_empty() { SIGNIFICANT } else { CALLED };
    for address in addresses.iter().take(made.unwrap_or(addresses.len())).filter(own).take(most) {
        match unwinder.code(*address) {
            Some(code) => (&code.path, address - code.range.start + code.offset).hash(&mut hasher),
            None => address.hash(&mut hasher),
        }
        used += 1;
    }
    let between = made.into_iter().flat_map(|first| addresses[first..].iter().zip(&told[first..]));
    let between = between.filter(|(address, _)| unwinder.code(**address).is_none());
    for (address, name) in between.take(SIGNIFICANT.saturating_sub(used)) {
        match name {
            Some(name) => name.hash(&mut hasher),
            None => address.hash(&mut hasher),
        }
        used += 1;
    }
    for frame in script.iter().take(SIGNIFICANT.saturating_sub(used)) {
        (&frame.function, &frame.location).hash(&mut hasher);
        used += 1;
    }
    if used == 0 { SiteId(0) } else { SiteId(hasher.finish().max(1)) }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn is_c_library(path: &str) -> bool {
    let file = file_name(path);
    ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl"].iter().any(|prefix| file.starts_with(prefix))
}

/// Code of the interpreter itself, as its program and its library are called everywhere.
pub(super) fn is_python(unwinder: &Unwinder, address: u64) -> bool {
    let is_own = |path: &str| ["python3", "libpython3"].iter().any(|start| file_name(path).starts_with(start));
    unwinder.code(address).is_some_and(|code| is_own(&code.path))
}
