//! The object file: its debug sections dropped, and two of them compared.
//!
//! Invariant: code, maps, relocations, symbols and BTF (`.BTF`, `.BTF.ext`) stay as the linker made them; DWARF, which
//! only served to make the BTF, goes. Done here and not by the machine's `strip`, whose bytes differ by version.

use anyhow::Context as _;
use object::{Object as _, ObjectSection as _, build, elf};
use std::collections::BTreeMap;

/// The object without DWARF.
///
/// # Errors
/// It is not an ELF object.
pub(super) fn strip(linked: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = build::elf::Builder::read(linked).context("read the linked object")?;
    let mut names_apart = false;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug_") || name.starts_with(".rel.debug_");
        names_apart |= matches!(section.data, build::elf::SectionData::SectionString);
    }
    if !names_apart {
        // LLVM keeps the names of sections and symbols in one table; the writer wants two.
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = build::elf::SectionData::SectionString;
    }
    builder.set_section_sizes();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("write the stripped object")?;
    Ok(stripped)
}

/// What differs between two objects, a line a section.
///
/// # Errors
/// One of them is not an object.
pub(super) fn differences(kept: &[u8], built: &[u8]) -> anyhow::Result<Vec<String>> {
    let kept = sections(kept).context("the checked-in object")?;
    let built = sections(built).context("the built object")?;
    let names: std::collections::BTreeSet<_> = kept.keys().chain(built.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        match (kept.get(name), built.get(name)) {
            (Some(_), None) => lines.push(format!("  {name}: only in the checked-in one")),
            (None, Some(_)) => lines.push(format!("  {name}: only in the built one")),
            (Some(old), Some(new)) if old != new => {
                let at = old.iter().zip(new).position(|(a, b)| a != b).unwrap_or(old.len().min(new.len()));
                lines.push(format!("  {name}: {} and {} bytes, first different at {at}", old.len(), new.len()));
            }
            _ => {}
        }
    }
    if lines.is_empty() {
        lines.push("  only the headers differ".into());
    }
    Ok(lines)
}

fn sections(bytes: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let file = object::File::parse(bytes)?;
    file.sections().map(|section| Ok((section.name()?.to_owned(), section.data()?.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relocatable BPF object with these sections.
    fn made_of(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = build::elf::Builder::new(object::Endianness::Little, true);
        builder.header.e_type = elf::ET_REL;
        builder.header.e_machine = elf::EM_BPF;
        for (name, bytes) in parts {
            let section = builder.sections.add();
            section.name = name.as_bytes().to_vec().into();
            section.sh_type = elf::SHT_PROGBITS;
            section.sh_addralign = 1;
            section.data = build::elf::SectionData::Data(bytes.to_vec().into());
        }
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = elf::SHT_STRTAB;
        names.data = build::elf::SectionData::SectionString;
        builder.set_section_sizes();
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn keeps_code_and_btf_and_drops_dwarf() {
        let linked =
            made_of(&[(".text", b"code"), (".debug_info", b"dwarf"), (".BTF", b"types"), (".BTF.ext", b"lines")]);
        let stripped = strip(&linked).unwrap();
        let left = sections(&stripped).unwrap();
        assert_eq!(left.get(".text").unwrap(), b"code");
        assert_eq!(left.get(".BTF").unwrap(), b"types");
        assert_eq!(left.get(".BTF.ext").unwrap(), b"lines");
        assert!(!left.contains_key(".debug_info"));
        assert_eq!(strip(&stripped).unwrap(), stripped, "nothing is left to strip");
    }

    #[test]
    fn names_the_section_that_differs() {
        let (old, new) =
            (made_of(&[(".text", b"abcd"), ("maps", b"1")]), made_of(&[(".text", b"abxd"), ("ring", b"1")]));
        let lines = differences(&old, &new).unwrap();
        assert!(lines.iter().any(|line| line.contains(".text") && line.contains("at 2")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("maps: only in the checked-in one")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("ring: only in the built one")), "{lines:?}");
    }

    #[test]
    fn an_object_that_is_none_is_an_error() {
        assert!(strip(b"not an object").is_err());
    }
}
