//! The delivery directives of a playlist request (RFC 8216's successor, draft 16, section 6.2.5.2).
//!
//! Invariant: anything but a well-formed, single directive is a refusal; other parameters are not ours to judge.

/// What a player waits for: a segment's number, and perhaps a part of it.
pub(super) type Awaited = (u64, Option<usize>);

/// Reads the query.
///
/// # Errors
/// Which directive is wrong.
pub(super) fn awaited(query: Option<&str>) -> Result<Option<Awaited>, &'static str> {
    let (mut number, mut part) = (None, None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "_HLS_msn" if number.is_none() => number = Some(decimal(value).ok_or("_HLS_msn: expected a number")?),
            "_HLS_part" if part.is_none() => part = Some(decimal(value).ok_or("_HLS_part: expected a number")?),
            "_HLS_msn" | "_HLS_part" => return Err("_HLS_msn and _HLS_part may be given once"),
            // `_HLS_skip` too: this server does not offer it.
            _ => {}
        }
    }
    match (number, part) {
        (None, Some(_)) => Err("_HLS_part: expected _HLS_msn beside it"),
        (None, None) => Ok(None),
        // No stream has so many parts that the number would be cut.
        (Some(number), part) => Ok(Some((number, part.map(|part| usize::try_from(part).unwrap_or(usize::MAX))))),
    }
}

/// Digits alone: no sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_players_send() {
        assert_eq!(awaited(None), Ok(None));
        assert_eq!(awaited(Some("")), Ok(None));
        assert_eq!(awaited(Some("token=_HLS_msn&_HLS_skip=YES")), Ok(None));
        assert_eq!(awaited(Some("_HLS_msn=7")), Ok(Some((7, None))));
        assert_eq!(awaited(Some("a=b&_HLS_part=3&_HLS_msn=0")), Ok(Some((0, Some(3)))));
        assert_eq!(awaited(Some("_HLS_msn=18446744073709551615")), Ok(Some((u64::MAX, None))));
    }

    #[test]
    fn what_nobody_should() {
        for wrong in [
            "_HLS_part=1",
            "_HLS_msn=",
            "_HLS_msn",
            "_HLS_msn=-1",
            "_HLS_msn=+1",
            "_HLS_msn=1.5",
            "_HLS_msn=0x1",
            "_HLS_msn=%31",
            "_HLS_msn=1&_HLS_msn=2",
            "_HLS_msn=1&_HLS_part=",
            "_HLS_msn=1&_HLS_part=1&_HLS_part=1",
            "_HLS_msn=18446744073709551616",
            "_HLS_msn=1 ",
        ] {
            assert!(awaited(Some(wrong)).is_err(), "{wrong} passed");
        }
    }
}
