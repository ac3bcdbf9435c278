//! The simulator, for a short while: seeds that never change, and fresh ones.

use std::time::{Duration, Instant};

use tollgate_testing::sim::{COMMANDS, Executor, Fault, StoreKind, Totals, run, smallest_failing};

/// Seeds that are run always.
const FIXED_SEEDS: u64 = 96;

/// How long fresh seeds are run.
const FRESH_SECS: u64 = 12;

/// Runs one seed; says what is wrong, how to repeat it, and the fewest requests it takes.
fn check(seed: u64, totals: &mut Totals) {
    let (kind, started) = (StoreKind::of(seed), Instant::now());
    let run = run(seed, kind, COMMANDS);
    totals.add(kind, &run, started.elapsed());
    if let Err(wrong) = run.verdict {
        let (commands, wrong) = smallest_failing(seed, kind, COMMANDS, wrong);
        panic!("`cargo xtask sim --seed {seed}` with `--commands {commands}`: {wrong}");
    }
}

/// `TOLLGATE_SEED` sets the first of the fresh seeds.
#[test]
fn the_simulator_finds_nothing_wrong() {
    let mut totals = Totals::default();
    for seed in 1..=FIXED_SEEDS {
        check(seed, &mut totals);
    }
    let fresh: u64 = std::env::var("TOLLGATE_SEED").map_or_else(
        |_| fastrand::u64(1_000_000..1_000_000_000),
        |text| text.parse().expect("a whole number"),
    );
    let (began, mut next) = (Instant::now(), fresh);
    while began.elapsed() < Duration::from_secs(FRESH_SECS) {
        check(next, &mut totals);
        next += 1;
    }
    println!("seeds 1 to {FIXED_SEEDS} and {fresh} to {}\n{}", next - 1, totals.table());
    // A run in which nothing goes wrong proves nothing.
    for fault in [
        Fault::CrashAnywhere,
        Fault::AnswerLost,
        Fault::RaceLost,
        Fault::PowerCut,
        Fault::TimedOut,
        Fault::ShipmentLost,
        Fault::ShipmentAgain,
        Fault::HolderStopped,
        Fault::LeaseLost,
        Fault::ClaimAnswerLost,
    ] {
        assert!(totals.count(fault) > 0, "{} never happened", fault.name());
    }
}

#[test]
fn a_seed_gives_the_same_run_again_to_the_byte() {
    for seed in [1, 2, 3, 8, 16, 24] {
        let kind = StoreKind::of(seed);
        let [first, second] = [(); 2].map(|()| run(seed, kind, COMMANDS));
        assert_eq!(first.trace, second.trace, "seed {seed} on the {kind:?} store");
        assert_eq!((first.commands, first.length), (second.commands, second.length), "seed {seed}");
    }
    assert_ne!(run(1, StoreKind::Shared, 20).trace, run(2, StoreKind::Shared, 20).trace);
}

#[test]
fn the_order_of_tasks_is_drawn() {
    let order = |seed| {
        let mut executor = Executor::new(seed);
        let (sender, order) = std::sync::mpsc::channel();
        let sim = executor.sim();
        executor.spawn(async move { sim.sleep(Duration::from_secs(1)).await });
        for number in 0..10 {
            let sender = sender.clone();
            executor.spawn(async move { sender.send(number).expect("somebody listens") });
        }
        executor.run().expect("it ends");
        drop(sender);
        order.iter().collect::<Vec<i32>>()
    };
    assert_eq!(order(5), order(5));
    assert_ne!(order(5), order(6));
}
