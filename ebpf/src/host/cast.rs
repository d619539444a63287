//! Puts a function of the kernel in the place that the object keeps for it.
//!
//! `bpf_rdonly_cast` tells the verifier which type lies at an address, so that programs read there directly instead of
//! by a helper (`kernel/read.rs`). It is called by the number that its type has in the running kernel, which the library
//! does not look up: so the object calls a helper that no kernel has, and what is called is changed here before it is
//! loaded. Where the kernel has no such function the calls stay and are never reached: the verifier drops them.

use crate::wire::CAST;

/// Its name in the kernel.
pub(crate) const NAME: &str = "bpf_rdonly_cast";

/// One instruction: code, registers, offset, value.
const INSTRUCTION: usize = 8;
/// Calls the helper of this number; with the source register 2, the kernel's function of this type.
const CALL: u8 = 0x85;
const FUNCTION: u8 = 2 << 4;
/// What a call that is never reached calls: the clock, which every kernel has.
const CLOCK: u32 = 5;

/// The object, with the kernel's function of this number called; `None`: there is none.
pub(crate) fn put(object: &[u8], function: Option<u32>) -> Vec<u8> {
    let mut object = object.to_vec();
    let place = [&[CALL, 0, 0, 0], CAST.to_le_bytes().as_slice()].concat();
    // Instructions lie at multiples of their length, in the file as in their sections.
    for instruction in object.chunks_exact_mut(INSTRUCTION).filter(|instruction| *instruction == place) {
        instruction[1] = if function.is_some() { FUNCTION } else { 0 };
        instruction[4..].copy_from_slice(&function.unwrap_or(CLOCK).to_le_bytes());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_nothing_calls_the_kernels_function_or_what_every_kernel_has() {
        let call = [0x85, 0, 0, 0, 0x57, 0x4f, 0x4e, 0x53];
        let other = [0xb7, 1, 0, 0, 0x57, 0x4f, 0x4e, 0x53];
        let object = [other, call, other, call].concat();
        let there = [0x85, 0x20, 0, 0, 0x39, 0x30, 0, 0];
        assert_eq!(put(&object, Some(12345)), [other, there, other, there].concat());
        let never = [0x85, 0, 0, 0, 5, 0, 0, 0];
        assert_eq!(put(&object, None), [other, never, other, never].concat());
    }
}
