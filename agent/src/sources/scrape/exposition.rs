//! Prometheus' text format, line by line: names, labels, values; also what OpenMetrics adds to a line.
//!
//! Strict: a page with a line that makes no sense is refused whole, with the line's number, as Prometheus does
//! itself. Nothing is allocated for a line but unescaped label values. A parser of our own because the crates that
//! there are allocate every label of every sample of a page, of which a handful is wanted here.

/// A line that says something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// `# TYPE name kind`.
    Kind(&'a str, &'a str),
    /// A sample.
    Sample(Sample<'a>),
}

/// A sample. Timestamp and exemplar were checked and dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    labels: &'a str,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// It has no labels.
    pub(super) fn is_bare(&self) -> bool {
        self.labels.trim_matches([' ', '\t', ',']).is_empty()
    }

    /// The value of a label, where it is there.
    pub(super) fn label(&self, wanted: &str) -> Option<String> {
        let mut rest = self.labels;
        while let Some((name, value, after)) = label(rest).ok().flatten() {
            if name == wanted {
                return Some(unescape(value));
            }
            rest = after;
        }
        None
    }
}

/// The lines of a page. Ends after the first error.
pub(super) fn lines(page: &str) -> impl Iterator<Item = Result<Line<'_>, String>> {
    let mut failed = false;
    page.lines().enumerate().filter_map(move |(number, text)| {
        if failed {
            return None;
        }
        let parsed = line(text.trim_matches([' ', '\t', '\r'])).map_err(|what| format!("line {}: {what}", number + 1));
        failed = parsed.is_err();
        parsed.transpose()
    })
}

fn line(text: &str) -> Result<Option<Line<'_>>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(comment) = text.strip_prefix('#') {
        let mut words = comment.split_ascii_whitespace();
        return Ok(match (words.next(), words.next(), words.next()) {
            (Some("TYPE"), Some(name), Some(kind)) => Some(Line::Kind(name, kind)),
            _ => None,
        });
    }
    let (sample, rest) = series(text)?;
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().and_then(|word| word.parse().ok()).ok_or("no value")?;
    match words.next() {
        None => {}
        Some("#") => exemplar(rest)?,
        Some(time) => {
            time.parse::<f64>().map_err(|_| "neither a timestamp nor an exemplar")?;
            match words.next() {
                None => {}
                Some("#") => exemplar(rest)?,
                Some(_) => return Err("something behind the timestamp"),
            }
        }
    }
    Ok(Some(Line::Sample(Sample { value, ..sample })))
}

/// Name and labels of a sample or, without a name, of an exemplar; and what follows.
fn series(text: &str) -> Result<(Sample<'_>, &str), &'static str> {
    let end = text.find(|letter: char| !is_of_name(letter)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("no name");
    }
    let (labels, rest) = braces(rest)?;
    Ok((Sample { name, labels, value: f64::NAN }, rest))
}

/// What stands between braces, checked, and what follows; nothing where there are none.
fn braces(text: &str) -> Result<(&str, &str), &'static str> {
    let Some(inside) = text.trim_start_matches([' ', '\t']).strip_prefix('{') else {
        // Name and value are two words.
        return if text.starts_with([' ', '\t']) { Ok(("", text)) } else { Err("no value") };
    };
    let mut rest = inside;
    while let Some((_, _, after)) = label(rest)? {
        rest = after;
    }
    let end = rest.trim_start_matches([' ', '\t', ',']);
    let after = end.strip_prefix('}').ok_or("a brace is not closed")?;
    Ok((&inside[..inside.len() - end.len()], after))
}

/// The exemplar behind the `#` of a sample's rest.
fn exemplar(rest: &str) -> Result<(), &'static str> {
    let (_, exemplar) = rest.split_once('#').ok_or("no exemplar")?;
    let (_, rest) = braces(exemplar)?;
    let mut words = rest.split_ascii_whitespace().map(str::parse::<f64>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(_)), None | Some(Ok(_)), None) => Ok(()),
        _ => Err("an exemplar without a value"),
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// The next label: name, escaped value and what follows; `None` at the end.
fn label(text: &str) -> Result<Option<(&str, &str, &str)>, &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let text = text.strip_prefix(',').unwrap_or(text).trim_start_matches([' ', '\t']);
    if text.is_empty() || text.starts_with('}') {
        return Ok(None);
    }
    let (name, rest) = text.split_once('=').ok_or("a label without a value")?;
    let name = name.trim_end_matches([' ', '\t']);
    if name.is_empty() || !name.chars().all(|letter| is_of_name(letter) && letter != ':') {
        return Err("a label without a name");
    }
    let quoted = rest.trim_start_matches([' ', '\t']).strip_prefix('"').ok_or("a label without quotes")?;
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(Some((name, &quoted[..at], &quoted[at + 1..]))),
            _ => {}
        }
    }
    Err("a quote is not closed")
}

fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => break,
            },
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

    fn parse(page: &str) -> Result<Vec<Line<'_>>, String> {
        lines(page).collect()
    }

    #[test]
    fn the_formats_own_examples_are_read() {
        let page = "# HELP http_requests_total The total number of HTTP requests.\n\
            # TYPE http_requests_total counter\n\
            http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
            \n\
            # Escaping in label values:\n\
            msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1.458255915e9\n\
            metric_without_timestamp_and_labels 12.47\n\
            something_weird{problem=\"division by zero\"} +Inf -3982045\n\
            jvm_memory_bytes_used{area=\"heap\",} 9.68209248E8\n\
            a:b { x = \"y\" , } NaN\n\
            x_bucket{le=\"1\"} 3 # {trace_id=\"ab # }\"} 0.67 1.5\n# EOF\n";
        let all = parse(page).expect("reads");
        assert_eq!(all[0], Line::Kind("http_requests_total", "counter"));
        let samples: Vec<Sample<'_>> =
            all.iter().filter_map(|line| if let Line::Sample(sample) = line { Some(*sample) } else { None }).collect();
        assert_eq!(samples.len(), 7);
        assert_eq!((samples[0].label("code").as_deref(), samples[0].value), (Some("200"), 1027.0));
        assert_eq!(samples[1].label("path").as_deref(), Some("C:\\DIR\\FILE.TXT"));
        assert_eq!(samples[1].label("error").as_deref(), Some("Cannot find file:\n\"FILE.TXT\""));
        assert!(samples[2].is_bare() && !samples[3].is_bare() && samples[3].value.is_infinite());
        assert_eq!(samples[4].label("area").as_deref(), Some("heap"));
        assert_eq!((samples[5].name, samples[5].label("x").as_deref()), ("a:b", Some("y")));
        assert_eq!((samples[6].value, samples[6].label("trace_id")), (3.0, None));
    }

    #[test]
    fn a_line_that_makes_no_sense_refuses_the_page_with_its_number() {
        for text in [
            "a",
            "a b",
            "a{",
            "a{b} 1",
            "a{b=\"c} 1",
            "a{b=c} 1",
            "a{=\"c\"} 1",
            "1a 1",
            "{} 1",
            "a 1 x",
            "a 1 2 3",
            "a 1 #",
            "a 1 # {} x",
            "a{b=\"c\"d=\"e\"",
            "a{b:c=\"\"} 1",
            "é 1",
            "<html>",
            "a 0x10",
            "a{b=\"\\\"} 1",
        ] {
            let page = format!("good 1\n{text}\nnever 2\n");
            assert!(parse(&page).is_err_and(|error| error.starts_with("line 2: ")), "{text}: {:?}", parse(&page));
        }
    }

    /// Whatever is thrown at it, it comes to an end without a panic, and what it gives lies in the page.
    #[test]
    fn anything_is_survived() {
        let mut random = StdRng::seed_from_u64(7);
        let pieces = [
            "a",
            "_",
            ":",
            "9",
            "{",
            "}",
            "=",
            "\"",
            "\\",
            ",",
            " ",
            "\t",
            "\n",
            "\r",
            "#",
            "# TYPE ",
            "# {",
            "1",
            "-",
            "e9",
            "NaN",
            "+Inf",
            "é",
            "\u{0}",
            "\u{10ffff}",
            "le",
            "x{y=\"z\"} 1\n",
        ];
        for _ in 0..30_000 {
            let page: String =
                (0..random.random_range(0..24)).filter_map(|_| pieces.choose(&mut random).copied()).collect();
            for line in lines(&page).flatten() {
                if let Line::Sample(sample) = line {
                    assert!(page.contains(sample.name) && page.contains(sample.labels), "{page:?}");
                    sample.label("y");
                }
            }
        }
    }

    /// What is written is read back, whatever the labels hold.
    #[test]
    fn what_is_written_is_read_back() {
        let mut random = StdRng::seed_from_u64(9);
        let letters = ['a', '"', '\\', '\n', '}', '{', ',', '=', '#', ' ', 'é', '\t'];
        for _ in 0..5_000 {
            let value: String = (0..random.random_range(0..9)).filter_map(|_| letters.choose(&mut random)).collect();
            let number = f64::from(random.random::<i32>()) / 8.0;
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let page = format!("m{{other=\"x\",it=\"{escaped}\"}} {number} 17 # {{t=\"{escaped}\"}} 1");
            let parsed = parse(&page);
            let Ok([Line::Sample(sample)]) = parsed.as_deref() else { panic!("{page:?}: {parsed:?}") };
            assert_eq!((sample.label("it"), sample.value), (Some(value), number));
        }
    }
}
