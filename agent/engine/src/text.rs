//! Texts that others choose, cut to what is kept of them. Cost: nothing for one that is short enough.

/// The first so many characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// Whether `name` is the text as it is told: its first so many characters, none of them a control character.
pub(crate) fn is_told_as(text: &str, most: usize, name: &str) -> bool {
    // A name as it is told is told as itself: nearly always that is all there is to compare.
    text == name || (text.len() > most || text.contains(char::is_control)) && plain(text, most).eq(name.chars())
}

/// The text as it is told.
pub(crate) fn plain(text: &str, most: usize) -> impl Iterator<Item = char> + '_ {
    text.chars().take(most).map(|letter| if letter.is_control() { '?' } else { letter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_characters_and_not_within_one() {
        assert_eq!((cut("", 3), cut("abc", 3), cut("abcd", 3)), ("", "abc", "abc"));
        assert_eq!((cut("äöü", 3), cut("äöüß", 3), cut("äöüß", 0)), ("äöü", "äöü", ""));
    }

    #[test]
    fn a_name_is_the_same_as_what_it_was_made_of() {
        for text in ["", "GET /a", "GET /\n", "äöü\u{7}ß", "a long text that is cut", "\u{1b}[2J and more"] {
            let name: String = plain(text, 8).collect();
            assert!(is_told_as(text, 8, &name), "{text:?}");
            assert!(!is_told_as(text, 8, "other") && !is_told_as(&format!("x{text}"), 8, &name), "{text:?}");
        }
    }
}
