//! What people should know of all organizations, the latest first.
//!
//! A store reads notices in their order only, and that order stays. So who opens the page has those looked through that
//! came since the last look, and a mark is kept every so many of them: a page is read from the mark before it, and turned
//! round. The first look after a start goes through all notices; the page does not wait for it, and shows the latest of
//! those that were looked through so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{NoticeItem, Problem};
use tollgate_console::{NoticesView, Section};
use tollgate_domain::{NoticeKind, Role};
use tollgate_engine::EngineError;
use tollgate_notifier::notice_item;
use tollgate_storage::{Cursor, Row, Scan};

use super::lists::kinds;
use super::session::Visitor;
use super::{address, next_page, page};
use crate::app::App;
use crate::extract::{Query, whole_number};
use crate::limits::{FILTER_ROWS_MAX, NOTICES_MARKED, PAGE_ROWS_DEFAULT, SURVEY_PATIENCE};
use crate::native::filters::NoticeFilter;
use crate::reply::Failure;

/// The page.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let asked = query.take_given(&["org", "kind", "since"]);
    let before = query.take("cursor").map(|text| whole_number("cursor", &text, u64::MAX)).transpose()?;
    query.end()?;
    let filter = NoticeFilter::take(&mut Query::of(asked.iter().map(|(name, value)| (&**name, &**value))));
    let org = filter.as_ref().ok().and_then(|filter| filter.org.as_ref());
    visitor.caller.require(Role::Read, org)?;
    let (found, looking, wrong) = match filter {
        Ok(filter) => {
            let looking = look(&app).await?;
            (app.notice_marks.latest(&app, &filter, before).await?, looking, None)
        }
        Err(failure) => (Latest::default(), false, Some::<Problem>(*failure.problem)),
    };
    let path = Section::Notices.path();
    let params = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let view = NoticesView {
        frame: visitor.frame(Section::Notices, "Notices"),
        next: next_page(path, &asked, found.next.map(|next| next.to_string()).as_deref()),
        first: before.is_some().then(|| address(path, params)),
        notices: found.notices,
        looking,
        count: found.count,
        asked,
        wrong,
        kinds: kinds(NoticeKind::NAMES),
    };
    page(StatusCode::OK, &view)
}

/// Has the notices looked through that came since the last look; whether that is still going on.
async fn look(app: &App) -> Result<bool, EngineError> {
    if app.notice_marks.begin() {
        let reader = Arc::clone(app);
        let (ended, end) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let work = Running(Arc::clone(&reader));
            let pass = async move {
                let passed = work.0.notice_marks.pass(&work.0).await;
                drop(work);
                // Nobody may wait any more.
                let _ = ended.send(passed);
            };
            reader.readers.work(pass).await;
        });
        // It goes on when it takes longer.
        if let Ok(Ok(passed)) = tokio::time::timeout(SURVEY_PATIENCE, end).await {
            return passed.map(|()| false);
        }
    }
    Ok(true)
}

/// A look that is going on.
struct Running(App);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.notice_marks.locked().running = false;
    }
}

/// Marks among the notices of the store.
#[derive(Debug, Default)]
pub(crate) struct NoticeMarks(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// In the order of the notices.
    marks: Vec<Mark>,
    /// How many notices were looked through.
    count: u64,
    running: bool,
}

/// A place among the notices.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// How many notices there are before it.
    before: u64,
    /// What the store calls it.
    cursor: Option<Cursor>,
}

/// Some notices, the latest first.
#[derive(Debug, Default)]
struct Latest {
    notices: Vec<NoticeItem>,
    /// Before which notice the next page begins.
    next: Option<u64>,
    /// How many notices there are, as far as they were looked through.
    count: u64,
}

impl NoticeMarks {
    fn locked(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody looks; if so, the look counts as begun.
    fn begin(&self) -> bool {
        let mut state = self.locked();
        let begins = !state.running;
        state.running = true;
        begins
    }

    /// The last mark at or before a notice.
    fn mark_of(&self, notice: u64) -> Mark {
        let state = self.locked();
        let behind = state.marks.partition_point(|mark| mark.before <= notice);
        state.marks.get(behind.wrapping_sub(1)).cloned().unwrap_or_default()
    }

    /// Looks through the notices behind the last mark.
    async fn pass(&self, app: &App) -> Result<(), EngineError> {
        let mut mark = self.mark_of(u64::MAX);
        loop {
            let page = app.engine.list(&Scan::Notices, mark.cursor.as_ref(), NOTICES_MARKED).await?;
            let before = mark.before + u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
            let Some(next) = page.next else {
                self.locked().count = before;
                return Ok(());
            };
            mark = Mark { before, cursor: Some(next) };
            self.keep(mark.clone());
            tokio::task::yield_now().await;
        }
    }

    fn keep(&self, mark: Mark) {
        let mut state = self.locked();
        state.count = mark.before;
        state.marks.push(mark);
    }

    /// The latest notices before one, or of all, that a filter lets pass. The work of a page is bounded, so it may come back
    /// short, or even empty, with more to follow.
    async fn latest(
        &self,
        app: &App,
        filter: &NoticeFilter,
        before: Option<u64>,
    ) -> Result<Latest, EngineError> {
        let count = self.locked().count;
        let mut end = before.unwrap_or(count).min(count);
        let (mut notices, mut read) = (Vec::new(), 0);
        while end > 0 && notices.len() < PAGE_ROWS_DEFAULT && read < FILTER_ROWS_MAX {
            let mark = self.mark_of(end - 1);
            let wanted = usize::try_from(end - mark.before).unwrap_or(NOTICES_MARKED);
            let page = app.engine.list(&Scan::Notices, mark.cursor.as_ref(), wanted).await?;
            read += page.rows.len();
            let numbered: Vec<(u64, Row)> = (mark.before..).zip(page.rows).collect();
            for (number, row) in numbered.into_iter().rev() {
                if notices.len() == PAGE_ROWS_DEFAULT {
                    break;
                }
                end = number;
                if let Row::Notice(row) = row {
                    let item = notice_item(&row);
                    if filter.passes(row.at, &item) {
                        notices.push(item);
                    }
                }
            }
        }
        Ok(Latest { notices, next: (end > 0).then_some(end), count })
    }
}
