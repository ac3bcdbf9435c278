//! Lists in pages: which part is asked for, where the next page begins, and from where what comes later is read.

use std::fmt::Debug;

use sha2::{Digest, Sha256};
use tollgate_api::{Code, Problem};
use tollgate_storage::{Cursor, Page, Row, Scan};
use utoipa::IntoParams;

use crate::app::App;
use crate::extract::Query;
use crate::limits::{CURSOR_BYTES_MAX, FILTER_ROWS_MAX, FILTER_ROWS_READ, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use crate::reply::Failure;

/// Which part of a list is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Most rows; 50 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: usize,
    /// From where to read: `next` of the page before, or `resume` where a list has it.
    #[param(value_type = Option<String>, min_length = 12, pattern = "^[0-9a-f]+$")]
    cursor: Option<Place>,
}

/// Which rows of a list are asked for, and how many are read for a page of it.
pub(crate) struct Filter<'a> {
    /// Tells the list from others, and from itself filtered otherwise.
    pub(crate) by: &'a (dyn Debug + Sync),
    /// How many rows are read at a time.
    pub(crate) rows_read: usize,
    /// After how many rows the page ends.
    pub(crate) rows_max: usize,
}

impl<'a> Filter<'a> {
    /// A filter of rows that cost little to look at.
    pub(crate) fn by(by: &'a (dyn Debug + Sync)) -> Self {
        Self { by, rows_read: FILTER_ROWS_READ, rows_max: FILTER_ROWS_MAX }
    }
}

/// The rows of a page, and the cursors that lead on from it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) rows: Vec<Row>,
    /// From where the next page is read; `None` when there is nothing more.
    pub(crate) next: Option<String>,
    /// From where the next page is read, now or once there is one.
    pub(crate) resume: String,
}

impl Paging {
    /// `limit` and `cursor` of a query.
    pub(crate) fn take(query: &mut Query) -> Result<Self, Failure> {
        Self::take_or(query, PAGE_ROWS_DEFAULT)
    }

    /// The same, with so many rows where the query does not say.
    pub(crate) fn take_or(query: &mut Query, default: usize) -> Result<Self, Failure> {
        let allowed = format!("must be a whole number from 1 to {PAGE_ROWS_MAX}");
        let limit = query.take_as("limit", |text| match text.parse::<usize>() {
            Ok(limit) if (1..=PAGE_ROWS_MAX).contains(&limit) => Ok(limit),
            _ => Err(allowed),
        })?;
        let cursor = query.take("cursor").map(|text| Place::read(&text).ok_or_else(invalid_cursor));
        Ok(Self { limit: limit.unwrap_or(default), cursor: cursor.transpose()? })
    }

    /// Most rows of the page.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// The same with another number of rows.
    pub(crate) fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The page that a cursor leads to.
    pub(crate) fn at(self, cursor: &str) -> Result<Self, Failure> {
        Ok(Self { cursor: Some(Place::read(cursor).ok_or_else(invalid_cursor)?), ..self })
    }

    /// From where, and how many rows, to read a list that the engine puts together; `list` tells it from others.
    pub(crate) fn begin(&self, list: &impl Debug) -> Result<(Option<&Cursor>, usize), Failure> {
        match &self.cursor {
            Some(place) if place.list != list_id(list) || place.seen > 0 => Err(invalid_cursor()),
            place => Ok((place.as_ref().and_then(|place| place.after.as_ref()), self.limit)),
        }
    }

    /// The cursor of the next page of such a list.
    pub(crate) fn next(list: &impl Debug, after: Option<Cursor>) -> Option<String> {
        after.map(|after| Place { list: list_id(list), seen: 0, after: Some(after) }.text())
    }

    /// Reads a page; a cursor of another list is the caller's error.
    pub(crate) async fn read(&self, app: &App, scan: &Scan) -> Result<Part, Failure> {
        let all = Filter { by: &(), rows_read: self.limit, rows_max: self.limit };
        self.read_where(app, scan, &all, |_| true).await
    }

    /// The same of the rows that a filter lets pass. The work of a page is bounded, so it may come back short, or even
    /// empty, with more to follow.
    pub(crate) async fn read_where(
        &self,
        app: &App,
        scan: &Scan,
        filter: &Filter<'_>,
        passes: impl Fn(&Row) -> bool,
    ) -> Result<Part, Failure> {
        let list = list_id(&(scan, filter.by));
        let mut place = match &self.cursor {
            Some(place) if place.list != list => return Err(invalid_cursor()),
            Some(place) => place.clone(),
            None => Place { list, seen: 0, after: None },
        };
        if place.seen > 0 {
            let seen = app.engine.list(scan, place.after.as_ref(), usize::from(place.seen)).await?;
            match seen.next {
                Some(after) => place = Place { list, seen: 0, after: Some(after) },
                None => return Ok(Part { rows: Vec::new(), next: None, resume: place.text() }),
            }
        }
        let (mut found, mut read, mut size) = (Vec::new(), 0, filter.rows_read);
        loop {
            let Page { rows, next } = app.engine.list(scan, place.after.as_ref(), size).await?;
            read += rows.len();
            let room = self.limit - found.len();
            let passing = rows.iter().enumerate().filter(|(_, row)| passes(row));
            if let Some((first_too_many, _)) = passing.skip(1).nth(room - 1) {
                // A page ends with a row that the store can name: the last of what is read at once.
                size = first_too_many;
                continue;
            }
            let (all, more) = (rows.len(), next.is_some());
            found.extend(rows.into_iter().filter(&passes));
            match next {
                Some(after) => place.after = Some(after),
                None => place.seen = u16::try_from(all).unwrap_or(u16::MAX),
            }
            if !more || found.len() == self.limit || read >= filter.rows_max {
                let resume = place.text();
                return Ok(Part { rows: found, next: more.then(|| resume.clone()), resume });
            }
            size = filter.rows_read;
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn invalid_cursor() -> Failure {
    let detail = "cursor: is not one that this list gave; read it from its beginning";
    Problem::new(Code::InvalidCursor, detail).on_field("cursor").into()
}

/// Where a page begins: after the row that a cursor of the store names, and after so many rows more.
///
/// The store names a row only when another follows it, so the end of a list is told by the rows of its last page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    list: [u8; 4],
    seen: u16,
    after: Option<Cursor>,
}

/// Tells lists apart, also those of different parameters.
fn list_id(list: &impl Debug) -> [u8; 4] {
    let [first, second, third, fourth, ..]: [u8; 32] = Sha256::digest(format!("{list:?}").as_bytes()).into();
    [first, second, third, fourth]
}

impl Place {
    /// As callers see it: hexadecimal.
    fn text(&self) -> String {
        let after = self.after.iter().flat_map(|cursor| &cursor.0);
        let bytes = self.list.iter().copied().chain(self.seen.to_be_bytes()).chain(after.copied());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.chars().map(hexadecimal_digit).collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high * 16 + low).collect();
        let ([list @ .., first, second], after) = bytes.split_first_chunk::<6>()?;
        let seen = u16::from_be_bytes([*first, *second]);
        if usize::from(seen) > PAGE_ROWS_MAX || after.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let after = (!after.is_empty()).then(|| Cursor(after.to_vec()));
        Some(Self { list: *list, seen, after })
    }
}

fn hexadecimal_digit(character: char) -> Option<u8> {
    character.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        let list = list_id(&Scan::Notices);
        for (seen, after) in [(0, None), (1, None), (1_000, Some(Cursor(vec![0, 255, 16])))] {
            let place = Place { list, seen, after };
            assert_eq!(Place::read(&place.text()), Some(place));
        }
        let long = "0".repeat(2 * (CURSOR_BYTES_MAX + 7));
        for text in ["", "next", "00", "abc", "00000000000", "0000000003e9", "00000000000g", &long] {
            assert_eq!(Place::read(text), None, "{text:?}");
        }
        assert_ne!(list, list_id(&Scan::Orgs));
    }
}
