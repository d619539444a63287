//! A profile as a flame graph: one SVG file that needs nothing else, the root above, names on hover.
//!
//! Own code is warm, libraries are cool and pale, what is no code (a request, a kind) is green: so the eye finds the
//! place that can be mended. Bounded: what is narrower than a third of a pixel is left out, and so deep.

use super::{stacks::Profile, text::amount};
use crate::render::{frame, is_foreign};
use std::{collections::BTreeMap, fmt::Write as _};

/// Pixels.
const WIDTH: f64 = 1_200.0;
const SIDE: f64 = 12.0;
const HEAD: f64 = 52.0;
const ROW: f64 = 19.0;
const NARROWEST: f64 = 0.35;
/// A letter of the font, on average.
const LETTER: f64 = 7.1;
/// Rows.
const DEEPEST: usize = 200;

const STYLE: &str = "text{font:11.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#2b2118}\
    .title{font:600 15px system-ui,sans-serif;fill:#1d2733}.note{font:12px system-ui,sans-serif;fill:#5b6773}\
    rect.bar{stroke:#fff;stroke-width:.6}g.f:hover rect{stroke:#1d2733;stroke-width:1.2}\
    .page{fill:#fff}@media(prefers-color-scheme:dark){.page{fill:#12171d}.title{fill:#e8edf2}.note{fill:#9aa7b4}\
    rect.bar{stroke:#12171d}g.f:hover rect{stroke:#fff}}";

/// What a bar stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Own,
    Library,
    Other,
}

#[derive(Default)]
struct Node {
    value: u64,
    children: BTreeMap<(String, Of), Node>,
}

impl Node {
    fn add(&mut self, path: &[(String, Of)], value: u64) {
        self.value = self.value.saturating_add(value);
        if let Some((first, rest)) = path.split_first() {
            self.children.entry(first.clone()).or_default().add(rest, value);
        }
    }

    fn depth(&self) -> usize {
        1 + self.children.values().map(Self::depth).max().unwrap_or(0)
    }
}

/// Who is drawn with which colour; neighbours of one kind differ a little, the same name never does.
fn colour(name: &str, of: Of) -> String {
    let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let (hue, saturation, light) = match of {
        Of::Own => (18 + hash % 26, 88, 64 + hash / 64 % 8),
        Of::Library => (204 + hash % 16, 32, 80 + hash / 64 % 7),
        Of::Other => (150 + hash % 18, 42, 72 + hash / 64 % 6),
    };
    format!("hsl({hue},{saturation}%,{light}%)")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML knows no way to write these.
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

struct Canvas {
    out: String,
    total: u64,
    unit: &'static str,
}

impl Canvas {
    fn bar(&mut self, name: &str, of: Of, node: &Node, x: f64, depth: usize) {
        let width = self.width(node);
        if width < NARROWEST || depth >= DEEPEST {
            return;
        }
        let y = HEAD + ROW * depth as f64;
        let share = 100.0 * node.value as f64 / self.total.max(1) as f64;
        let room = ((width - 7.0) / LETTER).max(0.0) as usize;
        let label = match name.chars().count() {
            fits if fits <= room => name.to_owned(),
            _ if room < 4 => String::new(),
            _ => name.chars().take(room - 1).chain(['…']).collect(),
        };
        write!(
            self.out,
            "<g class=\"f\"><title>{} — {} ({share:.1} %)</title><rect class=\"bar\" x=\"{x:.2}\" y=\"{y}\" \
             width=\"{width:.2}\" height=\"{ROW}\" rx=\"2\" fill=\"{}\"/>",
            escaped(name),
            amount(node.value, self.unit),
            colour(name, of)
        )
        .ok();
        if !label.is_empty() {
            write!(self.out, "<text x=\"{:.2}\" y=\"{:.1}\">{}</text>", x + 4.0, y + 13.5, escaped(&label)).ok();
        }
        self.out.push_str("</g>\n");
        self.row(node, x, depth + 1);
    }

    fn row(&mut self, node: &Node, mut x: f64, depth: usize) {
        for ((name, of), child) in &node.children {
            self.bar(name, *of, child, x, depth);
            x += self.width(child);
        }
    }

    fn width(&self, node: &Node) -> f64 {
        (WIDTH - 2.0 * SIDE) * node.value as f64 / self.total.max(1) as f64
    }
}

/// The picture.
pub(super) fn graph(profile: &Profile, by_trace: bool) -> String {
    let mut root = Node::default();
    for stack in &profile.stacks {
        let code = stack.frames.iter().map(|one| if is_foreign(&frame(one)) { Of::Library } else { Of::Own });
        let mut kinds: Vec<Of> = by_trace.then_some(Of::Other).into_iter().chain(code.rev()).collect();
        let names = stack.path(by_trace);
        kinds.resize(names.len(), Of::Other);
        let path: Vec<(String, Of)> = names.into_iter().zip(kinds).collect();
        root.add(&path, stack.value);
    }
    let (what, unit) = profile.kind.measure();
    let total = profile.total();
    let height = HEAD + ROW * root.depth().saturating_sub(1).min(DEEPEST) as f64 + SIDE;
    let head =
        format!("pid {}: {what}, {} in {:.1} s", profile.pid, amount(total, unit), profile.elapsed.as_secs_f64());
    let mut canvas = Canvas { out: String::new(), total, unit };
    canvas.row(&root, SIDE, 0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\
         <title>{head}</title><style>{STYLE}</style><rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{SIDE}\" y=\"24\">{head}</text>\
         <text class=\"note\" x=\"{SIDE}\" y=\"42\">callers above, wider is more; orange is the program's own code, \
         blue its libraries, green no code</text>\n{}</svg>\n",
        canvas.out
    )
}

#[cfg(test)]
mod tests {
    use super::{super::stacks::tests::sample, *};

    fn widths(svg: &str, name: &str) -> Vec<f64> {
        let bars = svg.split("<g class=\"f\">").filter(|bar| bar.starts_with(&format!("<title>{name} ")));
        let width = |bar: &str| bar.split("width=\"").nth(1)?.split('"').next()?.parse().ok();
        bars.filter_map(width).collect()
    }

    #[test]
    fn a_bar_is_as_wide_as_its_share_and_names_are_escaped() {
        let svg = graph(&sample(), false);
        let [main] = widths(&svg, "main")[..] else { panic!("one bar for main: {svg}") };
        assert!((main - (WIDTH - 2.0 * SIDE) * 0.6).abs() < 0.01, "6 of 10: {main}");
        assert!(svg.contains("handle&lt;T&gt;") && !svg.contains("handle<T>"), "{svg}");
        let by_trace = graph(&sample(), true);
        assert_eq!(widths(&by_trace, "main").len(), 3, "one below each request and one below none");
    }

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escaped("a\u{1}<script>&\"\n"), "a\u{fffd}&lt;script&gt;&amp;&quot;\u{fffd}");
    }
}
