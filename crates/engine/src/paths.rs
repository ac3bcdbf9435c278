//! The paths of an org that limits go by: those at which something was counted, and those at which something is held only.

use tollgate_domain::{Holds, LimitLine, MeterId, OrgId, OrgState, ScopePath, path_limits};
use tollgate_storage::{Cursor, Row, Scan, Store, StoreError, StoreErrorKind};

use crate::read::store_error;
use crate::{Engine, EngineError};

/// Some paths of a meter with their own limits, and from where [`Engine::paths`] goes on.
pub type PathsPage = (Vec<(ScopePath, Vec<LimitLine>)>, Option<Cursor>);

/// Where a page begins: behind a path, and with which row of the counted ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    told: Option<ScopePath>,
    rows: Option<Cursor>,
}

impl Place {
    fn cursor(self) -> Cursor {
        let told = self.told.as_ref().map_or("", ScopePath::as_str);
        // No path holds this byte.
        Cursor([told.as_bytes(), &[0], &self.rows.unwrap_or(Cursor(Vec::new())).0].concat())
    }

    fn read(Cursor(bytes): &Cursor) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (told, rows) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let told = ScopePath::new(std::str::from_utf8(told).ok()?).ok()?;
        let rows = (!rows.is_empty()).then(|| Cursor(rows.to_vec()));
        Some(Self { told: Some(told), rows })
    }
}

impl<S: Store> Engine<S> {
    /// The paths of a meter that limits go by, by path, each with its own limits as they stand. `None`: there is no such org.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn paths(
        &self,
        org: &OrgId,
        meter: &MeterId,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Option<PathsPage>, EngineError> {
        let scan = Scan::PathTallies { org: org.clone(), meter: meter.clone() };
        let mut place = match from {
            Some(cursor) => Place::read(cursor).ok_or_else(bad_cursor)?,
            None => Place::default(),
        };
        loop {
            let page = self.list(&scan, place.rows.as_ref(), limit).await?;
            let path = |row| if let Row::PathTally(row) = row { Some(row.path) } else { None };
            let counted: Vec<ScopePath> = page.rows.into_iter().filter_map(path).collect();
            // What is held behind the last row is told with the rows that follow it.
            let last = counted.last().filter(|_| page.next.is_some()).cloned();
            let is_here = |path: &ScopePath| {
                place.told.as_ref().is_none_or(|told| path > told)
                    && last.as_ref().is_none_or(|last| path <= last)
            };
            let in_force = self.catalog();
            let view = |state: &OrgState, at| {
                let holds: Option<&Holds> = state.org()?.holds.as_deref();
                let held = holds.into_iter().flat_map(|holds| holds.paths_held(meter));
                let mut paths: Vec<&ScopePath> =
                    counted.iter().chain(held).filter(|path| is_here(path)).collect();
                paths.sort_unstable();
                paths.dedup();
                let lines = self.in_context(&in_force, at, |context| {
                    let limits = paths.iter().map(|path| path_limits(state, context, meter, path));
                    paths.iter().copied().cloned().zip(limits).collect::<Vec<_>>()
                });
                // What no limit goes by any more is not told.
                Some(lines.into_iter().filter(|(_, limits)| !limits.is_empty()).collect::<Vec<_>>())
            };
            let Some(mut lines) = self.view(org, view).await? else { return Ok(None) };
            let next = if lines.len() > limit {
                lines.truncate(limit);
                let told = lines.last().map(|(path, _)| path.clone());
                Some(Place { told, rows: place.rows })
            } else {
                page.next.map(|rows| Place { told: last, rows: Some(rows) })
            };
            match next {
                Some(next) if lines.is_empty() => place = next,
                next => return Ok(Some((lines, next.map(Place::cursor)))),
            }
        }
    }
}

fn bad_cursor() -> EngineError {
    store_error(StoreError::new(StoreErrorKind::BadCursor, "the cursor was not given by a list of paths"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let told = Some(ScopePath::new("research/ä").expect("a path"));
        for rows in [None, Some(Cursor(vec![0, 1, 0, 255]))] {
            let place = Place { told: told.clone(), rows };
            assert_eq!(Place::read(&place.clone().cursor()), Some(place));
        }
        for bytes in [&b""[..], b"a", &[0], b"\xff\0", b"a//b\0", &[0, 1]] {
            assert_eq!(Place::read(&Cursor(bytes.to_vec())), None, "{bytes:?}");
        }
    }
}
