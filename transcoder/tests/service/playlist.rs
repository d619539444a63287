//! Reading playlists as a player does.

/// A playlist's text and what it lists.
#[derive(Debug)]
pub(crate) struct Playlist {
    pub(crate) text: String,
    /// Names and seconds of whole segments.
    pub(crate) segments: Vec<(String, f64)>,
    /// Names and seconds of parts.
    pub(crate) parts: Vec<(String, f64)>,
}

impl Playlist {
    /// Reads it; fails on what every playlist must have.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n"), "{text}");
        let (mut segments, mut parts) = (Vec::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(length) = line.strip_prefix("#EXTINF:") {
                let seconds = length.strip_suffix(',').and_then(|length| length.parse().ok()).expect(line);
                segments.push((lines.next().expect("a name").to_owned(), seconds));
            } else if let Some(part) = line.strip_prefix("#EXT-X-PART:DURATION=") {
                let (seconds, rest) = part.split_once(",URI=\"").expect(line);
                parts.push((rest.split('"').next().expect(line).to_owned(), seconds.parse().expect(line)));
            }
        }
        let playlist = Self { text: text.to_owned(), segments, parts };
        let target: f64 = playlist.value("#EXT-X-TARGETDURATION:").parse().expect("a number");
        for (name, seconds) in &playlist.segments {
            assert!(seconds.round() <= target && *seconds > 0.0, "{name} of {seconds} s: {text}");
        }
        playlist
    }

    /// What stands after the first tag that begins like this.
    pub(crate) fn value(&self, tag: &str) -> &str {
        self.text.lines().find_map(|line| line.strip_prefix(tag)).unwrap_or_else(|| panic!("{tag} in {}", self.text))
    }

    /// Whether this line is there.
    pub(crate) fn has(&self, line: &str) -> bool {
        self.text.lines().any(|other| other == line)
    }

    /// The stream is over.
    pub(crate) fn is_ended(&self) -> bool {
        self.has("#EXT-X-ENDLIST")
    }
}
