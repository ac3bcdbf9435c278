//! Markdown tables.

use crate::stats::{Figures, median};

/// A Markdown table; the first column is text, the others are set right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n| --- |", head.join(" | "));
    text.push_str(&" ---: |".repeat(head.len().saturating_sub(1)));
    text.push('\n');
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

/// A table of figures, which are of `unit`s: requests, or usages. Where there was an open loop, it says how late the load
/// generator was.
pub(crate) fn figures_table(unit: &str, rows: &[(String, Figures)]) -> String {
    let (rate, server, load) =
        (format!("{unit}s/s"), format!("server CPU µs/{unit}"), format!("load CPU µs/{unit}"));
    let open = rows.iter().any(|(_, figures)| figures.late_p99_ms.is_some());
    let mut head = vec!["", &rate, "p50 ms", "p99 ms", "p99.9 ms", &server, &load];
    head.extend(open.then_some("generator late, p99 ms"));
    head.push("errors");
    let rows: Vec<_> = rows.iter().map(|(what, figures)| row(what, figures, open)).collect();
    table(&head, &rows)
}

fn row(what: &str, figures: &Figures, open: bool) -> Vec<String> {
    let mut cells = vec![
        what.to_owned(),
        thousands(figures.rate),
        format!("{:.2}", figures.p50_ms),
        format!("{:.2}", figures.p99_ms),
        format!("{:.2}", figures.p999_ms),
        format!("{:.1}", figures.server_cpu_us),
        format!("{:.1}", figures.client_cpu_us),
    ];
    cells.extend(
        open.then(|| figures.late_p99_ms.map_or_else(|| "–".to_owned(), |late| format!("{late:.2}"))),
    );
    cells.push(match figures.errors {
        0 => "0".to_owned(),
        errors => format!("**{errors}**"),
    });
    cells
}

/// How much other work there was on the machine meanwhile: with more than a little, the figures say little.
pub(crate) fn others<'a>(runs: impl Iterator<Item = &'a Figures> + Clone) -> String {
    let most = runs.clone().map(|run| run.others_cores).fold(0.0, f64::max);
    let usual = median(runs.map(|run| run.others_cores));
    let warning = if most > 0.2 { " **The machine was not quiet: measure again.**" } else { "" };
    format!("Other work kept {usual:.2} cores busy in the usual run, {most:.2} in the worst.{warning}\n")
}

/// A whole number with its thousands set apart.
pub(crate) fn thousands(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure to reach.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) goal: Goal,
    /// Not a number where it was not measured.
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
    /// Anything but yes was answered on the way: then nothing is met.
    pub(crate) errors: u64,
}

/// On which side of the bound is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// That a figure is not larger than so much.
pub(crate) fn at_most(what: &str, most: f64, measured: f64, unit: &'static str, errors: u64) -> Target {
    Target { what: what.to_owned(), goal: Goal::AtMost(most), measured, unit, errors }
}

impl Target {
    fn row(&self) -> Vec<String> {
        let (sign, bound, reached) = match self.goal {
            Goal::AtLeast(bound) => ("≥", bound, self.measured >= bound),
            Goal::AtMost(bound) => ("≤", bound, self.measured <= bound),
        };
        let verdict = match (self.measured.is_nan(), self.errors, reached) {
            (true, ..) => "not measured".to_owned(),
            (false, 0, true) => "met".to_owned(),
            (false, 0, false) => "**missed**".to_owned(),
            (false, errors, _) => format!("**missed: {errors} errors**"),
        };
        let unit = self.unit;
        let measured =
            if self.measured.is_nan() { "–".to_owned() } else { format!("{:.2}{unit}", self.measured) };
        vec![self.what.clone(), format!("{sign} {bound}{unit}"), measured, verdict]
    }
}

/// The table of targets.
pub(crate) fn targets(targets: &[Target]) -> String {
    let rows: Vec<_> = targets.iter().map(Target::row).collect();
    table(&["", "target", "measured", "verdict"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1234567.8, "1,234,568"), (f64::NAN, "–")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_verdict_says_met_missed_or_why_not() {
        let check = |goal, measured, errors, expected: &str| {
            let target = Target { what: "x".into(), goal, measured, unit: "×", errors };
            assert_eq!(target.row().last().unwrap(), expected);
        };
        check(Goal::AtLeast(1.5), 1.5, 0, "met");
        check(Goal::AtLeast(1.5), 1.49, 0, "**missed**");
        check(Goal::AtMost(3.0), 3.0, 0, "met");
        check(Goal::AtMost(3.0), 3.01, 0, "**missed**");
        check(Goal::AtLeast(1.5), 9.0, 3, "**missed: 3 errors**");
        check(Goal::AtMost(3.0), f64::NAN, 0, "not measured");
    }
}
