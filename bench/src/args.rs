//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::load::{ORGS_MAX, PARTS};
use crate::servers::{Kind, StoreKind};

/// What `--help` prints.
const HELP: &str = "\
usage: tollgate-bench gate [--rounds N] [--seconds S] [--warmup S] [--open-seconds S] [--connections N] [--orgs N]
                            [--systems tollgate,redis,postgres]
       tollgate-bench ingest [--rounds N] [--connections N] [--orgs N] [--usages N] [--variant-usages N] [--batch N]
                            [--systems tollgate,postgres]
       tollgate-bench holds  [--rounds N] [--seconds S] [--warmup S] [--connections N] [--orgs N]
       tollgate-bench stores [--rounds N] [--seconds S] [--warmup S] [--orgs N]
                            [--stores embedded,postgres,redis,dynamodb,mongodb]
       tollgate-bench replicas [--rounds N] [--seconds S] [--warmup S] [--orgs N] [--connections N] [--share PART]
                            [--stores postgres,redis,dynamodb,mongodb]
       tollgate-bench scale [--orgs N] [--usages N] [--connections N] [--depth N]
       tollgate-bench keys  [--orgs N] [--usages N] [--connections N] [--batch N]
       tollgate-bench pages [--orgs N] [--usages N] [--batch N] [--rounds N]
all:   [--server FILE] [--folder DIR] [--seed N]

  --seconds S          how long each closed loop is measured, and the peers' open loop (default: 6)
  --open-seconds S     how long Tollgate's open loop at half of its rate is (default: 60)
  --share PART         the part of a core that each server has (default: 0.4)
  --variant-usages N   usages by a property, and of one org with many users (default: 1000000)
  --server FILE        the tollgate binary (default: target/release/tollgate)
  --folder DIR         where the temporary folder is made; must be on a real disk (default: target)";

/// Which tables to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Side by side with the peers.
    Gate,
    /// Usage after the fact, in batches, side by side with PostgreSQL.
    Ingest,
    /// Holds, side by side with plain usage.
    Holds,
    /// On each store, side by side with what is written by hand on the same server.
    Stores,
    /// Several servers on one store, each held to a part of a core.
    Replicas,
    /// Many orgs, a full month, restarts.
    Scale,
    /// Many keys, all of them remembered.
    Keys,
    /// The pages of the console, on many orgs.
    Pages,
}

/// What was asked for on the command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) rounds: u32,
    pub(crate) measure: Duration,
    pub(crate) warmup: Duration,
    /// How long Tollgate's open loop lasts.
    pub(crate) open: Duration,
    pub(crate) connections: usize,
    pub(crate) orgs: u32,
    pub(crate) usages: u64,
    /// Usages of each variant of ingest.
    pub(crate) variant_usages: u64,
    /// Usages in one request of a batch.
    pub(crate) batch: usize,
    /// The part of a core that each of several servers has.
    pub(crate) share: f64,
    /// Requests in flight on each connection.
    pub(crate) depth: usize,
    pub(crate) systems: Vec<Kind>,
    pub(crate) stores: Vec<StoreKind>,
    pub(crate) server: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
}

impl Options {
    fn defaults(mode: Mode) -> Self {
        let (connections, orgs) = match mode {
            Mode::Gate | Mode::Holds | Mode::Stores | Mode::Replicas => (64, 10_000),
            Mode::Ingest => (8, 10_000),
            Mode::Scale => (128, 1_000_000),
            Mode::Keys => (8, 10_000),
            Mode::Pages => (8, 1_000_000),
        };
        let systems = match mode {
            Mode::Ingest => vec![Kind::Tollgate, Kind::Postgres],
            Mode::Gate
            | Mode::Holds
            | Mode::Stores
            | Mode::Replicas
            | Mode::Scale
            | Mode::Keys
            | Mode::Pages => {
                vec![Kind::Tollgate, Kind::Redis, Kind::Postgres]
            }
        };
        Self {
            mode,
            rounds: if mode == Mode::Pages { 21 } else { 3 },
            measure: Duration::from_secs(6),
            warmup: Duration::from_secs(2),
            open: Duration::from_secs(60),
            connections,
            orgs,
            usages: if mode == Mode::Keys { 100_000_000 } else { 10_000_000 },
            variant_usages: 1_000_000,
            batch: 1_000,
            depth: 1,
            share: 0.4,
            systems,
            stores: StoreKind::ALL.to_vec(),
            server: PathBuf::from("target/release/tollgate"),
            folder: PathBuf::from("target"),
            seed: fastrand::u64(..),
        }
    }

    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mode = match args.next().as_deref() {
            Some("gate") => Mode::Gate,
            Some("ingest") => Mode::Ingest,
            Some("holds") => Mode::Holds,
            Some("stores") => Mode::Stores,
            Some("replicas") => Mode::Replicas,
            Some("scale") => Mode::Scale,
            Some("keys") => Mode::Keys,
            Some("pages") => Mode::Pages,
            _ => return Err(HELP.into()),
        };
        let mut options = Self::defaults(mode);
        while let Some(flag) = args.next() {
            if flag == "--help" {
                return Err(HELP.into());
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value\n{HELP}"))?;
            options.set(&flag, &value).map_err(|error| format!("{flag} {value}: {error}"))?;
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        if self.connections == 0 || self.depth == 0 || self.orgs == 0 || self.rounds == 0 {
            return Err("connections, depth, orgs and rounds must be at least 1".into());
        }
        let in_parts: &[u64] = match self.mode {
            Mode::Ingest => &[self.usages, self.variant_usages],
            Mode::Keys => &[self.usages],
            Mode::Gate | Mode::Holds | Mode::Stores | Mode::Replicas | Mode::Scale | Mode::Pages => &[],
        };
        let whole = u64::try_from(self.batch)? * u64::from(PARTS);
        if in_parts.iter().any(|usages| whole == 0 || *usages == 0 || !usages.is_multiple_of(whole)) {
            return Err(format!("usages must be a multiple of {whole}, {PARTS} batches").into());
        }
        if !(0.01..=64.0).contains(&self.share) {
            return Err("a share is a number of cores, 0.01 or more".into());
        }
        if self.mode == Mode::Pages && (self.rounds < 2 || self.batch == 0) {
            return Err("at least 2 rounds, and batches of at least 1".into());
        }
        if self.orgs >= ORGS_MAX {
            return Err(format!("at most {} orgs", ORGS_MAX - 1).into());
        }
        Ok(())
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        match flag {
            "--rounds" => self.rounds = value.parse()?,
            "--seconds" => self.measure = Duration::try_from_secs_f64(value.parse()?)?,
            "--warmup" => self.warmup = Duration::try_from_secs_f64(value.parse()?)?,
            "--open-seconds" => self.open = Duration::try_from_secs_f64(value.parse()?)?,
            "--connections" => self.connections = value.parse()?,
            "--orgs" => self.orgs = value.parse()?,
            "--usages" => self.usages = value.parse()?,
            "--variant-usages" => self.variant_usages = value.parse()?,
            "--batch" => self.batch = value.parse()?,
            "--share" => self.share = value.parse()?,
            "--depth" => self.depth = value.parse()?,
            "--systems" => self.systems = value.split(',').map(Kind::parse).collect::<Result<_>>()?,
            "--stores" => self.stores = value.split(',').map(StoreKind::parse).collect::<Result<_>>()?,
            "--server" => self.server = value.into(),
            "--folder" => self.folder = value.into(),
            "--seed" => self.seed = value.parse()?,
            _ => return Err(format!("no such option\n{HELP}").into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_checked() {
        let options = parse("gate --rounds 5 --seconds 0.5 --systems redis,postgres").unwrap();
        assert_eq!((options.mode, options.rounds), (Mode::Gate, 5));
        assert_eq!(options.measure, Duration::from_millis(500));
        assert_eq!(options.systems, [Kind::Redis, Kind::Postgres]);
        let options = parse("ingest --usages 100000 --batch 500").unwrap();
        assert_eq!((options.usages, options.batch), (100_000, 500));
        assert_eq!(options.systems, [Kind::Tollgate, Kind::Postgres]);
        assert_eq!(options.variant_usages, 1_000_000);
        let options = parse("keys --usages 20000000").unwrap();
        assert_eq!((options.mode, options.usages), (Mode::Keys, 20_000_000));
        assert_eq!(
            parse("stores --stores redis,mongodb").unwrap().stores,
            [StoreKind::Redis, StoreKind::Mongo]
        );
        let options = parse("pages --orgs 100000").unwrap();
        assert_eq!((options.mode, options.orgs, options.rounds), (Mode::Pages, 100_000, 21));
        assert_eq!(parse("gate --open-seconds 5").unwrap().open, Duration::from_secs(5));
        for bad in [
            "",
            "race",
            "ingest --usages 1001",
            "ingest --batch 0",
            "ingest --variant-usages 1001",
            "keys --usages 1001",
            "gate --rounds",
            "pages --rounds 1",
            "gate --rounds x",
            "gate --orgs 0",
            "gate --systems mysql",
            "stores --stores oracle",
            "replicas --share 0",
        ] {
            assert!(parse(bad).is_err(), "{bad} was taken");
        }
    }
}
