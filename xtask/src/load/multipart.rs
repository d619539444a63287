//! HLS as one answer, `multipart/mixed`: the initialisation, the segments as they are made, and at last the playlist
//! (RFC 2046, section 5.1).

use anyhow::{Context as _, bail};
use bytes::Bytes;

/// The video in an answer: the answer itself, or the parts that the playlist names, in their order.
///
/// # Errors
/// A part is cut off, has no name or not the length that it tells, or the playlist does not name every part.
pub(super) fn video(media_type: &str, body: &Bytes) -> anyhow::Result<Bytes> {
    if !media_type.starts_with("multipart/") {
        return Ok(body.clone());
    }
    let (_, boundary) = media_type.split_once("boundary=").context("multipart without a boundary")?;
    let parts = parts(boundary.trim_matches('"'), body)?;
    let (playlist, media) = parts.split_last().context("no parts")?;
    if !playlist.body.starts_with(b"#EXTM3U") {
        bail!("the last part, {}, is no playlist", playlist.name);
    }
    let text = String::from_utf8_lossy(playlist.body);
    if !text.lines().any(|line| line == "#EXT-X-ENDLIST") {
        bail!("the last playlist does not end");
    }
    let mut whole = Vec::with_capacity(body.len());
    for part in media.iter().filter(|part| !part.body.starts_with(b"#EXTM3U")) {
        if !text.contains(part.name) {
            bail!("{} is not on the playlist", part.name);
        }
        whole.extend_from_slice(part.body);
    }
    Ok(whole.into())
}

struct Part<'a> {
    name: &'a str,
    body: &'a [u8],
}

fn parts<'a>(boundary: &str, body: &'a [u8]) -> anyhow::Result<Vec<Part<'a>>> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let start = find(body, delimiter.as_bytes()).context("no boundary in the body")?;
    let mut left = &body[start + delimiter.len()..];
    while !left.starts_with(b"--") {
        let number = parts.len();
        let end = find(left, b"\r\n\r\n").with_context(|| format!("part {number} has no end of its head"))?;
        let head = std::str::from_utf8(&left[..end]).with_context(|| format!("head of part {number}"))?;
        let content = &left[end + 4..];
        let length: usize = header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let named = header(head, "content-disposition").and_then(|value| value.split("name=").nth(1));
        let name = header(head, "content-location").or(named.and_then(|name| name.split(';').next()));
        let name = name.with_context(|| format!("part {number} has no name: {head:?}"))?.trim_matches('"');
        let (Some(body), Some(rest)) = (content.get(..length), content.get(length..)) else {
            bail!("{name} is cut off");
        };
        let rest = rest.strip_prefix(b"\r\n").and_then(|rest| rest.strip_prefix(delimiter.as_bytes()));
        left = rest.with_context(|| format!("{name} is not {length} bytes long"))?;
        parts.push(Part { name, body });
    }
    Ok(parts)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "\r\n--b\r\nContent-Length: {length}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{body}"
        )
    }

    fn answer(parts: &[(&str, &str)]) -> anyhow::Result<Bytes> {
        let body: String = parts.iter().map(|(name, body)| part(name, body)).collect();
        video("multipart/mixed; boundary=b", &Bytes::from(body + "\r\n--b--\r\n"))
    }

    const LIST: &str = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\n0.m4s\n#EXTINF:2,\n1.m4s\n#EXT-X-ENDLIST\n";

    #[test]
    fn parts_that_the_playlist_names_are_the_video() {
        let whole = answer(&[("init.mp4", "in"), ("0.m4s", "--b"), ("1.m4s", "\r\n\r\n"), ("a.m3u8", LIST)]).unwrap();
        assert_eq!(whole, "in--b\r\n\r\n");
        assert_eq!(video("video/mp4", &Bytes::from("plain")).unwrap(), "plain");
    }

    #[test]
    fn what_is_missing_is_named() {
        let unlisted = answer(&[("2.m4s", "x"), ("a.m3u8", LIST)]).unwrap_err().to_string();
        assert!(unlisted.contains("2.m4s"), "{unlisted}");
        assert!(answer(&[("init.mp4", "in"), ("0.m4s", "x")]).is_err(), "no playlist");
        assert!(answer(&[("a.m3u8", "#EXTM3U\n")]).is_err(), "a playlist that goes on");
        let cut = part("0.m4s", "four").replace("Length: 4", "Length: 9");
        assert!(video("multipart/mixed; boundary=b", &Bytes::from(cut)).is_err());
        assert!(video("multipart/mixed", &Bytes::new()).is_err());
    }
}
