//! Who this process is, by the OpenTelemetry standard for out-of-process readers.
//!
//! A small mapping, found by name in `/proc/<pid>/maps` (`OTEL_CTX`), holds a 32-byte header and a protobuf payload
//! with the resource and the schema of the thread context. Invariant: a reader that sees a time that is not zero sees
//! a whole payload; children do not inherit it. Cost: two pages, once.
//!
//! | offset | field |
//! | --- | --- |
//! | 0 | signature `OTEL_CTX` |
//! | 8 | version u32 = 2 |
//! | 12 | payload size u32 |
//! | 16 | published at u64, `CLOCK_BOOTTIME` nanoseconds, written last |
//! | 24 | address of the payload u64 |

use crate::clock;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

const HEADER: usize = 32;
const NAME: &std::ffi::CStr = c"OTEL_CTX";

/// Why the process context could not be published. The service works without.
#[derive(Debug, thiserror::Error)]
#[error("process context: {step}: {source}")]
pub struct ProcessContextError {
    step: &'static str,
    source: io::Error,
}

/// A published process context; dropping it withdraws it.
#[derive(Debug)]
pub struct Published {
    address: *mut libc::c_void,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is written only before it is handed out.
unsafe impl Send for Published {}

impl Drop for Published {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `publish` with this length and nothing in the process refers into it.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// Publishes `service.name`, `service.instance.id` and the thread context's schema.
///
/// # Errors
/// A step that the standard requires failed; which one is named.
pub fn publish(service: &str, instance_id: &str) -> Result<Published, ProcessContextError> {
    let payload = payload(service, instance_id);
    let published = map(HEADER + payload.len())?;
    let base: *mut u8 = published.address.cast();
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    // SAFETY: the mapping is writable, page aligned, and at least HEADER + payload bytes long; nothing else knows it.
    unsafe {
        let payload_at = base.add(HEADER);
        std::ptr::copy_nonoverlapping(payload.as_ptr(), payload_at, payload.len());
        base.cast::<[u8; 8]>().write_volatile(*b"OTEL_CTX");
        base.add(8).cast::<u32>().write_volatile(2);
        base.add(12).cast::<u32>().write_volatile(size);
        base.add(24).cast::<u64>().write_volatile(payload_at as u64);
        fence(Ordering::SeqCst);
        base.add(16).cast::<u64>().write_volatile(clock::read(libc::CLOCK_BOOTTIME).max(1));
        // A kernel without named mappings refuses; the memfd's own name serves then.
        libc::prctl(libc::PR_SET_VMA, libc::PR_SET_VMA_ANON_NAME, base, published.length, NAME.as_ptr());
    }
    Ok(published)
}

/// A private mapping of a memfd that children do not get.
fn map(length: usize) -> Result<Published, ProcessContextError> {
    let failed = |step| move || ProcessContextError { step, source: io::Error::last_os_error() };
    let size = libc::off_t::try_from(length)
        .map_err(|_| ProcessContextError { step: "size", source: io::ErrorKind::InvalidInput.into() })?;
    // SAFETY: the name is a C string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(failed("memfd_create")());
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a valid descriptor and a size that fits.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size) } != 0 {
        return Err(failed("ftruncate")());
    }
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
    // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of this process.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(failed("mmap")());
    }
    let published = Published { address, length };
    // SAFETY: exactly the mapping just made.
    if unsafe { libc::madvise(address, length, libc::MADV_DONTFORK) } != 0 {
        return Err(failed("madvise")());
    }
    Ok(published)
}

/// `ProcessContext { Resource resource = 1; repeated KeyValue attributes = 2; }`, where a resource holds its
/// attributes in field 1.
fn payload(service: &str, instance_id: &str) -> Vec<u8> {
    let mut resource = Vec::new();
    field(&mut resource, 1, &key_value("service.name", service));
    field(&mut resource, 1, &key_value("service.instance.id", instance_id));
    let mut context = Vec::new();
    field(&mut context, 1, &resource);
    field(&mut context, 2, &key_value("threadlocal.schema_version", "tlsdesc_v1_dev"));
    context
}

/// `KeyValue { string key = 1; AnyValue value = 2; }` with `AnyValue { string string_value = 1; }`.
fn key_value(key: &str, value: &str) -> Vec<u8> {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    field(&mut any, 1, value.as_bytes());
    field(&mut pair, 1, key.as_bytes());
    field(&mut pair, 2, &any);
    pair
}

/// A length-delimited protobuf field with a number below 16.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the mapping as a reader outside does: by its name, then through `/proc/self/mem`.
    fn read_from_outside() -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
        let line = maps.lines().find(|line| line.contains("OTEL_CTX"))?;
        let start = u64::from_str_radix(line.split('-').next()?, 16).ok()?;
        let memory = std::fs::File::open("/proc/self/mem").expect("own memory");
        let mut header = [0; HEADER];
        memory.read_exact_at(&mut header, start).expect("header");
        assert_eq!(&header[..8], b"OTEL_CTX");
        assert_eq!(header[8..12], 2u32.to_ne_bytes());
        assert_ne!(header[16..24], [0; 8]);
        let size = u32::from_ne_bytes(header[12..16].try_into().expect("four bytes"));
        let address = u64::from_ne_bytes(header[24..].try_into().expect("eight bytes"));
        let mut payload = vec![0; size as usize];
        memory.read_exact_at(&mut payload, address).expect("payload");
        Some(payload)
    }

    #[test]
    fn a_reader_outside_finds_it_until_it_is_withdrawn() {
        let long = "x".repeat(300);
        let published = publish("transcoder", &long).expect("published");
        let seen = read_from_outside().expect("found by its name");
        assert_eq!(seen, payload("transcoder", &long));
        let text = String::from_utf8_lossy(&seen);
        for part in
            ["service.name", "transcoder", "service.instance.id", &long, "threadlocal.schema_version", "tlsdesc_v1_dev"]
        {
            assert!(text.contains(part), "{part} is missing");
        }
        drop(published);
        assert_eq!(read_from_outside(), None);
    }

    #[test]
    fn lengths_are_varints() {
        let mut out = Vec::new();
        field(&mut out, 2, &[7; 300]);
        assert_eq!(out[..3], [0x12, 0xac, 0x02]);
        assert_eq!(out.len(), 303);
    }
}
