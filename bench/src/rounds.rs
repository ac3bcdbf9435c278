//! Rounds: what the comparisons have in common.
//!
//! In each round every system is started afresh and measured in turn, the order moving on from round to round, so that a
//! drift of the machine meets all of them. Ratios are taken within a round and their median over the rounds is reported.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::args::Options;
use crate::machine::{self, Disk};
use crate::report::{self, Goal, Target};
use crate::stats::{Figures, median, ratio};

/// The figures of every round, by what was measured.
#[derive(Debug)]
pub(crate) struct Rounds<C> {
    pub(crate) figures: BTreeMap<C, Vec<Figures>>,
    /// The disk before each round.
    pub(crate) disks: Vec<Disk>,
}

impl<C> Default for Rounds<C> {
    fn default() -> Self {
        Self { figures: BTreeMap::new(), disks: Vec::new() }
    }
}

impl<C: Ord> Rounds<C> {
    /// Measures each system in each round, in a folder that is made and removed by this.
    pub(crate) fn run<S: Copy + Debug>(
        options: &Options,
        systems: &[S],
        mut measure: impl FnMut(S, u32, &Path, &mut Self) -> Result<()>,
    ) -> Result<Self> {
        // Others than root may pass through: PostgreSQL does not run as root.
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir_in(&options.folder)?;
        machine::require_disk(folder.path())?;
        let path = folder.path().canonicalize()?;
        eprintln!("seed {}", options.seed);
        let mut rounds = Self::default();
        for round in 0..options.rounds {
            rounds.disks.push(machine::measure_fdatasync(&path, Duration::from_secs(2))?);
            let mut order = systems.to_vec();
            let turn = usize::try_from(round)? % order.len().max(1);
            order.rotate_left(turn);
            for system in order {
                let place = path.join(format!("{round}-{system:?}"));
                measure(system, round, &place, &mut rounds)?;
                fs::remove_dir_all(&place)?;
            }
        }
        folder.close()?;
        Ok(rounds)
    }

    /// Adds what was measured in a round.
    pub(crate) fn add(&mut self, what: C, figures: Figures) {
        self.figures.entry(what).or_default().push(figures);
    }

    /// The figures of each round.
    pub(crate) fn of(&self, what: &C) -> &[Figures] {
        self.figures.get(what).map_or(&[], Vec::as_slice)
    }

    /// The median over the rounds of one figure by another.
    fn ratio(&self, ours: &C, theirs: &C, figure: fn(&Figures) -> f64) -> f64 {
        let pairs = self.of(ours).iter().zip(self.of(theirs));
        median(pairs.map(|(ours, theirs)| ratio(figure(ours), figure(theirs))))
    }

    /// That one rate is at least so many times another.
    pub(crate) fn at_least(&self, what: &str, ours: &C, theirs: &C, least: f64) -> Target {
        Target {
            what: what.to_owned(),
            goal: Goal::AtLeast(least),
            measured: self.ratio(ours, theirs, |figures| figures.rate),
            unit: "×",
            errors: errors(self.of(ours)) + errors(self.of(theirs)),
        }
    }

    /// That a figure of one is at most so many times that of another.
    pub(crate) fn at_most(
        &self,
        what: &str,
        ours: &C,
        theirs: &C,
        most: f64,
        figure: fn(&Figures) -> f64,
    ) -> Target {
        let errors = errors(self.of(ours)) + errors(self.of(theirs));
        report::at_most(what, most, self.ratio(ours, theirs, figure), "×", errors)
    }

    /// The machine with its disk, as the rounds found it.
    pub(crate) fn machine(&self) -> String {
        let of = |figure: fn(&Disk) -> f64| median(self.disks.iter().map(figure));
        format!(
            "Machine: {}; fdatasync of 4 KiB in place: p50 {:.3} ms, p99 {:.3} ms.\n",
            machine::describe(),
            of(|disk| disk.p50_ms),
            of(|disk| disk.p99_ms)
        )
    }
}

/// The errors of several runs.
pub(crate) fn errors(figures: &[Figures]) -> u64 {
    figures.iter().map(|figures| figures.errors).sum()
}
