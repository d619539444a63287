//! Unwinding copied stacks with the target's own DWARF tables: one unwinder per process.
//!
//! Cost: per frame, not per module; sections stay memory-mapped, so memory follows what is touched.
//! Invariant: a stack that cannot be unwound further ends; nothing is invented.

use framehop::{
    ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use memmap2::{Mmap, UncheckedAdvice};
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, SegmentFlags};
use snowshed_engine::model::Pid;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::{Deref, Range},
    sync::Arc,
};

use super::{functions, pclntab};
use crate::wire::Registers;

/// Frames that are followed at most.
const DEEPEST: usize = 128;
/// Modules of a process that are read at most.
const MOST_MODULES: usize = 512;

/// A section's bytes: a part of the mapped file, or unpacked.
pub(crate) enum Bytes {
    Mapped(Arc<Mmap>, Range<usize>),
    Unpacked(Vec<u8>),
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Unpacked(Vec::new())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => map.get(range.clone()).unwrap_or_default(),
            Self::Unpacked(bytes) => bytes,
        }
    }
}

/// A mapped file: which addresses are its code, and how to make them independent of this run.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) range: Range<u64>,
    pub(crate) path: String,
    /// Start of the range in the file.
    pub(crate) offset: u64,
}

pub(crate) struct Unwinder {
    unwinder: UnwinderX86_64<Bytes, MayAllocateDuringUnwind>,
    cache: CacheX86_64<MayAllocateDuringUnwind>,
    code: Vec<Mapped>,
    /// Memory in which a runtime makes code.
    made: Vec<Range<u64>>,
    /// Files whose sections it reads.
    files: Vec<Arc<Mmap>>,
    starts: Vec<Starts>,
}

/// Where the functions of a file begin.
struct Starts {
    range: Range<u64>,
    /// Where the table lies in the process.
    at: u64,
    table: Bytes,
}

/// The executable mappings, by `/proc/PID/maps`: of files, and of memory that belongs to none.
fn code_of(pid: Pid) -> std::io::Result<(Vec<Mapped>, Vec<Range<u64>>)> {
    Ok(code_in(&fs::read_to_string(format!("/proc/{pid}/maps"))?))
}

fn code_in(maps: &str) -> (Vec<Mapped>, Vec<Range<u64>>) {
    let parse = |line: &'_ str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let path = fields.nth(2).unwrap_or_default().to_owned();
        let hex = |text| u64::from_str_radix(text, 16).ok();
        permissions.contains('x').then_some(Mapped { range: hex(start)?..hex(end)?, path, offset })
    };
    let (of_files, others): (Vec<Mapped>, Vec<Mapped>) =
        maps.lines().filter_map(parse).partition(|mapped| mapped.path.starts_with('/'));
    // Memory may have been given a name.
    let is_made = |mapped: &Mapped| mapped.path.is_empty() || mapped.path.starts_with("[anon:");
    let made = others.into_iter().filter(is_made).map(|mapped| mapped.range);
    (of_files.into_iter().take(MOST_MODULES).collect(), made.take(MOST_MODULES).collect())
}

/// The mapped file itself where that is allowed, else what lies at its path in the target's root.
fn open(pid: Pid, mapped: &Mapped) -> Option<File> {
    let direct = format!("/proc/{pid}/map_files/{:x}-{:x}", mapped.range.start, mapped.range.end);
    File::open(direct).or_else(|_| File::open(format!("/proc/{pid}/root{}", mapped.path))).ok()
}

impl Unwinder {
    pub(crate) fn new(pid: Pid) -> std::io::Result<Self> {
        let (code, made) = code_of(pid)?;
        let mut unwinder = UnwinderX86_64::new();
        let mut first: BTreeMap<&str, &Mapped> = BTreeMap::new();
        for mapped in &code {
            first.entry(&mapped.path).or_insert(mapped);
        }
        let (mut files, mut starts) = (Vec::new(), Vec::new());
        for (path, mapped) in first {
            if let Some((module, file, functions)) = module(pid, path, mapped, &code) {
                unwinder.add_module(module);
                files.push(file);
                starts.extend(functions);
            }
        }
        let read = Self { unwinder, cache: CacheX86_64::new(), code, made, files, starts };
        read.let_go();
        Ok(read)
    }

    /// Lets go of the pages of files that were touched. They stay in the page cache, where the process itself has them; as long
    /// as they are mapped here they count as this process's memory.
    pub(crate) fn let_go(&self) {
        for file in &self.files {
            // SAFETY: a shared mapping that nobody writes to: what is dropped reads the same when it is touched again.
            let _refused = unsafe { file.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    /// Code that holds an address.
    pub(crate) fn code(&self, address: u64) -> Option<&Mapped> {
        // As the kernel lists them: by address.
        let after = self.code.partition_point(|mapped| mapped.range.start <= address);
        self.code[..after].last().filter(|mapped| mapped.range.contains(&address))
    }

    /// Where the function begins that holds an address; the address itself where that is not known.
    pub(crate) fn start(&self, address: u64) -> u64 {
        let starts = self.starts.iter().find(|starts| starts.range.contains(&address));
        let begins = |starts: &Starts| {
            let begin = functions::start(&starts.table, address.wrapping_sub(starts.at).cast_signed())?;
            Some(starts.at.wrapping_add_signed(begin)).filter(|begin| starts.range.contains(begin))
        };
        starts.and_then(begins).unwrap_or(address)
    }

    /// Whether an address lies where code is made, of which no file tells how to unwind it.
    pub(crate) fn is_made(&self, address: u64) -> bool {
        self.made.iter().any(|range| range.contains(&address))
    }

    /// The Go function that holds an address, for programs without symbols.
    pub(crate) fn go(&self, pid: Pid, address: u64) -> Option<pclntab::Named> {
        let code = self.code(address)?;
        let file = open(pid, code)?;
        // SAFETY: as for the unwind tables below.
        let map = file.metadata().ok()?.is_file().then(|| unsafe { Mmap::map(&file) })?.ok()?;
        pclntab::resolve(&map, address - code.range.start + code.offset)
    }

    /// Addresses inside the calls, innermost first. `stack` starts at `base`.
    pub(crate) fn unwind(&mut self, registers: Registers, base: u64, stack: &[u8]) -> Vec<u64> {
        let mut read = |address: u64| {
            let at = usize::try_from(address.wrapping_sub(base)).map_err(|_| ())?;
            let bytes = stack.get(at..at.checked_add(8).ok_or(())?).ok_or(())?;
            bytes.try_into().map(u64::from_le_bytes).map_err(|_| ())
        };
        let start = UnwindRegsX86_64::new(registers.ip, registers.sp, registers.bp);
        let mut frames = self.unwinder.iter_frames(registers.ip, start, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while addresses.len() < DEEPEST {
            match frames.next() {
                Ok(Some(frame)) => addresses.push(frame.address_for_lookup()),
                // The end, or a stack that this copy or these tables do not explain further.
                Ok(None) | Err(_) => break,
            }
        }
        addresses
    }
}

/// The unwind tables of one mapped file, that file, and where its functions begin.
fn module(
    pid: Pid,
    path: &str,
    mapped: &Mapped,
    code: &[Mapped],
) -> Option<(Module<Bytes>, Arc<Mmap>, Option<Starts>)> {
    let file = open(pid, mapped)?;
    // SAFETY: files that are mapped for execution are not rewritten in place by sane tools; if one is
    // truncated the agent gets SIGBUS as any profiler would, so only regular files are mapped.
    let map = file.metadata().ok()?.is_file().then(|| unsafe { Mmap::map(&file) })?.ok()?;
    let map = Arc::new(map);
    let elf = object::File::parse(&map[..]).ok()?;
    // The executable segment decides: one page of the file may belong to two segments of different bias.
    let segment = elf.segments().find(|segment| {
        let (start, length) = segment.file_range();
        let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        executable && start & !4095 <= mapped.offset && mapped.offset < start.saturating_add(length)
    })?;
    let base = segment.address().wrapping_sub(segment.file_range().0).wrapping_add(mapped.offset);
    let bias = mapped.range.start.wrapping_sub(base);
    let section = |name: &str| {
        let section = elf.section_by_name(name)?;
        let range = section.compressed_file_range().ok()?;
        let bytes = if range.format == CompressionFormat::None {
            let start = usize::try_from(range.offset).ok()?;
            Bytes::Mapped(map.clone(), start..start.checked_add(usize::try_from(range.compressed_size).ok()?)?)
        } else {
            Bytes::Unpacked(section.uncompressed_data().ok()?.into_owned())
        };
        Some((section.address()..section.address().saturating_add(section.size()), bytes))
    };
    let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
    let debug_frame = if eh_frame.is_none() { section(".debug_frame").map(|(_, bytes)| bytes) } else { None };
    let own = code.iter().filter(|other| other.path == path);
    let bounds = own.fold(mapped.range.clone(), |all, one| all.start.min(one.range.start)..all.end.max(one.range.end));
    let starts = section(".eh_frame_hdr").map(|(range, table)| {
        let at = range.start.wrapping_add(bias);
        Starts { range: bounds.clone(), at, table }
    });
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: section(".text").map(|(range, _)| range),
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        got_svma: section(".got").map(|(range, _)| range),
        debug_frame,
        ..Default::default()
    };
    Some((Module::new(path.to_owned(), bounds, bias, sections), map, starts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_of_files_or_made() {
        let maps = "1000-2000 r-xp 00001000 fe:00 9   /usr/bin/node\n2000-3000 rw-p 00002000 fe:00 9   /usr/bin/node\n\
                    5000-7000 rwxp 00000000 00:00 0 \n8000-9000 r-xp 00000000 00:00 0                          [vdso]\n\
                    9000-a000 rw-p 00000000 00:00 0 \nb000-c000 r-xp 00000000 00:00 0 [anon:v8]\nbroken\n";
        let (code, made) = code_in(maps);
        assert_eq!((code.len(), code[0].range.clone(), code[0].offset), (1, 0x1000..0x2000, 0x1000));
        assert_eq!(made, [0x5000..0x7000, 0xb000..0xc000]);
    }

    #[test]
    fn an_address_has_its_file_and_its_function() {
        let own = Unwinder::new(std::process::id()).unwrap();
        let all = || own.code.iter().map(|mapped| mapped.range.clone());
        assert!(all().zip(all().skip(1)).all(|(one, next)| one.end <= next.start), "{:?}", own.code);
        for range in all() {
            for address in [range.start, range.end - 1] {
                assert_eq!(own.code(address).map(|mapped| mapped.range.clone()), Some(range.clone()));
            }
            assert!(own.code(range.start - 1).is_none_or(|before| before.range.end == range.start));
        }
        let function = code_in as fn(&str) -> _ as usize as u64;
        assert_eq!((own.start(function), own.start(function + 9)), (function, function));
        assert_eq!((own.start(1), own.code(1).is_none()), (1, true));
    }
}
