//! What only a program's file tells, not its memory: symbols that it does not show, and who made it.

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};
use std::{fs::File, path::Path};

/// The longest build id that is told, characters.
const BUILD_ID: usize = 96;

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

/// The build id of a program in hexadecimal digits, or what the Go toolchain wrote in its place.
pub(crate) fn build_id(executable: &Path) -> Option<String> {
    let file = File::open(executable).ok()?;
    // SAFETY: as above.
    let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let elf = object::File::parse(&map[..]).ok()?;
    if let Ok(Some(id)) = elf.build_id() {
        return Some(id.iter().take(BUILD_ID / 2).map(|byte| format!("{byte:02x}")).collect());
    }
    let note = elf.section_by_name(".note.go.buildid")?.data().ok()?;
    // Three words of lengths and kind, then `Go` and two zeros.
    let text: String =
        note.get(16..)?.iter().take(BUILD_ID).take_while(|byte| **byte != 0).map(|b| *b as char).collect();
    (!text.is_empty() && text.chars().all(|letter| letter.is_ascii_graphic())).then_some(text)
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
    fn a_program_has_a_build_id_and_a_text_has_none() {
        let own = build_id(Path::new("/proc/self/exe"));
        // Whether a linker writes one is its own affair; what is there is digits.
        assert!(own.is_none_or(|id| id.len() >= 16 && id.chars().all(|digit| digit.is_ascii_hexdigit())));
        let shell = build_id(Path::new("/bin/sh")).unwrap();
        assert_eq!(shell.len(), 40, "{shell}");
        assert_eq!(build_id(Path::new("/proc/self/status")), None);
        assert_eq!(build_id(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_program_without_the_symbol_publishes_none() {
        for program in ["/proc/self/exe", "/nonexistent", "/etc/passwd"] {
            assert_eq!(hidden_symbol(Path::new(program), "otel_thread_ctx_v1"), None, "{program}");
        }
        assert!(!is_go(Path::new("/proc/self/exe")) && !is_go(Path::new("/nonexistent")));
    }
}
