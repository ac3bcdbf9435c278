//! An open loop second by second: a pause that a percentile over a minute hides stands in one row.

use std::time::Duration;

use crate::Result;
use crate::report::{table, thousands};
use crate::stats::{Latencies, float};

/// What was seen in each second of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline(Vec<Second>);

#[derive(Clone, Debug)]
struct Second {
    /// The answers that came in it.
    yes: u64,
    latencies: Latencies,
    /// How late the load generator noticed a request of this second at most.
    late: Duration,
}

impl Timeline {
    /// Of a run of so long, in which nothing has happened yet. It takes its memory now, for later would be in the run.
    pub(crate) fn new(lasts: Duration) -> Result<Self> {
        let second = Second { yes: 0, latencies: Latencies::new()?, late: Duration::ZERO };
        let seconds = lasts.as_millis().div_ceil(1000).max(1);
        Ok(Self(vec![second; usize::try_from(seconds)?]))
    }

    /// The second that holds `at`; what comes after the last belongs to it.
    fn second(&mut self, at: Duration) -> Option<&mut Second> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get_mut(usize::try_from(at.as_secs()).unwrap_or(last).min(last))
    }

    /// A yes came.
    pub(crate) fn answer(&mut self, at: Duration, latency: Duration) {
        if let Some(second) = self.second(at) {
            second.yes += 1;
            second.latencies.record(latency);
        }
    }

    /// The load generator noticed what was due at `at` so much later.
    pub(crate) fn late(&mut self, at: Duration, late: Duration) {
        if let Some(second) = self.second(at) {
            second.late = second.late.max(late);
        }
    }

    /// Adds what another thread of the same run saw.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return Ok(());
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.yes += theirs.yes;
            mine.latencies.merge(&theirs.latencies)?;
            mine.late = mine.late.max(theirs.late);
        }
        Ok(())
    }

    /// The longest latency of any second, in milliseconds.
    pub(crate) fn pause_ms(&self) -> f64 {
        self.0.iter().map(|second| second.latencies.millis(1.0)).fold(f64::NAN, f64::max)
    }

    /// One row a second, in a block that is closed until clicked.
    pub(crate) fn details(&self, summary: &str) -> String {
        let rows: Vec<_> = (1..).zip(&self.0).map(|(number, second)| second.row(number)).collect();
        let table =
            table(&["second", "answers", "p50 ms", "p99 ms", "max ms", "generator late, max ms"], &rows);
        format!("<details>\n<summary>{summary}</summary>\n\n{table}\n</details>\n")
    }
}

impl Second {
    fn row(&self, number: u64) -> Vec<String> {
        let millis = |quantile| format!("{:.2}", self.latencies.millis(quantile));
        vec![
            number.to_string(),
            thousands(float(self.yes)),
            millis(0.5),
            millis(0.99),
            millis(1.0),
            format!("{:.2}", self.late.as_secs_f64() * 1e3),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_stands_in_its_second() {
        let secs = Duration::from_secs_f64;
        let mut timeline = Timeline::new(secs(2.5)).unwrap();
        let mut other = timeline.clone();
        timeline.answer(secs(0.2), secs(0.001));
        other.answer(secs(1.9), secs(0.025));
        other.late(secs(1.1), secs(0.0002));
        timeline.answer(secs(7.0), secs(0.002)); // after the end: the last second's
        timeline.merge(&other).unwrap();
        assert!((timeline.pause_ms() - 25.0).abs() < 0.05, "{}", timeline.pause_ms());
        let text = timeline.details("a run");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows[1].starts_with("| 2 | 1 | 25.0") && rows[1].ends_with("| 0.20 |"), "{text}");
        assert!(Timeline::default().pause_ms().is_nan());
    }
}
