//! A program or library as it lies in a process's memory: its symbols and the relocations of its thread-local ones.
//!
//! Read from memory, not from the file: so it does not matter in which mount namespace the file lies, whether it was
//! deleted, stripped or replaced meanwhile. What the loader reads at start is what is read here, by the generic ELF ABI.
//! Invariant: every number is hostile: each table and chain has a bound, sums do not overflow, and a wrong answer is
//! only another address that is read with a check. Cost: some ten reads where the symbol is missing.

use super::{maps::Object, memory::Memory};

const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const ET_EXEC: u16 = 2;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_TLS: u32 = 7;
const STT_TLS: u8 = 6;
const DF_1_PIE: u64 = 0x0800_0000;
const PAGE: u64 = 4096;

/// Program headers, bytes of the dynamic section, steps of a hash chain, bytes of one relocation table.
const MOST_HEADERS: u16 = 128;
const MOST_DYNAMIC: u64 = 16 << 10;
const MOST_STEPS: u32 = 1024;
const MOST_RELOCATIONS: u64 = 48 << 20;
/// Relocations are read in pieces of this many.
const PIECE: usize = 2048;

/// A 16-bit, 32-bit or 64-bit number of a structure.
fn at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    if let Some(found) = bytes.get(from..from + N) {
        part.copy_from_slice(found);
    }
    part
}

fn half(bytes: &[u8], from: usize) -> u16 {
    u16::from_le_bytes(at(bytes, from))
}

fn word(bytes: &[u8], from: usize) -> u32 {
    u32::from_le_bytes(at(bytes, from))
}

fn long(bytes: &[u8], from: usize) -> u64 {
    u64::from_le_bytes(at(bytes, from))
}

/// What a relocation asks the loader to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The number of the module.
    Module,
    /// The offset from the thread pointer.
    Static,
    /// A TLS descriptor.
    Descriptor,
}

impl Kind {
    fn of(machine: u16, number: u32) -> Option<Self> {
        match (machine, number) {
            (EM_X86_64, 16) | (EM_AARCH64, 1028) => Some(Self::Module),
            (EM_X86_64, 18) | (EM_AARCH64, 1030) => Some(Self::Static),
            (EM_X86_64, 36) | (EM_AARCH64, 1031) => Some(Self::Descriptor),
            _ => None,
        }
    }
}

/// A relocation of a thread-local symbol, or of the image's own block (symbol 0).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    pub(crate) kind: Kind,
    /// Where the loader writes.
    pub(crate) at: u64,
    pub(crate) symbol: u32,
    pub(crate) addend: u64,
}

/// A symbol that the image defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) index: u32,
    pub(crate) value: u64,
    pub(crate) thread_local: bool,
}

/// The block of thread-local storage that the image wants.
#[derive(Clone, Copy, Debug)]
struct Block {
    address: u64,
    size: u64,
    align: u64,
}

/// Tables of the dynamic section; 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Tables {
    symbols: u64,
    strings: u64,
    gnu_hash: u64,
    hash: u64,
    relocations: [(u64, u64); 2],
    flags: u64,
}

pub(crate) struct Image<'m, M> {
    memory: &'m M,
    bias: u64,
    machine: u16,
    fixed: bool,
    /// Where its program headers lie.
    pub(crate) headers: u64,
    block: Option<Block>,
    tables: Tables,
}

impl<'m, M: Memory> Image<'m, M> {
    /// `None`: it is not one.
    pub(crate) fn open(memory: &'m M, object: &Object) -> Option<Self> {
        let header: [u8; 64] = memory.bytes(object.base)?;
        if header[..6] != MAGIC || half(&header, 54) != 56 || half(&header, 56) > MOST_HEADERS {
            return None;
        }
        let headers = object.base.checked_add(long(&header, 32))?;
        let mut image = Self {
            memory,
            bias: object.base,
            machine: half(&header, 18),
            fixed: half(&header, 16) == ET_EXEC,
            headers,
            block: None,
            tables: Tables::default(),
        };
        let mut table = vec![0; usize::from(half(&header, 56)) * 56];
        memory.read(headers, &mut table).ok()?;
        let (mut dynamic, mut loaded) = (None, false);
        for entry in table.chunks_exact(56) {
            let (offset, address, size) = (long(entry, 8), long(entry, 16), long(entry, 40));
            match word(entry, 0) {
                // The first one holds the file's beginning.
                PT_LOAD if !loaded && offset < PAGE => {
                    image.bias = object.base.wrapping_sub(address & !(PAGE - 1));
                    loaded = true;
                }
                PT_DYNAMIC => dynamic = Some((address, size)),
                PT_TLS => image.block = Some(Block { address, size, align: long(entry, 48).max(1) }),
                _ => {}
            }
        }
        if let Some((address, size)) = dynamic {
            image.dynamic(address, size);
        }
        Some(image)
    }

    fn dynamic(&mut self, address: u64, size: u64) {
        let mut table = vec![0; usize::try_from(size.min(MOST_DYNAMIC)).unwrap_or(0)];
        if self.memory.read(self.bias.wrapping_add(address), &mut table).is_err() {
            return;
        }
        // Some loaders write the address where the file has the offset.
        let bias = self.bias;
        let place = |value: u64| if value < bias { bias.wrapping_add(value) } else { value };
        let tables = &mut self.tables;
        for entry in table.chunks_exact(16) {
            let value = long(entry, 8);
            match long(entry, 0) {
                0 => break,
                2 => tables.relocations[1].1 = value,
                4 => tables.hash = place(value),
                5 => tables.strings = place(value),
                6 => tables.symbols = place(value),
                7 => tables.relocations[0].0 = place(value),
                8 => tables.relocations[0].1 = value,
                23 => tables.relocations[1].0 = place(value),
                0x6fff_fef5 => tables.gnu_hash = place(value),
                0x6fff_fffb => tables.flags = value,
                _ => {}
            }
        }
    }

    /// Where a symbol lies that is not of one thread.
    pub(crate) fn address(&self, symbol: &Symbol) -> u64 {
        self.bias.wrapping_add(symbol.value)
    }

    /// It says of itself that it is a program, not a library.
    pub(crate) fn is_program(&self) -> bool {
        self.fixed || self.tables.flags & DF_1_PIE != 0
    }

    /// A symbol that it defines and shows.
    pub(crate) fn symbol(&self, name: &str) -> Option<Symbol> {
        if self.tables.symbols == 0 || self.tables.strings == 0 {
            None
        } else if self.tables.gnu_hash != 0 {
            self.gnu_symbol(name)
        } else if self.tables.hash != 0 {
            self.old_symbol(name)
        } else {
            None
        }
    }

    fn gnu_symbol(&self, name: &str) -> Option<Symbol> {
        let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)));
        let table = self.tables.gnu_hash;
        let header: [u8; 16] = self.memory.bytes(table)?;
        let (buckets, first) = (word(&header, 0), word(&header, 4));
        let (blooms, shift) = (word(&header, 8), word(&header, 12));
        if buckets == 0 || blooms == 0 {
            return None;
        }
        let bloom = table.wrapping_add(16);
        let filter = self.memory.word(bloom.wrapping_add(u64::from((hash / 64) % blooms) * 8))?;
        let bits = 1_u64 << (hash % 64) | 1_u64 << (hash.wrapping_shr(shift) % 64);
        if filter & bits != bits {
            return None;
        }
        let start = bloom.wrapping_add(u64::from(blooms) * 8);
        let mut index = self.memory.half(start.wrapping_add(u64::from(hash % buckets) * 4))?;
        let chain = start.wrapping_add(u64::from(buckets) * 4);
        for _ in 0..MOST_STEPS {
            let found = self.memory.half(chain.wrapping_add(u64::from(index.checked_sub(first)?) * 4))?;
            if found | 1 == hash | 1
                && let Some(symbol) = self.defined(index, name)
            {
                return Some(symbol);
            }
            if found & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
        None
    }

    fn old_symbol(&self, name: &str) -> Option<Symbol> {
        let hash = name.bytes().fold(0_u32, |hash, byte| {
            let hash = (hash << 4).wrapping_add(u32::from(byte));
            let high = hash & 0xf000_0000;
            (hash ^ high >> 24) & !high
        });
        let table = self.tables.hash;
        let buckets = self.memory.half(table).filter(|buckets| *buckets != 0)?;
        let start = table.wrapping_add(8);
        let mut index = self.memory.half(start.wrapping_add(u64::from(hash % buckets) * 4))?;
        for _ in 0..MOST_STEPS {
            if index == 0 {
                return None;
            }
            if let Some(symbol) = self.defined(index, name) {
                return Some(symbol);
            }
            let chain = start.wrapping_add(u64::from(buckets) * 4);
            index = self.memory.half(chain.wrapping_add(u64::from(index) * 4))?;
        }
        None
    }

    fn entry(&self, index: u32) -> Option<[u8; 24]> {
        self.memory.bytes(self.tables.symbols.wrapping_add(u64::from(index) * 24))
    }

    fn is_called(&self, entry: &[u8; 24], name: &str) -> bool {
        let mut found = vec![0; name.len() + 1];
        let from = self.tables.strings.wrapping_add(u64::from(word(entry, 0)));
        self.memory.read(from, &mut found).is_ok() && found.strip_suffix(b"\0") == Some(name.as_bytes())
    }

    fn defined(&self, index: u32, name: &str) -> Option<Symbol> {
        let entry = self.entry(index)?;
        let found = half(&entry, 6) != 0 && self.is_called(&entry, name);
        found.then(|| Symbol { index, value: long(&entry, 8), thread_local: entry[4] & 15 == STT_TLS })
    }

    /// Whether a relocation is about this symbol, defined here or elsewhere.
    pub(crate) fn names(&self, relocation: &Relocation, name: &str) -> bool {
        relocation.symbol != 0 && self.entry(relocation.symbol).is_some_and(|entry| self.is_called(&entry, name))
    }

    /// Its relocations of thread-local storage, until one is the one that is looked for.
    pub(crate) fn relocation<T>(&self, mut pick: impl FnMut(Relocation) -> Option<T>) -> Option<T> {
        for (start, size) in self.tables.relocations {
            if start == 0 {
                continue;
            }
            let mut left = usize::try_from(size.min(MOST_RELOCATIONS)).unwrap_or(0) / 24;
            let mut from = start;
            let mut piece = vec![0; left.min(PIECE) * 24];
            while left > 0 {
                let bytes = &mut piece[..left.min(PIECE) * 24];
                if self.memory.read(from, bytes).is_err() {
                    break;
                }
                for entry in bytes.chunks_exact(24) {
                    let info = long(entry, 8);
                    if let Some(kind) = Kind::of(self.machine, u32::try_from(info & 0xffff_ffff).unwrap_or(0)) {
                        let at = self.bias.wrapping_add(long(entry, 0));
                        let symbol = u32::try_from(info >> 32).unwrap_or(0);
                        let found = pick(Relocation { kind, at, symbol, addend: long(entry, 16) });
                        if found.is_some() {
                            return found;
                        }
                    }
                }
                from = from.wrapping_add(bytes.len() as u64);
                left -= bytes.len() / 24;
            }
        }
        None
    }

    /// Where a symbol of the program itself lies from the thread pointer: its block is the first one beside it.
    pub(crate) fn beside_the_thread_pointer(&self, value: u64) -> Option<i64> {
        let Block { address, size, align } = self.block?;
        if !align.is_power_of_two() || value.checked_add(8)? > size {
            return None;
        }
        let offset = match self.machine {
            // Variant II: the block ends at the thread pointer, and begins as its address is aligned.
            EM_X86_64 => {
                let room = size.checked_add(address.wrapping_neg().wrapping_sub(size) & (align - 1))?;
                i64::try_from(value).ok()?.checked_sub(i64::try_from(room).ok()?)?
            }
            // Variant I: it begins after the two words of the thread's head.
            EM_AARCH64 => {
                let start = 16_u64.checked_next_multiple_of(align)?.checked_add(address & (align - 1))?;
                i64::try_from(start.checked_add(value)?).ok()?
            }
            _ => return None,
        };
        is_near(offset).then_some(offset)
    }
}

/// Static blocks are small; what is far away is none.
pub(crate) fn is_near(offset: i64) -> bool {
    let near = if cfg!(target_arch = "aarch64") { 16..1 << 24 } else { -(1 << 24)..0 };
    near.contains(&offset)
}
