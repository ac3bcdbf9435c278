//! The figures to reach beside the peers, each a ratio taken within a round.

use crate::gate::{Cell, Load, MANY};
use crate::report::{Target, at_most};
use crate::rounds::{Rounds, errors};
use crate::servers::Kind;
use crate::stats::{median, ratio};

use Kind::{Postgres, Redis, Tollgate};

/// Every target of the comparison.
pub(crate) fn gate(rounds: &Rounds<Cell>, orgs: u32) -> Vec<Target> {
    let orgs = crate::report::thousands(f64::from(orgs));
    let rate = |what: &str, ours, theirs, least| rounds.at_least(what, &ours, &theirs, least);
    let even = format!("{orgs} orgs");
    let mut targets = vec![
        rate(&format!("{even}, against Redis"), (Tollgate, Load::Even), (Redis, Load::Even), 1.5),
        rate("one hot org, against Redis", (Tollgate, Load::Hot), (Redis, Load::Hot), 1.5),
        rate(&format!("{even}, against PostgreSQL"), (Tollgate, Load::Even), (Postgres, Load::Even), 5.0),
        rate("one hot org, against PostgreSQL", (Tollgate, Load::Hot), (Postgres, Load::Hot), 20.0),
        rate(&format!("one hot org against {even}"), (Tollgate, Load::Hot), (Tollgate, Load::Even), 0.95),
    ];
    for connections in MANY {
        let what = format!("{connections} connections against the usual");
        targets.push(rate(&what, (Tollgate, Load::Many(connections)), (Tollgate, Load::Even), 0.8));
    }
    let half = rounds.of(&(Tollgate, Load::Half));
    let single = rounds.of(&(Tollgate, Load::Single));
    let p99 = half.iter().zip(&rounds.disks).map(|(figures, disk)| ratio(figures.p99_ms, disk.p99_ms));
    let p50 = single.iter().zip(&rounds.disks).map(|(figures, disk)| ratio(figures.p50_ms, disk.p50_ms));
    targets.extend([
        at_most(
            "p99 at half of the highest rate, against the p99 of fdatasync",
            3.0,
            median(p99),
            "×",
            errors(half),
        ),
        at_most("one connection's p50, against the p50 of fdatasync", 1.5, median(p50), "×", errors(single)),
    ]);
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Disk;
    use crate::stats::Figures;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut rounds = Rounds::default();
        // The machine was twice as slow in the second round: the ratio is the same.
        for (speed, ours, theirs) in [(1.0, 60_000.0, 30_000.0), (0.5, 60_000.0, 30_000.0)] {
            let figures = |rate: f64| Figures { rate: rate * speed, p50_ms: 0.3, ..Figures::default() };
            rounds.add((Tollgate, Load::Even), figures(ours));
            rounds.add((Redis, Load::Even), figures(theirs));
            rounds.add((Tollgate, Load::Single), figures(5_000.0));
            rounds.disks.push(Disk { p50_ms: 0.2, p99_ms: 0.4 });
        }
        let targets = gate(&rounds, 10_000);
        assert_eq!(targets[0].what, "10,000 orgs, against Redis");
        assert_eq!(targets[0].measured, 2.0);
        assert!(targets[2].measured.is_nan(), "PostgreSQL was not measured");
        assert!((targets.last().unwrap().measured - 1.5).abs() < 1e-9);
    }
}
