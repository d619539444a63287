//! What makes a request good: bounds on its status, its first byte and its duration.
//!
//! Invariant: a request that its own span calls failed is bad, unless a status condition is asked for
//! and the request has a status, which then decides.

use crate::{
    model::{Nanos, Request},
    window::SECOND,
};

/// A comparison with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// The conditions of a good request; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Good {
    pub(crate) status: Option<(Compare, u16)>,
    pub(crate) first_byte: Option<(Compare, Nanos)>,
    pub(crate) duration: Option<(Compare, Nanos)>,
}

impl Good {
    /// Whether a request meets every condition.
    pub(crate) fn met_by(&self, request: &Request) -> bool {
        let duration = request.ended.saturating_sub(request.started);
        let first_byte = request.first_byte.map_or(duration, |first| first.saturating_sub(request.started));
        let status = match (self.status, request.status) {
            (Some((compare, bound)), Some(status)) => compare.holds(status, bound),
            _ => !request.failed,
        };
        status
            && self.first_byte.is_none_or(|(compare, bound)| compare.holds(first_byte, bound))
            && self.duration.is_none_or(|(compare, bound)| compare.holds(duration, bound))
    }
}

impl Compare {
    fn holds<T: Ord>(self, value: T, bound: T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Equal => value == bound,
            Self::GreaterOrEqual => value >= bound,
            Self::Greater => value > bound,
        }
    }

    /// Splits `<= 1s` into the comparison and `1s`.
    fn split(text: &str) -> Result<(Self, &str), String> {
        let text = text.trim();
        let signs = [
            ("<=", Self::LessOrEqual),
            (">=", Self::GreaterOrEqual),
            ("==", Self::Equal),
            ("<", Self::Less),
            (">", Self::Greater),
        ];
        let found = signs.into_iter().find_map(|(sign, compare)| Some((compare, text.strip_prefix(sign)?.trim())));
        found.ok_or_else(|| format!("{text:?} does not begin with one of <=, >=, ==, <, >"))
    }
}

/// A bound on a status, as in `< 500`.
pub(crate) fn status(text: &str) -> Result<(Compare, u16), String> {
    let (compare, rest) = Compare::split(text)?;
    match rest.parse() {
        Ok(code) if (100..=600).contains(&code) => Ok((compare, code)),
        _ => Err(format!("{rest:?} is not an HTTP status")),
    }
}

/// An upper bound on a time, as in `<= 350ms`.
pub(crate) fn at_most(text: &str) -> Result<(Compare, Nanos), String> {
    let (compare, rest) = Compare::split(text)?;
    if !matches!(compare, Compare::Less | Compare::LessOrEqual) {
        return Err(format!("{text:?}: a time can only be bounded from above, with < or <="));
    }
    duration(rest).map(|bound| (compare, bound))
}

/// A duration of one number and one unit, as in `250ms`, `1.5s`, `1h`, `30d` or `4w`.
pub(crate) fn duration(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("{text:?} is not a duration such as 250ms, 1.5s, 15m, 1h, 30d or 4w");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let scale: u32 = match unit.trim() {
        "ms" => return scaled(number, 1e6).ok_or_else(wrong),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    #[expect(clippy::cast_precision_loss, reason = "10^9 is exact")]
    scaled(number, f64::from(scale) * SECOND as f64).ok_or_else(wrong)
}

/// More than nothing and at most ten years.
fn scaled(number: &str, scale: f64) -> Option<Nanos> {
    let nanos = number.parse::<f64>().ok()? * scale;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    (1.0..=3.2e17).contains(&nanos).then_some(nanos.round() as Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TraceId;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(250_000_000));
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration("4w"), Ok(2_419_200 * SECOND));
        for wrong in ["", "s", "1", "-1s", "1 parsec", "1e3s", "0s", "9999999999d", "1.2.3s", "ms", "µs", "½s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn comparisons() {
        assert_eq!(status("< 500"), Ok((Compare::Less, 500)));
        assert_eq!(status(" == 200 "), Ok((Compare::Equal, 200)));
        assert!(status("500").is_err() && status("< five").is_err() && status("<99").is_err());
        assert_eq!(at_most("<=1s"), Ok((Compare::LessOrEqual, SECOND)));
        assert!(at_most("> 1s").is_err());
    }

    #[test]
    fn a_failed_span_is_bad_unless_its_status_decides() {
        let mut request = Request {
            pid: None,
            service: "s".into(),
            trace: TraceId([1; 16]),
            span: None,
            route: "GET /".into(),
            started: SECOND,
            ended: 4 * SECOND,
            first_byte: Some(SECOND + SECOND / 2),
            status: Some(200),
            failed: true,
            weight: 1.0,
            peer: None,
            serial: false,
        };
        let by_status = Good { status: Some((Compare::Less, 500)), ..Good::default() };
        let by_first_byte = Good { first_byte: Some((Compare::LessOrEqual, SECOND)), ..Good::default() };
        assert!(by_status.met_by(&request) && !by_first_byte.met_by(&request));
        request.failed = false;
        assert!(by_first_byte.met_by(&request));
        request.first_byte = None;
        assert!(!by_first_byte.met_by(&request), "without a first byte its end counts");
        request.status = Some(503);
        assert!(!by_status.met_by(&request));
    }
}
