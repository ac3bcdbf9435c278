//! Latencies, rates, medians and ratios.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Result;
use crate::timeline::Timeline;

/// The longest latency told apart from longer ones.
const LATENCY_MAX_NANOS: u64 = 60_000_000_000;

/// An integer as a float, for arithmetic that ends in a table.
#[expect(clippy::as_conversions, reason = "counts and nanoseconds below 2^53 are exact in a float")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// Latencies with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3)?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0)?;
        Ok(())
    }

    /// The latency that `quantile` (0 to 1) of all stay within, in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        float(self.0.value_at_quantile(quantile)) / 1e6
    }
}

/// What came of one run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) yes: u64,
    /// Every other answer and every lost connection, by what it said.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) latencies: Latencies,
    /// Of an open loop: how late the load generator itself noticed each request that was due, and what each second saw.
    pub(crate) late: Latencies,
    pub(crate) timeline: Timeline,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            yes: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new()?,
            late: Latencies::new()?,
            timeline: Timeline::default(),
            elapsed: Duration::ZERO,
        })
    }

    pub(crate) fn error(&mut self, text: &str) {
        // Texts that carry an id would fill the map: 20 kinds are enough to see what is wrong.
        let known = self.errors.contains_key(text) || self.errors.len() < 20;
        *self.errors.entry(if known { text } else { "other" }.to_owned()).or_default() += 1;
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Yes answers a second.
    pub(crate) fn rate(&self) -> f64 {
        ratio(float(self.yes), self.elapsed.as_secs_f64())
    }

    /// Adds what another thread of the same run saw.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.yes += other.yes;
        for (text, count) in &other.errors {
            *self.errors.entry(text.clone()).or_default() += count;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.late.merge(&other.late)?;
        self.timeline.merge(&other.timeline)?;
        self.latencies.merge(&other.latencies)
    }

    /// Adds the run that came after this one.
    pub(crate) fn follow(&mut self, next: &Self) -> Result<()> {
        let elapsed = self.elapsed + next.elapsed;
        self.merge(next)?;
        self.elapsed = elapsed;
        Ok(())
    }

    /// An error if anything but yes was answered: for set-up, where nothing may go wrong.
    pub(crate) fn all_yes(self, what: &str) -> Result<Self> {
        match self.errors.first_key_value() {
            None => Ok(self),
            Some((text, _)) => {
                Err(format!("{what}: {} of {} failed: {text}", self.error_count(), self.yes).into())
            }
        }
    }
}

/// CPU time spent during a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) server: Duration,
    pub(crate) client: Duration,
    /// Everything else on the machine.
    pub(crate) others: Duration,
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.server += other.server;
        self.client += other.client;
        self.others += other.others;
    }
}

/// The figures of one run, as they go into a table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// How late the load generator was; only in an open loop.
    pub(crate) late_p99_ms: Option<f64>,
    /// CPU of all the server's processes per yes, in microseconds.
    pub(crate) server_cpu_us: f64,
    /// CPU of the load generator per yes, in microseconds.
    pub(crate) client_cpu_us: f64,
    /// Cores that everything else on the machine kept busy meanwhile.
    pub(crate) others_cores: f64,
    pub(crate) errors: u64,
}

impl Figures {
    pub(crate) fn new(tally: &Tally, cpu: Cpu) -> Self {
        let each = |cpu: Duration| ratio(cpu.as_secs_f64() * 1e6, float(tally.yes));
        Self {
            rate: tally.rate(),
            p50_ms: tally.latencies.millis(0.5),
            p99_ms: tally.latencies.millis(0.99),
            p999_ms: tally.latencies.millis(0.999),
            late_p99_ms: (!tally.late.is_empty()).then(|| tally.late.millis(0.99)),
            server_cpu_us: each(cpu.server),
            client_cpu_us: each(cpu.client),
            others_cores: ratio(cpu.others.as_secs_f64(), tally.elapsed.as_secs_f64()),
            errors: tally.error_count(),
        }
    }

    /// The same by usage, where each request carries so many; latencies stay those of requests.
    pub(crate) fn by_usage(self, usages: f64) -> Self {
        Self {
            rate: self.rate * usages,
            server_cpu_us: self.server_cpu_us / usages,
            client_cpu_us: self.client_cpu_us / usages,
            ..self
        }
    }

    /// The median of each figure over the rounds; errors are summed, for none may be hidden.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let late = rounds.iter().any(|round| round.late_p99_ms.is_some());
        Self {
            rate: of(|round| round.rate),
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
            p999_ms: of(|round| round.p999_ms),
            late_p99_ms: late.then(|| median(rounds.iter().filter_map(|round| round.late_p99_ms))),
            server_cpu_us: of(|round| round.server_cpu_us),
            client_cpu_us: of(|round| round.client_cpu_us),
            others_cores: of(|round| round.others_cores),
            errors: rounds.iter().map(|round| round.errors).sum(),
        }
    }
}

/// The middle value; of an even number of values the mean of the middle two; of none, not a number.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values.get((values.len() / 2).wrapping_sub(1)).copied().unwrap_or(f64::NAN);
    f64::midpoint(lower, upper)
}

/// `part / whole`; not a number where there is no whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}

/// The largest value by the smallest.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values {
        low = low.min(value);
        high = high.max(value);
    }
    ratio(high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let table: [(&[f64], f64); 4] =
            [(&[3.0], 3.0), (&[9.0, 1.0, 5.0], 5.0), (&[4.0, 1.0, 2.0, 8.0], 3.0), (&[2.0, 1.0], 1.5)];
        for (values, expected) in table {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
        assert!(median([]).is_nan());
        assert_eq!(ratio(3.0, 2.0), 1.5);
        assert!(ratio(1.0, 0.0).is_nan());
        assert_eq!(spread([2.0, 3.0, 1.5]), 2.0);
    }

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new().unwrap();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        for (quantile, expected) in [(0.5, 0.5), (0.99, 0.99), (0.999, 0.999), (1.0, 1.0)] {
            let millis = latencies.millis(quantile);
            assert!((millis - expected).abs() <= expected / 500.0, "{quantile}: {millis}");
        }
        latencies.record(Duration::from_secs(3600));
        assert!(latencies.millis(1.0) >= 60_000.0);
    }

    #[test]
    fn figures_are_per_yes_and_errors_are_never_averaged_away() {
        let mut tally = Tally::new().unwrap();
        tally.yes = 2_000;
        tally.elapsed = Duration::from_secs(2);
        tally.error("402 no_plan");
        let millis = Duration::from_millis;
        let one = Figures::new(&tally, Cpu { server: millis(20), client: millis(10), others: millis(500) });
        assert_eq!((one.rate, one.server_cpu_us, one.client_cpu_us, one.errors), (1000.0, 10.0, 5.0, 1));
        assert_eq!(one.others_cores, 0.25);
        let clean = Figures { rate: 3000.0, errors: 0, ..one };
        let median = Figures::median(&[clean, one, clean]);
        assert_eq!((median.rate, median.errors), (3000.0, 1));
        assert!(tally.all_yes("set-up").is_err());
    }
}
