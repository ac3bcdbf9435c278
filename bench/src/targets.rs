//! The figures to reach beside the peers, each a ratio taken within a round.

use crate::gate::{Load, MANY, Rounds};
use crate::report::{Goal, Target};
use crate::servers::Kind;
use crate::stats::{Figures, median, ratio};

use Kind::{Postgres, Redis, Tollgate};

/// Every target of the comparison.
pub(crate) fn gate(rounds: &Rounds, orgs: u32) -> Vec<Target> {
    let orgs = crate::report::thousands(f64::from(orgs));
    let mut targets = vec![
        rate(
            rounds,
            &format!("{orgs} orgs, against Redis"),
            (Tollgate, Load::Even),
            (Redis, Load::Even),
            1.5,
        ),
        rate(rounds, "one hot org, against Redis", (Tollgate, Load::Hot), (Redis, Load::Hot), 1.5),
        rate(
            rounds,
            &format!("{orgs} orgs, against PostgreSQL"),
            (Tollgate, Load::Even),
            (Postgres, Load::Even),
            5.0,
        ),
        rate(rounds, "one hot org, against PostgreSQL", (Tollgate, Load::Hot), (Postgres, Load::Hot), 20.0),
        rate(
            rounds,
            &format!("one hot org against {orgs} orgs"),
            (Tollgate, Load::Hot),
            (Tollgate, Load::Even),
            0.95,
        ),
    ];
    for connections in MANY {
        let what = format!("{connections} connections against the usual");
        targets.push(rate(rounds, &what, (Tollgate, Load::Many(connections)), (Tollgate, Load::Even), 0.8));
    }
    let half = of(rounds, (Tollgate, Load::Half));
    let single = of(rounds, (Tollgate, Load::Single));
    let p99 = half.iter().zip(&rounds.disks).map(|(figures, disk)| ratio(figures.p99_ms, disk.p99_ms));
    let p50 = single.iter().zip(&rounds.disks).map(|(figures, disk)| ratio(figures.p50_ms, disk.p50_ms));
    targets.push(Target {
        what: "p99 at half of the highest rate, against the p99 of fdatasync".to_owned(),
        goal: Goal::AtMost(3.0),
        measured: median(p99),
        unit: "×",
        errors: errors(half),
    });
    targets.push(Target {
        what: "one connection's p50, against the p50 of fdatasync".to_owned(),
        goal: Goal::AtMost(1.5),
        measured: median(p50),
        unit: "×",
        errors: errors(single),
    });
    targets
}

fn of(rounds: &Rounds, cell: (Kind, Load)) -> &[Figures] {
    rounds.figures.get(&cell).map_or(&[], Vec::as_slice)
}

fn errors(figures: &[Figures]) -> u64 {
    figures.iter().map(|figures| figures.errors).sum()
}

/// The median over the rounds of one rate by another.
fn rate(rounds: &Rounds, what: &str, ours: (Kind, Load), theirs: (Kind, Load), least: f64) -> Target {
    let (ours, theirs) = (of(rounds, ours), of(rounds, theirs));
    Target {
        what: what.to_owned(),
        goal: Goal::AtLeast(least),
        measured: median(ours.iter().zip(theirs).map(|(ours, theirs)| ratio(ours.rate, theirs.rate))),
        unit: "×",
        errors: errors(ours) + errors(theirs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Disk;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut rounds = Rounds::default();
        // The machine was twice as slow in the second round: the ratio is the same.
        for (speed, ours, theirs) in [(1.0, 60_000.0, 30_000.0), (0.5, 60_000.0, 30_000.0)] {
            let figures = |rate: f64| Figures { rate: rate * speed, p50_ms: 0.3, ..Figures::default() };
            rounds.figures.entry((Tollgate, Load::Even)).or_default().push(figures(ours));
            rounds.figures.entry((Redis, Load::Even)).or_default().push(figures(theirs));
            rounds.figures.entry((Tollgate, Load::Single)).or_default().push(figures(5_000.0));
            rounds.disks.push(Disk { p50_ms: 0.2, p99_ms: 0.4 });
        }
        let targets = gate(&rounds, 10_000);
        assert_eq!(targets[0].what, "10,000 orgs, against Redis");
        assert_eq!(targets[0].measured, 2.0);
        assert!(targets[2].measured.is_nan(), "PostgreSQL was not measured");
        assert!((targets.last().unwrap().measured - 1.5).abs() < 1e-9);
    }
}
