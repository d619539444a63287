//! A curve in one line of text.
//!
//! Invariant: as many characters as asked for; what is not known is a dot in the middle, never a low value.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const UNKNOWN: char = '·';

/// Draws the points (time, value) between two times, from 0 to `top`, in `width` characters. A character shows the
/// highest value of its time.
pub(super) fn draw(points: &[(f64, Option<f64>)], from: f64, to: f64, top: f64, width: usize) -> String {
    let step = (to - from) / width as f64;
    let bar = |column: usize| {
        let (begin, end) = (from + step * column as f64, from + step * (column + 1) as f64);
        let inside = points.iter().filter(|(at, _)| (begin..end).contains(at));
        // Where samples are further apart than characters, the last one still holds.
        let before = points.iter().rev().find(|(at, _)| *at < end && end - at < 2.0 * step.max(0.5));
        let highest = inside
            .filter_map(|(_, value)| *value)
            .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))));
        match highest.or(before.and_then(|(_, value)| *value)) {
            None => UNKNOWN,
            Some(value) => {
                let level = (value / top * BARS.len() as f64).floor().clamp(0.0, (BARS.len() - 1) as f64);
                BARS[level as usize]
            }
        }
    };
    (0..width).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_is_low_high_is_high_and_unknown_is_neither() {
        let points: Vec<_> = (0..8).map(|at| (f64::from(at), Some(f64::from(at)))).collect();
        assert_eq!(draw(&points, 0.0, 8.0, 8.0, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(draw(&points, 0.0, 8.0, 80.0, 4), "▁▁▁▁");
        assert_eq!(draw(&[(0.5, Some(9.0)), (1.5, None)], 0.0, 2.0, 8.0, 2), "█·");
        assert_eq!(draw(&[], 0.0, 1.0, 1.0, 3), "···");
    }

    #[test]
    fn a_peak_is_not_lost_among_many_samples() {
        let points: Vec<_> = (0..100).map(|at| (f64::from(at), Some(if at == 55 { 8.0 } else { 0.0 }))).collect();
        assert_eq!(draw(&points, 0.0, 100.0, 8.0, 10), "▁▁▁▁▁█▁▁▁▁");
    }
}
