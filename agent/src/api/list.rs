//! Lists: `since`, `until`, `limit`, `cursor`, and `{"schema":1,"items":[…],"next":null}`.
//!
//! Invariant: the answer is bounded, and a parameter that is not understood is refused by name.

use crate::problem::Problem;
use axum::{Json, extract::Query, extract::rejection::QueryRejection, http::StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Items in an answer when none is asked for.
const DEFAULT: usize = 100;
/// The most that may be asked for.
const MOST: usize = 1000;

/// The raw parameters.
pub(super) type Params = Result<Query<BTreeMap<String, String>>, QueryRejection>;

/// A list's answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct List<T> {
    schema: u32,
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// A part of a list, and the cursor of the rest.
    pub(super) fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { schema: 1, items, next }
    }
}

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: usize,
    cursor: Option<String>,
}

impl Page {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(super) fn read(params: Params) -> Result<Self, Problem> {
        let Query(params) = params.map_err(|rejection| bad(rejection.body_text()))?;
        let mut page = Self { since: None, until: None, limit: DEFAULT, cursor: None };
        for (name, value) in params {
            match name.as_str() {
                "since" => page.since = Some(time(&name, &value)?),
                "until" => page.until = Some(time(&name, &value)?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    page.limit =
                        limit.ok_or_else(|| bad(format!("limit: {value:?} is not a number from 1 to {MOST}")))?;
                }
                "cursor" => page.cursor = Some(value),
                _ => return Err(bad(format!("{name}: no such parameter (since, until, limit, cursor)"))),
            }
        }
        Ok(page)
    }

    /// The part of a list whose items are numbered, and come and go: above which number, and how many at most.
    ///
    /// # Errors
    /// The cursor is no number, or a time is given, which such a list does not have.
    pub(super) fn numbers(&self) -> Result<(Option<i32>, usize), Problem> {
        if self.since.is_some() || self.until.is_some() {
            return Err(bad("since, until: this list is of this moment"));
        }
        let read = |cursor: &String| cursor.parse().map_err(|_| bad(format!("cursor: {cursor:?} is not a number")));
        Ok((self.cursor.as_ref().map(read).transpose()?, self.limit))
    }

    /// The part of a list: items with their key (unique, also the cursor) and their time, in order.
    ///
    /// # Errors
    /// The cursor is of no item; it may have been forgotten since.
    pub(super) fn of<T, R>(
        &self,
        items: impl IntoIterator<Item = (String, Timestamp, T)>,
        render: impl Fn(T) -> R,
    ) -> Result<Json<List<R>>, Problem> {
        let (items, next) = self.part(items)?;
        Ok(Json(List::new(items.into_iter().map(render).collect(), next)))
    }

    /// As [`Page::of`], for items that are rendered later; with the cursor of the rest.
    ///
    /// # Errors
    /// See there.
    pub(super) fn part<T>(
        &self,
        items: impl IntoIterator<Item = (String, Timestamp, T)>,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let mut after = self.cursor.is_none();
        let (mut taken, mut last, mut next) = (Vec::new(), None, None);
        for (key, at, item) in items {
            if !after {
                after = self.cursor.as_ref() == Some(&key);
                continue;
            }
            if self.since.is_some_and(|since| at < since) || self.until.is_some_and(|until| at >= until) {
                continue;
            }
            if taken.len() == self.limit {
                next = last;
                break;
            }
            taken.push(item);
            last = Some(key);
        }
        if after {
            Ok((taken, next))
        } else {
            Err(bad("cursor: not one of this list, or of an item that has been forgotten"))
        }
    }
}

fn time(name: &str, value: &str) -> Result<Timestamp, Problem> {
    value.parse().map_err(|error| bad(format!("{name}: {value:?} is not a time as in 2026-01-31T12:00:00Z: {error}")))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Problem> {
        let uri = format!("/x?{query}").parse().expect("a uri");
        Page::read(Query::try_from_uri(&uri))
    }

    fn numbers() -> impl Iterator<Item = (String, Timestamp, i64)> {
        (0..5).map(|n| (n.to_string(), Timestamp::from_second(n).expect("in range"), n))
    }

    fn take(query: &str) -> (Vec<i64>, Option<String>) {
        let Json(list) = page(query).and_then(|page| page.of(numbers(), |n| n)).expect("a page");
        (list.items, list.next)
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        assert_eq!(take("limit=2"), (vec![0, 1], Some("1".into())));
        assert_eq!(take("limit=2&cursor=1"), (vec![2, 3], Some("3".into())));
        assert_eq!(take("limit=2&cursor=3"), (vec![4], None));
        assert_eq!(take("since=1970-01-01T00:00:02Z&until=1970-01-01T00:00:04Z"), (vec![2, 3], None));
    }

    #[test]
    fn a_wrong_parameter_is_refused_by_name() {
        for query in ["limit=0", "limit=x", "limit=1001", "since=yesterday", "colour=red"] {
            let problem = page(query).expect_err(query);
            let name = query.split('=').next().expect("a name");
            assert!(format!("{problem:?}").contains(name), "{problem:?}");
        }
        assert!(page("cursor=9").expect("reads").of(numbers(), |n| n).is_err());
    }
}
