//! What only a program's file tells, not its memory: symbols that it does not show, and who made it.

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};
use std::{fs::File, path::Path};

/// Offset of a thread-local symbol from the thread pointer (negative), where the program has it in its symbol table
/// only. The ABI's variant II: the block ends at the thread pointer.
pub(crate) fn hidden_symbol(executable: &Path, name: &str) -> Option<i64> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let file = File::open(executable).ok()?;
    // SAFETY: a running executable cannot be written or shortened (ETXTBSY); the parser checks every offset.
    let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let elf = object::File::parse(&map[..]).ok()?;
    let (size, align) = tls_block(&elf)?;
    let symbol = elf
        .symbols()
        .find(|symbol| symbol.kind() == SymbolKind::Tls && !symbol.is_undefined() && symbol.name() == Ok(name))?;
    let block = i64::try_from(size.checked_next_multiple_of(align)?).ok()?;
    let offset = i64::try_from(symbol.address()).ok()? - block;
    (-(1 << 24)..0).contains(&offset).then_some(offset)
}

/// Made by the Go toolchain, whose runtime hands the work of a thread that blocks or computes to other threads.
pub(crate) fn is_go(executable: &Path) -> bool {
    let Ok(file) = File::open(executable) else { return false };
    // SAFETY: as above.
    let Ok(map) = (unsafe { memmap2::Mmap::map(&file) }) else { return false };
    object::File::parse(&map[..]).is_ok_and(|elf| elf.section_by_name(".go.buildinfo").is_some())
}

/// Size and alignment of the TLS segment, from its sections (`.tdata`, then `.tbss`).
fn tls_block(file: &object::File<'_>) -> Option<(u64, u64)> {
    let tls = |section: &object::Section<'_, '_>| matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & u64::from(elf::SHF_TLS) != 0);
    let mut bounds: Option<(u64, u64)> = None;
    let mut align = 1;
    for section in file.sections().filter(tls) {
        let (start, end) = (section.address(), section.address().checked_add(section.size())?);
        let (low, high) = bounds.unwrap_or((start, end));
        bounds = Some((low.min(start), high.max(end)));
        align = align.max(section.align().max(1));
    }
    let (low, high) = bounds?;
    Some((high - low, align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_the_symbol_publishes_none() {
        for program in ["/proc/self/exe", "/nonexistent", "/etc/passwd"] {
            assert_eq!(hidden_symbol(Path::new(program), "otel_thread_ctx_v1"), None, "{program}");
        }
        assert!(!is_go(Path::new("/proc/self/exe")) && !is_go(Path::new("/nonexistent")));
    }
}
