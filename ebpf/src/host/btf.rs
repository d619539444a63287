//! Byte offsets of structure members, from the running kernel's BTF.
//!
//! Reads the format's types once (some megabytes) and answers dotted paths through structures,
//! unions and anonymous members. Format: Documentation/bpf/btf.rst of the Linux sources.
//! Invariant: a malformed file gives an error, never a panic: every read is checked.

use std::path::Path;

/// Where the kernel shows its types.
pub(crate) const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// What can be wrong with the types.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    #[error("read {KERNEL}: {0}")]
    Read(#[from] std::io::Error),
    #[error("{KERNEL}: not BTF, or cut short")]
    Malformed,
    #[error("this kernel has no structure `{0}`")]
    NoStructure(String),
    #[error("this kernel's `{0}` has no member `{1}`")]
    NoMember(String, String),
}

const KIND_POINTER: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNCTION: u32 = 12;

/// The types of a kernel.
pub(crate) struct Btf {
    data: Vec<u8>,
    types: Vec<usize>,
    strings: usize,
}

impl Btf {
    pub(crate) fn kernel() -> Result<Self, BtfError> {
        Self::parse(std::fs::read(Path::new(KERNEL))?)
    }

    fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let mut btf = Self { data, types: vec![usize::MAX], strings: 0 };
        if btf.data.get(..2) != Some(&0xeb9f_u16.to_le_bytes()[..]) {
            return Err(BtfError::Malformed);
        }
        let header = btf.u32(4)? as usize;
        let (mut at, length) = (header + btf.u32(8)? as usize, btf.u32(12)? as usize);
        btf.strings = header + btf.u32(16)? as usize;
        let end = at + length;
        while at < end {
            let info = btf.u32(at + 4)?;
            let members = (info & 0xffff) as usize;
            btf.types.push(at);
            at += 12
                + match (info >> 24) & 0x1f {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * members,
                    6 | 13 => 8 * members,
                    _ => 0,
                };
        }
        Ok(btf)
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = self.data.get(at..at + 4).ok_or(BtfError::Malformed)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| BtfError::Malformed)?))
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let start = self.strings + offset as usize;
        self.data.get(start..start + name.len()) == Some(name.as_bytes())
            && self.data.get(start + name.len()) == Some(&0)
    }

    /// A type without its typedefs and qualifiers.
    fn plain(&self, mut id: u32) -> Result<(usize, u32), BtfError> {
        // Chains are short; the bound only stops a malformed circle.
        for _ in 0..32 {
            let at = *self.types.get(id as usize).ok_or(BtfError::Malformed)?;
            let info = self.u32(at + 4)?;
            match (info >> 24) & 0x1f {
                8..=11 | 18 => id = self.u32(at + 8)?,
                _ => return Ok((at, info)),
            }
        }
        Err(BtfError::Malformed)
    }

    /// Offset in bytes and type of a member, looking into anonymous members too.
    fn member(&self, id: u32, name: &str, depth: u32) -> Result<Option<(u64, u32)>, BtfError> {
        let (at, info) = self.plain(id)?;
        if depth == 0 || !matches!((info >> 24) & 0x1f, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        for index in 0..(info & 0xffff) as usize {
            let entry = at + 12 + 12 * index;
            let (label, kind, position) = (self.u32(entry)?, self.u32(entry + 4)?, self.u32(entry + 8)?);
            let bits = if info >> 31 == 1 { position & 0xff_ffff } else { position };
            let offset = u64::from(bits / 8);
            if self.is_named(label, name) {
                return Ok(Some((offset, kind)));
            }
            if self.is_named(label, "")
                && let Some((inner, kind)) = self.member(kind, name, depth - 1)?
            {
                return Ok(Some((offset + inner, kind)));
            }
        }
        Ok(None)
    }

    /// Bytes of a type.
    fn size(&self, id: u32, depth: u32) -> Result<u64, BtfError> {
        let (at, info) = self.plain(id)?;
        match (info >> 24) & 0x1f {
            KIND_POINTER => Ok(8),
            KIND_ARRAY if depth > 0 => {
                Ok(self.size(self.u32(at + 12)?, depth - 1)?.wrapping_mul(u64::from(self.u32(at + 20)?)))
            }
            _ => Ok(u64::from(self.u32(at + 8)?)),
        }
    }

    /// Offset in bytes and type of an array's element; `None`: this is no array of so many.
    fn element(&self, id: u32, index: u32) -> Result<Option<(u64, u32)>, BtfError> {
        let (at, info) = self.plain(id)?;
        if (info >> 24) & 0x1f != KIND_ARRAY || index >= self.u32(at + 20)? {
            return Ok(None);
        }
        let element = self.u32(at + 12)?;
        Ok(Some((self.size(element, 8)?.wrapping_mul(u64::from(index)), element)))
    }

    /// The byte offset of a dotted member path in a structure. Numbers are positions in arrays. What kernels call
    /// differently is told as `this|or.that`: the first that is there counts.
    pub(crate) fn offset(&self, structure: &str, paths: &str) -> Result<u64, BtfError> {
        let mut first = None;
        for path in paths.split('|') {
            match self.one(structure, path) {
                Err(error @ BtfError::NoMember(..)) => first = first.or(Some(error)),
                found => return found,
            }
        }
        Err(first.unwrap_or(BtfError::Malformed))
    }

    /// The number of the first type of a kind that has this name.
    fn named(&self, wanted: u32, name: &str) -> Result<Option<u32>, BtfError> {
        for index in 1..self.types.len() {
            let at = self.types[index];
            if (self.u32(at + 4)? >> 24) & 0x1f == wanted && self.is_named(self.u32(at)?, name) {
                return Ok(Some(index as u32));
            }
        }
        Ok(None)
    }

    /// A structure's number.
    pub(crate) fn structure(&self, name: &str) -> Result<u32, BtfError> {
        self.named(KIND_STRUCT, name)?.ok_or_else(|| BtfError::NoStructure(name.to_owned()))
    }

    /// The number of a function that programs may call, if this kernel has it.
    pub(crate) fn function(&self, name: &str) -> Result<Option<u32>, BtfError> {
        self.named(KIND_FUNCTION, name)
    }

    fn one(&self, structure: &str, path: &str) -> Result<u64, BtfError> {
        let mut id = self.structure(structure)?;
        let mut total = 0;
        for part in path.split('.') {
            let found = match part.parse() {
                Ok(index) => self.element(id, index)?,
                Err(_) => self.member(id, part, 8)?,
            };
            let (offset, kind) = found.ok_or_else(|| BtfError::NoMember(structure.to_owned(), part.to_owned()))?;
            total += offset;
            id = kind;
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_members_of_the_running_kernel() {
        let btf = Btf::kernel().unwrap();
        // The list head is embedded, so the paths must differ by exactly one pointer.
        let next = btf.offset("task_struct", "tasks.next").unwrap();
        assert_eq!(btf.offset("task_struct", "tasks.prev").unwrap(), next + 8);
        // `skc_num` lies inside two anonymous unions.
        assert!(btf.offset("sock_common", "skc_num").unwrap() > 0);
        // What is not there is passed over.
        let first = btf.offset("task_struct", "snowdrift|cg_list.next").unwrap();
        assert_eq!(btf.offset("task_struct", "cg_list.next|snowdrift").unwrap(), first);
        let letter = |at: &str| btf.offset("task_struct", &format!("comm.{at}")).unwrap();
        assert_eq!((letter("0"), letter("15")), (btf.offset("task_struct", "comm").unwrap(), letter("0") + 15));
        assert!(btf.offset("task_struct", "comm.16").is_err() && btf.offset("task_struct", "pid.0").is_err());
    }

    #[test]
    fn names_what_is_missing() {
        let btf = Btf::kernel().unwrap();
        let error = btf.offset("task_struct", "snowdrift").unwrap_err().to_string();
        assert_eq!(error, "this kernel's `task_struct` has no member `snowdrift`");
        assert!(btf.offset("snow_struct", "x").unwrap_err().to_string().contains("`snow_struct`"));
    }

    #[test]
    fn cut_or_garbled_types_are_an_error_and_no_panic() {
        let whole = std::fs::read(KERNEL).unwrap();
        assert!(matches!(Btf::parse(Vec::new()), Err(BtfError::Malformed)));
        assert!(matches!(Btf::parse(whole[..4096].to_vec()), Err(BtfError::Malformed)));
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let mut bytes = whole[..whole.len().min(1 << 16)].to_vec();
            // A section that fits, then noise inside it.
            bytes[12..16].copy_from_slice(&32_000_u32.to_le_bytes());
            bytes[16..20].copy_from_slice(&32_000_u32.to_le_bytes());
            for _ in 0..64 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = 24 + (seed >> 33) as usize % 32_000;
                bytes[at] = seed as u8;
            }
            if let Ok(btf) = Btf::parse(bytes) {
                drop(btf.offset("task_struct", "thread.fsbase"));
            }
        }
    }
}
