//! The signatures as one picture: a row for each run, a column for each measure, small multiples on common scales.
//!
//! Hand-written SVG without scripts or fonts of its own; light and dark by the reader's preference.

use super::{
    experiment::{Conditions, Run},
    measure::Measure,
    sample::Sample,
    screen::{points, top},
};
use std::fmt::Write as _;

const NAME: f64 = 190.0;
const CELL: (f64, f64) = (168.0, 64.0);
const GAP: (f64, f64) = (18.0, 26.0);
const TOP: f64 = 96.0;
const EDGE: f64 = 24.0;

const STYLE: &str = "
svg{background:#fff;color:#1c2330;font:12px system-ui,'DejaVu Sans',sans-serif}
text{fill:currentColor}.faint{opacity:.62}.title{font-size:20px;font-weight:600}.name{font-size:13px;font-weight:600}
.dead{fill:#c22f2f}.alive{fill:#1c8250}.frame{fill:currentColor;opacity:.045}
.on{stroke:currentColor;opacity:.45;stroke-dasharray:2 3}.end{stroke:#c22f2f;stroke-width:1.5}
.limit{stroke:currentColor;opacity:.25}
.line{fill:none;stroke:#8a93a3;stroke-width:1.4;stroke-linejoin:round}.area{fill:#8a93a3;opacity:.14}
.grew .line{stroke:#c98a12;stroke-width:1.6}.grew .area{fill:#c98a12;opacity:.16}
.declared .line{stroke:#d0452c;stroke-width:2}.declared .area{fill:#d0452c;opacity:.2}
@media(prefers-color-scheme:dark){svg{background:#12161d;color:#dfe5ee}.dead{fill:#ff7b72}.alive{fill:#56d394}
.end{stroke:#ff7b72}.grew .line{stroke:#e3b341}.grew .area{fill:#e3b341}
.declared .line{stroke:#ff7b5c}.declared .area{fill:#ff7b5c}}";

/// Draws all runs.
pub(super) fn draw(runs: &[Run], conditions: &Conditions) -> String {
    let columns = Measure::ALL.len() as f64;
    let width = 2.0 * EDGE + NAME + columns * (CELL.0 + GAP.0);
    let height = TOP + runs.len() as f64 * (CELL.1 + GAP.1) + EDGE + 18.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Signatures of the transcoder's faults\"><style>{STYLE}</style>"
    );
    text(&mut svg, EDGE, 40.0, "title", "How each fault kills, seen from outside");
    let about = format!(
        "{} uploads a second, {:.0} % of the clients go away; limits {} files, {} MiB. Each row on its own time. Dotted: fault on. Red line: dead.",
        conditions.rate,
        conditions.aborting * 100.0,
        conditions.descriptors,
        conditions.data_bytes >> 20
    );
    text(&mut svg, EDGE, 60.0, "faint", &about);
    let all: Vec<Sample> = runs.iter().flat_map(|run| run.samples.iter().cloned()).collect();
    // One scale a column, or the rows could not be compared.
    let tops = Measure::ALL.map(|measure| top(measure, &all, Some(conditions)));
    for (column, measure) in Measure::ALL.into_iter().enumerate() {
        let x = cell_x(column);
        text(&mut svg, x, TOP - 10.0, "name", measure.name());
        let scale = format!("0 to {:.0}{}", tops[column], measure.unit());
        text(&mut svg, x + 78.0, TOP - 10.0, "faint", &scale);
    }
    for (row, run) in runs.iter().enumerate() {
        let y = TOP + row as f64 * (CELL.1 + GAP.1);
        label(&mut svg, run, y);
        let declared = run.cause.as_deref().map_or(&[][..], Measure::of_cause);
        for (column, measure) in Measure::ALL.into_iter().enumerate() {
            let change = run.change(measure);
            let class = match (change.grows, declared.contains(&measure)) {
                (true, true) => "declared",
                (true, false) => "grew",
                _ => "flat",
            };
            let frame = Frame {
                x: cell_x(column),
                y,
                from: -conditions.health.as_secs_f64(),
                to: run.samples.last().map_or(1.0, |sample| sample.at).max(1.0),
                top: tops[column],
            };
            frame.draw(&mut svg, run, measure, class);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn cell_x(column: usize) -> f64 {
    EDGE + NAME + column as f64 * (CELL.0 + GAP.0)
}

fn label(svg: &mut String, run: &Run, y: f64) {
    text(svg, EDGE, y + 16.0, "name", run.name());
    text(svg, EDGE, y + 34.0, "faint", run.cause.as_deref().unwrap_or("the control"));
    match &run.death {
        Some(death) => text(svg, EDGE, y + 52.0, "dead", &format!("dead after {:.1} s", death.after)),
        None => text(svg, EDGE, y + 52.0, "alive", &format!("alive after {:.0} s", run.watched)),
    }
}

/// One small picture.
struct Frame {
    x: f64,
    y: f64,
    from: f64,
    to: f64,
    top: f64,
}

impl Frame {
    fn at(&self, time: f64) -> f64 {
        self.x + (time - self.from) / (self.to - self.from) * CELL.0
    }

    fn level(&self, value: f64) -> f64 {
        self.y + CELL.1 - (value / self.top).clamp(0.0, 1.0) * CELL.1
    }

    fn draw(&self, svg: &mut String, run: &Run, measure: Measure, class: &str) {
        let (x, y, bottom) = (self.x, self.y, self.y + CELL.1);
        // Writing to a string cannot fail.
        write!(
            svg,
            "<g class=\"{class}\"><rect class=\"frame\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
            CELL.0, CELL.1
        )
        .ok();
        for piece in pieces(&points(measure, &run.samples)) {
            let line: Vec<String> =
                piece.iter().map(|(at, value)| format!("{:.1},{:.1}", self.at(*at), self.level(*value))).collect();
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let line = line.join(" ");
            write!(
                svg,
                "<polygon class=\"area\" points=\"{:.1},{bottom} {line} {:.1},{bottom}\"/><polyline class=\"line\" \
                 points=\"{line}\"/>",
                self.at(first.0),
                self.at(last.0)
            )
            .ok();
        }
        let on = self.at(0.0);
        write!(svg, "<line class=\"on\" x1=\"{on:.1}\" x2=\"{on:.1}\" y1=\"{y}\" y2=\"{bottom}\"/>").ok();
        if let Some(death) = &run.death {
            let end = self.at(death.after);
            write!(svg, "<line class=\"end\" x1=\"{end:.1}\" x2=\"{end:.1}\" y1=\"{y}\" y2=\"{bottom}\"/>").ok();
        }
        svg.push_str("</g>");
        let change = run.change(measure);
        let speed = measure.speed(change).unwrap_or_default();
        let caption = format!("{:.0} → {:.0}{}  {speed}", change.before, change.end, measure.unit());
        text(svg, x, bottom + 14.0, "faint", &caption);
    }
}

/// Runs of known values: a gap is left open.
fn pieces(points: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
    let known = points.split(|(_, value)| value.is_none());
    let piece = |piece: &[(f64, Option<f64>)]| piece.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
    known.map(piece).filter(|piece: &Vec<_>| !piece.is_empty()).collect()
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    // Writing to a string cannot fail.
    write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_open_and_words_cannot_break_the_picture() {
        let points = [(0.0, Some(1.0)), (1.0, None), (2.0, Some(3.0)), (3.0, Some(4.0))];
        assert_eq!(pieces(&points), [vec![(0.0, 1.0)], vec![(2.0, 3.0), (3.0, 4.0)]]);
        let mut svg = String::new();
        text(&mut svg, 0.0, 0.0, "name", "a <b> & c");
        assert!(svg.contains("a &lt;b> &amp; c"), "{svg}");
    }
}
