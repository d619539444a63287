//! Identities: who, where, and how the two were joined. All are plain copies; none allocates.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// Nanoseconds of `CLOCK_MONOTONIC`, as the kernel's `bpf_ktime_get_ns` gives them.
pub type Nanos = u64;

/// A process id in the agent's own pid namespace.
pub type Pid = u32;

/// Where in the code something happened: an opaque number for a list of frames; 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteId(pub u64);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All zero means "none" in W3C trace context.
            #[must_use]
            pub fn is_none(&self) -> bool {
                self.0 == [0; $len]
            }

            /// The id from exactly this many bytes; `None` for another length or all zeros.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let id = Self(bytes.try_into().ok()?);
                (!id.is_none()).then_some(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let wrong = || format!("{text:?} is not {} hexadecimal digits", 2 * $len);
                if text.len() != 2 * $len || !text.is_ascii() {
                    return Err(wrong());
                }
                let mut id = [0; $len];
                for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
                }
                Ok(Self(id))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_id!(
    /// A W3C trace id, 16 bytes, written as 32 lower-case hexadecimal digits.
    TraceId,
    16
);
hex_id!(
    /// A W3C span id, 8 bytes, written as 16 lower-case hexadecimal digits.
    SpanId,
    8
);

/// How a kernel event was joined to the request behind it, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The thread had published the request's context when the event happened: exact.
    ThreadContext,
    /// By the connection that the thread last read a request from.
    Socket,
    /// From the process or thread that created this one.
    Inherited,
    /// By time only.
    Window,
    /// Not joined.
    #[default]
    None,
}

/// The request in whose context something was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The trace, where the thread had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// The server connection that the thread last read from, and which exchange on it (0, 1, …).
    /// The number is the connection's [`Holding::key`](super::Holding::key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<(u64, u32)>,
    /// How the better of the two was found.
    #[serde(default)]
    pub join: Join,
    /// The trace is that of the thread's creator, which has a claim only while that request runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lent: bool,
    /// The connection's peer, as a number ([`Peer::number`](super::Caller::number)); 0: unknown. A server connection has
    /// its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peer: u32,
    /// The thread was made after the connection and has read from no other: it works for nobody else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alone: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// On which connection a request came, as its span tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who is at the other end, as a number: equal for equal addresses and ports, and for few others; never 0.
    pub number: u32,
    /// It is the connection's own end. Else it may be whoever a proxy says it works for.
    pub certain: bool,
}
