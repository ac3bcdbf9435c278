//! The figures to reach beside the peers. What compares two systems is taken within a round; the verdict is on the median
//! over the rounds, but for pauses, of which none may be long.

use crate::gate::{Cell, Load, MANY, OpenLoop};
use crate::report::{Goal, Target, at_most};
use crate::rounds::{Rounds, errors};
use crate::servers::Kind;
use crate::stats::{Figures, float, median, ratio};

use Kind::{Postgres, Redis, Tollgate};

/// Every target of the comparison.
pub(crate) fn gate(rounds: &Rounds<Cell>, orgs: u32, loops: &[OpenLoop]) -> Vec<Target> {
    let even = format!("{} orgs", crate::report::thousands(f64::from(orgs)));
    let mut targets = rates(rounds, &even);
    targets.extend([
        against_redis(rounds, "server CPU a request at the usual connections", Load::Even, 0.45, cpu),
        against_redis(rounds, "server CPU a request at half of the rate of each", Load::Half, 0.5, cpu),
    ]);
    let half = rounds.of(&(Tollgate, Load::Half));
    let of_half = |what: &str, most, figure: fn(&Figures) -> f64| {
        let what = format!("{what} at half of the highest rate, open loop");
        at_most(&what, most, median(half.iter().map(figure)), " ms", errors(half))
    };
    let pause = loops.iter().map(|open| open.timeline.pause_ms()).fold(f64::NAN, f64::max);
    let work = loops.iter().map(|open| float(open.work.least())).fold(f64::NAN, f64::min);
    let single = rounds.of(&(Tollgate, Load::Single));
    let disk = single.iter().zip(&rounds.disks).map(|(figures, disk)| ratio(figures.p50_ms, disk.p50_ms));
    targets.extend([
        of_half("p99", 3.0, |figures| figures.p99_ms),
        of_half("p99.9", 10.0, |figures| figures.p999_ms),
        at_most("the longest pause in any second of it, in any round", 20.0, pause, " ms", errors(half)),
        Target {
            what: "checkpoints, segments begun, tables written and compacted in it, the fewest".to_owned(),
            goal: Goal::AtLeast(1.0),
            measured: work,
            unit: "",
            errors: errors(half),
        },
        against_redis(rounds, "one connection's p50", Load::Single, 1.0, |figures| figures.p50_ms),
        at_most("one connection's p50, against the p50 of fdatasync", 2.5, median(disk), "×", errors(single)),
    ]);
    targets
}

fn rates(rounds: &Rounds<Cell>, even: &str) -> Vec<Target> {
    let rate = |what: &str, ours, theirs, least| rounds.at_least(what, &ours, &theirs, least);
    let mut targets = vec![
        rate(&format!("{even}, against Redis"), (Tollgate, Load::Even), (Redis, Load::Even), 3.0),
        rate("one hot org, against Redis", (Tollgate, Load::Hot), (Redis, Load::Hot), 2.5),
        rate(&format!("{even}, against PostgreSQL"), (Tollgate, Load::Even), (Postgres, Load::Even), 8.0),
        rate("one hot org, against PostgreSQL", (Tollgate, Load::Hot), (Postgres, Load::Hot), 40.0),
    ];
    for connections in MANY {
        let what = format!("{connections} connections against the usual");
        targets.push(rate(&what, (Tollgate, Load::Many(connections)), (Tollgate, Load::Even), 0.9));
    }
    targets
}

fn cpu(figures: &Figures) -> f64 {
    figures.server_cpu_us
}

/// That a figure is at most so many times that of Redis under the same load.
fn against_redis(
    rounds: &Rounds<Cell>,
    what: &str,
    load: Load,
    most: f64,
    figure: fn(&Figures) -> f64,
) -> Target {
    rounds.at_most(&format!("{what}, against Redis"), &(Tollgate, load), &(Redis, load), most, figure)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machine::Disk;
    use crate::servers::Work;
    use crate::timeline::Timeline;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut rounds = Rounds::default();
        // The machine was twice as slow in the second round: the ratios are the same.
        for speed in [1.0, 0.5] {
            let figures = |rate: f64, server_cpu_us: f64, p50_ms: f64| Figures {
                rate: rate * speed,
                server_cpu_us: server_cpu_us / speed,
                p50_ms: p50_ms / speed,
                p99_ms: 2.0,
                p999_ms: 8.0,
                ..Figures::default()
            };
            for (kind, load, rate, cpu, p50) in [
                (Tollgate, Load::Even, 60_000.0, 20.0, 1.0),
                (Tollgate, Load::Hot, 70_000.0, 20.0, 1.0),
                (Tollgate, Load::Half, 30_000.0, 36.0, 0.5),
                (Tollgate, Load::Single, 5_000.0, 90.0, 0.3),
                (Tollgate, Load::Many(1_000), 57_000.0, 20.0, 9.0),
                (Redis, Load::Even, 30_000.0, 50.0, 2.0),
                (Redis, Load::Hot, 35_000.0, 50.0, 2.0),
                (Redis, Load::Half, 15_000.0, 90.0, 0.6),
                (Redis, Load::Single, 4_000.0, 90.0, 0.4),
                (Postgres, Load::Even, 6_000.0, 200.0, 8.0),
            ] {
                rounds.add((kind, load), figures(rate, cpu, p50));
            }
            rounds.disks.push(Disk { p50_ms: 0.2 / speed, p99_ms: 0.4 });
        }
        let loops = [(12, 3), (25, 2)].map(|(pause, work)| {
            let mut timeline = Timeline::new(Duration::from_secs(2)).unwrap();
            timeline.answer(Duration::from_secs(1), Duration::from_millis(pause));
            OpenLoop { round: 0, timeline, work: Work::of_each(work) }
        });
        let targets = gate(&rounds, 10_000, &loops);
        assert_eq!(targets[0].what, "10,000 orgs, against Redis");
        let expected = [2.0, 2.0, 10.0, f64::NAN, 0.95, f64::NAN, 0.4, 0.4, 2.0, 8.0, 25.0, 2.0, 0.75, 1.5];
        assert_eq!(targets.len(), expected.len());
        for (target, expected) in targets.iter().zip(expected) {
            let same =
                (target.measured - expected).abs() < 0.05 || target.measured.is_nan() && expected.is_nan();
            assert!(same, "{target:?}: {expected}");
        }
    }
}
