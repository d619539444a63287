//! A call as protobuf carries it, read where it lies: of each span only what is used here, and nothing is copied.
//!
//! A span as the generated types hold it takes some thirty allocations, nearly all of them for texts that nobody looks at.
//! Source: opentelemetry-proto 1.7 (numbers of fields) and protobuf's wire format. Invariants: total, whatever the bytes
//! are; of a field that comes twice the last counts; a length beyond its message, a broken number or a text that is no
//! UTF-8 makes the whole call malformed. Cost: one pass over the bytes, and a second over the heads of its groups.

use super::{
    attributes::{Attributes, Pair, Value},
    span::{Resource, Seen},
};

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protobuf: {0}")]
pub(super) struct Malformed(&'static str);

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    /// Four bytes, which nothing here is made of.
    Short,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (place, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("a broken number"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let (own, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length))
            .ok_or(Malformed("a field is longer than its message"))?;
        self.0 = rest;
        Ok(own)
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                let bytes = self.take(8)?;
                Field::Fixed(bytes.try_into().map_or(0, u64::from_le_bytes))
            }
            2 => {
                let length = self.number()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Short
            }
            _ => return Err(Malformed("a field of no known type")),
        };
        if tag >> 3 == 0 { Err(Malformed("a field without a number")) } else { Ok((tag >> 3, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The messages of a repeated field.
fn messages(of: &[u8], wanted: u64) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields(of).filter_map(move |field| match field {
        Ok((number, Field::Bytes(bytes))) if number == wanted => Some(Ok(bytes)),
        Ok((number, _)) if number == wanted => Some(Err(Malformed("a message that is none"))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text that is no UTF-8"))
}

/// Reads a call; `resource` is asked once for each group, `span` told of each of its spans.
pub(super) fn read<G>(
    call: &[u8],
    mut group: impl FnMut(Resource) -> G,
    mut span: impl FnMut(&G, &Seen<'_>),
) -> Result<(), Malformed> {
    let mut pairs = Vec::new();
    for spans in messages(call, 1) {
        let spans = spans?;
        pairs.clear();
        // It may come after its spans.
        for resource in messages(spans, 1) {
            for pair in messages(resource?, 1) {
                pairs.push(self::pair(pair?)?);
            }
        }
        let of = group(Resource::read(Attributes(&pairs)));
        for scope in messages(spans, 2) {
            for one in messages(scope?, 2) {
                span(&of, &seen(one?, &mut pairs)?);
            }
        }
    }
    Ok(())
}

/// A span; its attributes go to `pairs`.
fn seen<'a, 'b>(bytes: &'a [u8], pairs: &'b mut Vec<Pair<'a>>) -> Result<Seen<'b>, Malformed>
where
    'a: 'b,
{
    pairs.clear();
    let mut seen = Seen { is_root: true, ..Seen::default() };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(id)) => seen.trace = id,
            (2, Field::Bytes(id)) => seen.span = id,
            (3, Field::Bytes(state)) => seen.trace_state = text(state)?,
            (4, Field::Bytes(parent)) => seen.is_root = parent.is_empty(),
            (5, Field::Bytes(name)) => seen.name = text(name)?,
            // Negative numbers are no kinds.
            (6, Field::Number(kind)) => seen.kind = i32::try_from(kind).unwrap_or(-1),
            (7, Field::Fixed(time)) => seen.started = time,
            (8, Field::Fixed(time)) => seen.ended = time,
            (9, Field::Bytes(attribute)) => pairs.push(pair(attribute)?),
            (11, Field::Bytes(event)) if seen.first_byte.is_none() => seen.first_byte = first_byte(event)?,
            (15, Field::Bytes(status)) => seen.failed = is_error(status)?,
            (1..=5 | 9 | 11 | 15, _) => return Err(Malformed("a message that is none")),
            (7 | 8, _) => return Err(Malformed("a time that is none")),
            _ => {}
        }
    }
    seen.attributes = Attributes(pairs);
    Ok(seen)
}

fn pair(bytes: &[u8]) -> Result<Pair<'_>, Malformed> {
    let (mut key, mut value) = ("", Value::Other);
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(name)) => key = text(name)?,
            (2, Field::Bytes(any)) => value = self::value(any)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn value(any: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut value = Value::Other;
    for field in Fields(any) {
        value = match field? {
            (1, Field::Bytes(bytes)) => Value::Text(text(bytes)?),
            (3, Field::Number(number)) => Value::Int(number.cast_signed()),
            _ => Value::Other,
        };
    }
    Ok(value)
}

/// The time of an event, if it is the one that tells of the first byte.
fn first_byte(event: &[u8]) -> Result<Option<u64>, Malformed> {
    let (mut time, mut is_it) = (0, false);
    for field in Fields(event) {
        match field? {
            (1, Field::Fixed(at)) => time = at,
            (2, Field::Bytes(name)) => is_it = name == super::span::FIRST_BYTE.as_bytes(),
            _ => {}
        }
    }
    Ok(is_it.then_some(time))
}

fn is_error(status: &[u8]) -> Result<bool, Malformed> {
    let mut error = false;
    for field in Fields(status) {
        if let (3, Field::Number(code)) = field? {
            error = code == super::span::ERROR;
        }
    }
    Ok(error)
}

#[cfg(test)]
mod tests;
