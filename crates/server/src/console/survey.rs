//! A look at all organizations: who runs out, who is out, whose usage changes.
//!
//! No page waits for it. Who opens the overview begins one, unless one is going on or was just made; it goes through all
//! organizations beside the gate, some at a time with a rest in between, and keeps a few of them. The page shows the last
//! one, or as much of the first as there is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_console::{Glance, Mover, Spender, Surveyed};
use tollgate_domain::{Amount, Balance, Org, Period};
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::limits::{SURVEY_EVERY, SURVEY_LISTED_MAX, SURVEY_PATIENCE, SURVEY_PAUSE, SURVEY_ROWS};
use crate::reply::Failure;

/// The last look at all organizations.
#[derive(Debug, Default)]
pub(crate) struct Survey(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    found: Surveyed,
    running: bool,
    /// When the last one ended, and how long it took.
    ended: Option<(Instant, Duration)>,
}

impl Survey {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a look is due; if so, it counts as begun.
    fn begin(&self) -> bool {
        let mut state = self.locked();
        // What takes long is done less often: at most a tenth of the time.
        let rests = state.ended.is_some_and(|(at, took)| at.elapsed() < SURVEY_EVERY.max(took * 9));
        let begins = !state.running && !rests;
        state.running |= begins;
        begins
    }
}

/// What is known, and whether another look is going on. Where there are few organizations, it is of this moment.
pub(super) async fn look(app: &App) -> (Surveyed, bool) {
    if app.survey.begin() {
        let reader = Arc::clone(app);
        let task = tokio::spawn(async move {
            let work = Arc::clone(&reader);
            reader.readers.work(async move { run(&work).await }).await;
            reader.survey.locked().running = false;
        });
        // It goes on when it takes longer.
        let _ = tokio::time::timeout(SURVEY_PATIENCE, task).await;
    }
    let state = app.survey.locked();
    (state.found.clone(), state.running)
}

async fn run(app: &App) {
    let began = Instant::now();
    let mut seen = Seen { at: app.engine.clock().now().to_string(), ..Seen::default() };
    let whole = match pass(app, &mut seen).await {
        Ok(()) => true,
        Err(failure) => {
            tracing::warn!(
                detail = failure.problem.detail.as_str(),
                "the overview is of some organizations only"
            );
            false
        }
    };
    let mut state = app.survey.locked();
    state.found = seen.found(whole);
    state.ended = Some((Instant::now(), began.elapsed()));
}

async fn pass(app: &App, seen: &mut Seen) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let page = app.engine.list(&Scan::Orgs, cursor.as_ref(), SURVEY_ROWS).await?;
        for row in page.rows {
            if let Row::Org(org) = row
                && let Some((org, balance, before)) = app.engine.balance_and_last_month(&org.id).await?
            {
                seen.add(&org, &balance, &before);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
        {
            let mut state = app.survey.locked();
            if !state.found.whole {
                state.found = seen.found(false);
            }
        }
        tokio::time::sleep(SURVEY_PAUSE).await;
    }
}

/// What was seen so far: of each list only its beginning is kept.
#[derive(Debug, Default)]
struct Seen {
    at: String,
    orgs: u64,
    running_out: Vec<Spender>,
    running_out_count: u64,
    out: Vec<Spender>,
    out_count: u64,
    movers: Vec<Mover>,
    /// By meter: this month, expected, before.
    totals: BTreeMap<String, [Amount; 3]>,
}

impl Seen {
    fn add(&mut self, org: &Org, balance: &Balance, before: &[Amount]) {
        self.orgs += 1;
        let plan =
            org.plans.in_force(balance.at).and_then(|change| change.plan.as_ref()).map(ToString::to_string);
        for ((meter, line), before) in balance.meters.iter().zip(before) {
            let expected = line.pace.map_or(line.month, |pace| pace.projected).max(line.month);
            if line.month.is_positive() || before.is_positive() {
                let total = self.totals.entry(meter.to_string()).or_default();
                *total = [total[0] + line.month, total[1] + expected, total[2] + *before];
            }
            if before.is_positive() && expected != *before {
                self.movers.push(Mover {
                    org: org.id.to_string(),
                    name: org.name.clone(),
                    meter: meter.to_string(),
                    before: (*before).into(),
                    expected: expected.into(),
                });
            }
            let Some(remaining) = line.remaining else { continue };
            let spender = |on: String| Spender {
                org: org.id.to_string(),
                name: org.name.clone(),
                plan: plan.clone(),
                meter: meter.to_string(),
                on,
                used: line.used.into(),
                remaining: remaining.into(),
            };
            if let Some(day) = line.pace.and_then(|pace| pace.runs_out_on) {
                self.running_out_count += 1;
                self.running_out.push(spender(Period::day(day).label()));
            } else if !remaining.is_positive() && line.used.is_positive() {
                self.out_count += 1;
                self.out.push(spender(String::new()));
            }
        }
        self.forget();
    }

    /// Keeps the beginning of each list.
    fn forget(&mut self) {
        self.running_out.sort_by(|one, other| (&one.on, one.remaining).cmp(&(&other.on, other.remaining)));
        self.out.sort_by_key(|spender| Reverse(spender.used));
        self.movers.sort_by_key(|mover| Reverse((mover.expected.0 - mover.before.0).billionths().abs()));
        self.running_out.truncate(SURVEY_LISTED_MAX);
        self.out.truncate(SURVEY_LISTED_MAX);
        self.movers.truncate(SURVEY_LISTED_MAX);
    }

    fn found(&self, whole: bool) -> Surveyed {
        let totals = self.totals.iter().map(|(meter, [month, expected, before])| Glance {
            meter: meter.clone(),
            month: *month,
            expected: *expected,
            before: *before,
        });
        Surveyed {
            orgs: self.orgs,
            at: self.at.clone(),
            whole,
            running_out: self.running_out.clone(),
            running_out_count: self.running_out_count,
            out: self.out.clone(),
            out_count: self.out_count,
            movers: self.movers.clone(),
            totals: totals.collect(),
        }
    }
}
