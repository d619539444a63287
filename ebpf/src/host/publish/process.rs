//! The process context: what a process says of itself in a mapping named `OTEL_CTX`.
//!
//! Read as the standard asks: header, payload, header again; what changed meanwhile is read another time. The payload
//! is protobuf, of which only a few attributes matter here.
//! Invariant: lengths and pointers are the process's word only: each is bounded before it is used, and text leaves
//! bounded and without control characters. Cost: one read while nothing changes, three when it does.

use super::memory::Memory;

const SIGNATURE: &[u8; 8] = b"OTEL_CTX";
const VERSION: u32 = 2;
/// The largest payload that is read.
const MOST_PAYLOAD: u32 = 64 << 10;
/// Attributes of a payload that are looked at.
const MOST_ATTRIBUTES: usize = 1024;
/// Characters of a name.
const MOST_TEXT: usize = 128;
/// Times that a context which changes is read.
const TRIES: u32 = 3;

/// What matters here of what a process says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `service.name`.
    pub(crate) service: Option<String>,
    /// `service.instance.id`.
    pub(crate) instance: Option<String>,
    /// `threadlocal.schema_version`.
    pub(crate) schema: Option<String>,
}

impl Said {
    /// Its threads publish by the symbol that is known here. Whoever says nothing of it may.
    pub(crate) fn is_by_symbol(&self) -> bool {
        self.schema.as_deref().is_none_or(|schema| ["tls_v1", "tlsdesc_v1_dev"].contains(&schema))
    }
}

/// What reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing changed since the reading with this stamp.
    Same,
    /// This, with its stamp.
    Said(Said, u64),
    /// It is being written.
    Busy,
    /// None, or garbage.
    None,
}

struct Header {
    bytes: [u8; 32],
}

impl Header {
    fn read(memory: &impl Memory, at: u64) -> Option<Self> {
        let bytes: [u8; 32] = memory.bytes(at)?;
        let version = u32::from_ne_bytes(*bytes[8..].first_chunk()?);
        (bytes.starts_with(SIGNATURE) && version == VERSION).then_some(Self { bytes })
    }

    fn word(&self, from: usize) -> u64 {
        self.bytes[from..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
    }

    fn size(&self) -> u32 {
        self.bytes[12..].first_chunk().map_or(0, |size| u32::from_ne_bytes(*size))
    }

    fn stamp(&self) -> u64 {
        self.word(16)
    }
}

/// Reads the context at this address, unless it is the one of this stamp.
pub(crate) fn read(memory: &impl Memory, at: u64, known: u64) -> Reading {
    for _ in 0..TRIES {
        let Some(header) = Header::read(memory, at) else { return Reading::None };
        match header.stamp() {
            0 => continue,
            stamp if stamp == known => return Reading::Same,
            _ => {}
        }
        if header.size() > MOST_PAYLOAD {
            return Reading::None;
        }
        let mut payload = vec![0; usize::try_from(header.size()).unwrap_or(0)];
        let copied = memory.read(header.word(24), &mut payload);
        match Header::read(memory, at) {
            Some(after) if after.bytes != header.bytes => {}
            Some(_) if copied.is_err() => return Reading::None,
            Some(_) => return parse(&payload).map_or(Reading::None, |said| Reading::Said(said, header.stamp())),
            None => return Reading::None,
        }
    }
    Reading::Busy
}

/// `ProcessContext { Resource resource = 1; repeated KeyValue attributes = 2 }`, `Resource { repeated KeyValue
/// attributes = 1 }`. `None`: not well formed.
fn parse(payload: &[u8]) -> Option<Said> {
    let mut said = Said::default();
    let mut left = MOST_ATTRIBUTES;
    for field in Fields(payload) {
        match field? {
            (1, Value::Bytes(resource)) => {
                for field in Fields(resource) {
                    if let (1, Value::Bytes(attribute)) = field? {
                        left = left.checked_sub(1)?;
                        said.take(attribute)?;
                    }
                }
            }
            (2, Value::Bytes(attribute)) => {
                left = left.checked_sub(1)?;
                said.take(attribute)?;
            }
            _ => {}
        }
    }
    Some(said)
}

impl Said {
    /// `KeyValue { string key = 1; AnyValue value = 2 }`, `AnyValue { oneof { string string_value = 1; … } }`.
    fn take(&mut self, attribute: &[u8]) -> Option<()> {
        let (mut key, mut text): (&[u8], Option<&[u8]>) = (b"", None);
        for field in Fields(attribute) {
            match field? {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, Value::Bytes(value)) => {
                    for field in Fields(value) {
                        if let (1, Value::Bytes(bytes)) = field? {
                            text = Some(bytes);
                        }
                    }
                }
                _ => {}
            }
        }
        let place = match key {
            b"service.name" => &mut self.service,
            b"service.instance.id" => &mut self.instance,
            b"threadlocal.schema_version" => &mut self.schema,
            _ => return Some(()),
        };
        // The first one stands: keys are to be unique.
        if place.is_none() {
            *place = text.and_then(plain);
        }
        Some(())
    }
}

/// Text that may be shown; `None`: nothing is left of it.
fn plain(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.trim().chars().filter(|character| !character.is_control()).take(MOST_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message; `None` once where it breaks off.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => self.varint().map(|_| Value::Other)?,
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, value))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
