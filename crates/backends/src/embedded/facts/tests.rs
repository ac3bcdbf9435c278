//! The facts of a ledger on a disk at its worst against a plain model, over seals, reopenings, power cuts and errors.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use tollgate_storage::StoreError;

use super::super::frame::Frame;
use super::super::io::Disk;
use super::super::io::fault::{Fault, FaultDisk};
use super::super::ledger::{Ledger, LedgerFiles};
use super::super::options::Work;
use super::super::segment::Segments;
use super::super::walk::{Position, Walker};
use super::{EntryFacts, Facts, FactsOptions, Notices, Place};

pub(super) const SEGMENT_BYTES: u64 = 4 * 1024;

pub(super) const OPTIONS: FactsOptions =
    FactsOptions { group_files_max: 3, ..FactsOptions::new(2_000, Work::Inline) };

/// How many different keys there are, and how many of them are keys of reversals.
const KEYS: u64 = 400;
const REVERSALS: u64 = 50;

/// A ledger with its facts, and what the facts should be.
pub(super) struct Stage {
    pub(super) disk: FaultDisk,
    options: FactsOptions,
    ledger: Option<Ledger>,
    pub(super) facts: Option<Facts>,
    pub(super) model: Model,
    /// Segments that were walked at the last opening.
    pub(super) walked: Vec<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    orgs: BTreeMap<u128, Vec<Place>>,
    keys: BTreeMap<u128, Vec<(Place, i64)>>,
    notices: Vec<Notices>,
    latest_secs: i64,
}

fn put_in(model: &mut Model, facts: &EntryFacts) {
    let place = facts.place;
    let org = model.orgs.entry(facts.org).or_default();
    org.push(place);
    assert_eq!(u64::try_from(org.len()).unwrap(), facts.number);
    for key in facts.key.into_iter().chain(facts.reverses) {
        model.keys.entry(key).or_default().push((place, facts.at_secs));
    }
    if facts.notices > 0 {
        model.notices.push(Notices { place, count: facts.notices });
    }
    model.latest_secs = model.latest_secs.max(facts.at_secs);
}

/// An entry of these tests says its facts.
fn encode(facts: &EntryFacts, padding: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&facts.org.to_le_bytes());
    bytes.extend_from_slice(&facts.number.to_le_bytes());
    for key in [facts.key, facts.reverses] {
        bytes.extend_from_slice(&key.unwrap_or(0).to_le_bytes());
    }
    bytes.extend_from_slice(&facts.notices.to_le_bytes());
    bytes.extend_from_slice(&facts.at_secs.to_le_bytes());
    bytes.resize(bytes.len() + padding, 7);
    bytes
}

fn decode(place: Place, bytes: &[u8]) -> EntryFacts {
    let u128_at = |at: usize| u128::from_le_bytes(bytes[at..at + 16].try_into().unwrap());
    let key_at = |at: usize| Some(u128_at(at)).filter(|key| *key != 0);
    EntryFacts {
        org: u128_at(0),
        number: u64::from_le_bytes(bytes[16..24].try_into().unwrap()),
        place,
        key: key_at(24),
        reverses: key_at(40),
        notices: u32::from_le_bytes(bytes[56..60].try_into().unwrap()),
        at_secs: i64::from_le_bytes(bytes[60..68].try_into().unwrap()),
    }
}

fn facts_of(position: &Position, frame: &Frame<'_>) -> Vec<EntryFacts> {
    let entries = frame.entries().map(|entry| entry.expect("an entry of a whole frame"));
    let located = entries.map(|(spot, blob)| {
        let offset = position.offset + spot.offset;
        decode(Place { segment: position.segment, offset }, blob)
    });
    located.collect()
}

/// Goes through the segments up to one; gives the last frame.
fn walk(
    segments: &Segments,
    ordinal: u32,
    mut visit: impl FnMut(&Position, &Frame<'_>),
) -> Result<Position, StoreError> {
    let mut last = Position::default();
    if ordinal > 0 {
        let mut walker = Walker::new(segments, ordinal, &last)?;
        while let Some((position, frame)) = walker.next()? {
            visit(&position, &frame);
            last = position;
        }
    }
    Ok(last)
}

impl Stage {
    /// Opens what is on a disk; the model is what its segments say.
    pub(super) fn on(disk: FaultDisk, options: FactsOptions) -> Result<Self, StoreError> {
        let (model, walked) = (Model::default(), Vec::new());
        let mut stage = Self { disk, options, ledger: None, facts: None, model, walked };
        stage.open()?;
        let segments = &stage.facts().keeping.segments;
        let (last, mut model) = (*segments.ordinals()?.last().expect("some"), Model::default());
        walk(segments, last, |position, frame| {
            facts_of(position, frame).iter().for_each(|facts| put_in(&mut model, facts));
        })?;
        stage.model = model;
        Ok(stage)
    }

    /// Opens the ledger and its facts, as the store does.
    pub(super) fn open(&mut self) -> Result<(), StoreError> {
        (self.ledger, self.facts) = (None, None);
        let files =
            LedgerFiles::open(Disk::Fault(self.disk.clone()), PathBuf::from("/ledger"), SEGMENT_BYTES)?;
        let (facts, missing) = Facts::open(Arc::clone(&files.segments), files.last, self.options)?;
        let newest = (1..=files.last).rev().find(|ordinal| !missing.contains(ordinal)).unwrap_or(0);
        for ordinal in missing.iter().copied().filter(|ordinal| *ordinal < newest) {
            let after = match facts.last_frame(ordinal - 1) {
                Some(last) => last,
                None => walk(&files.segments, ordinal - 1, |_, _| ())?,
            };
            let mut walker = Walker::new(&files.segments, ordinal, &after)?;
            while let Some((position, frame)) = walker.next()? {
                facts.add(&position, facts_of(&position, &frame))?;
            }
        }
        let after = facts.last_frame(newest).unwrap_or_default();
        let end = files.recover(&after, |position, frame| facts.add(position, facts_of(position, frame)))?;
        self.walked = missing;
        self.ledger = Some(Ledger::new(files, end, SEGMENT_BYTES, Work::Inline, Arc::default())?);
        self.facts = Some(facts);
        Ok(())
    }

    /// Whether all groups but the one that takes more have their filters in files.
    pub(super) fn all_is_stored(&self) -> bool {
        let view = self.facts().keeping.view();
        let closed = view.groups.split_last().map(|(_, closed)| closed).unwrap_or_default();
        view.groups.iter().all(|group| group.filters.is_some()) && closed.iter().all(|group| group.stored)
    }

    pub(super) fn facts(&self) -> &Facts {
        self.facts.as_ref().expect("open")
    }

    /// Appends one frame of random entries.
    pub(super) fn append(&mut self, rng: &mut Rng) -> Result<(), StoreError> {
        let mut added: BTreeMap<u128, u64> = BTreeMap::new();
        let ledger = self.ledger.as_mut().expect("open");
        let builder = ledger.begin()?;
        let mut spots = Vec::new();
        for _ in 0..rng.usize(1..12) {
            let org = org(rng.u64(..12).min(rng.u64(..12)));
            let new = added.entry(org).or_default();
            *new += 1;
            let number = u64::try_from(self.model.orgs.get(&org).map_or(0, Vec::len)).unwrap() + *new;
            let facts = EntryFacts {
                org,
                number,
                place: Place::default(),
                key: (rng.u8(..4) > 0).then(|| key(rng.u64(..KEYS))),
                reverses: (rng.u8(..9) == 0).then(|| key(rng.u64(KEYS..KEYS + REVERSALS))),
                notices: rng.u32(..30).saturating_sub(26),
                at_secs: self.model.latest_secs + rng.i64(-5..9),
            };
            let spot = builder.push(|buffer| buffer.extend_from_slice(&encode(&facts, rng.usize(..20))));
            spots.push((spot, facts));
        }
        let frame = ledger.append()?;
        let located: Vec<_> = spots
            .into_iter()
            .map(|(spot, facts)| {
                let offset = frame.offset + spot.offset;
                EntryFacts { place: Place { segment: frame.segment, offset }, ..facts }
            })
            .collect();
        located.iter().for_each(|facts| put_in(&mut self.model, facts));
        self.facts().add(&frame, located)
    }

    /// Compares what is found with the model: all, or what is near some random numbers.
    pub(super) fn check(&self, rng: &mut Rng, all: bool) -> Result<(), StoreError> {
        let facts = self.facts();
        let keys = (0..KEYS + REVERSALS + 50).filter(|_| all || rng.u8(..30) == 0);
        for key in keys.collect::<Vec<_>>() {
            self.check_key(self::key(key))?;
        }
        for number in 0..12 {
            let (org, held) = (org(number), self.model.orgs.get(&org(number)));
            let places = held.map(Vec::as_slice).unwrap_or_default();
            let count = u64::try_from(places.len()).unwrap();
            assert_eq!(facts.newest(org, 1)?, (count > 0).then_some(count));
            let middle = rng.u64(..count + 2);
            let ranges = [
                1..=u64::MAX,
                count.saturating_sub(9)..=count + 5,
                middle..=middle + 20,
                1..=9,
                count + 1..=count + 9,
            ];
            for range in ranges {
                assert_eq!(
                    facts.locate(org, range.clone(), 1)?,
                    numbered(places, &range),
                    "{range:?} of {count}"
                );
            }
            let Some(last) = places.last() else { continue };
            let since = facts.locate(org, 1..=count, last.segment)?;
            let wanted = numbered(places, &(1..=count)).into_iter();
            assert_eq!(since, wanted.filter(|(_, place)| place.segment == last.segment).collect::<Vec<_>>());
        }
        let (from, limit) = (rng.usize(..=self.model.notices.len()), rng.usize(1..40));
        let start = self
            .model
            .notices
            .get(from)
            .map_or(Place { segment: u32::MAX, offset: 9 }, |notices| notices.place);
        let wanted = &self.model.notices[from..(from + limit).min(self.model.notices.len())];
        assert_eq!(facts.notices_from(start, limit)?, wanted);
        assert_eq!(facts.notices_from(Place::default(), usize::MAX)?, self.model.notices);
        Ok(())
    }

    /// What is found is there, newest first, and nothing is left out that is not past its time.
    fn check_key(&self, key: u128) -> Result<(), StoreError> {
        let found = self.facts().find_key(key).collect::<Result<Vec<_>, _>>()?;
        let held = self.model.keys.get(&key).map(Vec::as_slice).unwrap_or_default();
        let oldest = self.model.latest_secs - self.options.key_keep_secs;
        let newest_first: Vec<_> = held.iter().rev().collect();
        assert!(found.len() <= held.len(), "{found:?} of {held:?}");
        for (at, (place, at_secs)) in newest_first.into_iter().enumerate() {
            match found.get(at) {
                Some(found) => assert_eq!(found, place),
                None => assert!(*at_secs < oldest, "{place:?} of {at_secs}, after {oldest}, is not found"),
            }
        }
        for place in found {
            let facts = decode(place, &self.facts().read_entry(place)?);
            assert!([facts.key, facts.reverses].contains(&Some(key)), "{place:?} is another key's");
        }
        Ok(())
    }
}

fn numbered(places: &[Place], range: &RangeInclusive<u64>) -> Vec<(u64, Place)> {
    (1..).zip(places.iter().copied()).filter(|(number, _)| range.contains(number)).collect()
}

fn spread(number: u64, space: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128_with_seed(&number.to_le_bytes(), space)
}

pub(super) fn org(number: u64) -> u128 {
    spread(number, 1)
}

fn key(number: u64) -> u128 {
    spread(number, 2)
}

#[test]
fn what_is_added_is_found_over_seals_and_reopenings() {
    for (seed, work) in (0..4).zip([Work::Inline, Work::Background].into_iter().cycle()) {
        let mut rng = Rng::with_seed(seed);
        let mut stage = Stage::on(FaultDisk::new(seed), FactsOptions { work, ..OPTIONS }).expect("opens");
        for round in 0..400 {
            stage.append(&mut rng).expect("appends");
            if rng.u8(..10) == 0 {
                stage.check(&mut rng, false).expect("is found");
            }
            if rng.u8(..60) == 0 {
                match rng.u8(..3) {
                    0 => stage.facts().settle().expect("settles"),
                    1 => drop(stage.disk.power_cycle(round)),
                    _ => {}
                }
                stage.open().expect("opens");
                stage.check(&mut rng, true).expect("is found");
            }
        }
        stage.facts().settle().expect("settles");
        stage.check(&mut rng, true).expect("is found");
        let view = stage.facts().keeping.view();
        assert_eq!(view.tables.len(), 1, "all but the open table are sealed");
        assert!(view.groups.len() > 8, "{} groups", view.groups.len());
        assert!(stage.all_is_stored());
        assert!(!view.groups[0].has_live_keys(), "the oldest keys have expired");
        stage.open().expect("opens");
        assert_eq!(
            stage.walked.first(),
            view.tables.first().map(|table| &table.ordinal),
            "only what is open"
        );
    }
}

#[test]
fn keys_expire_with_their_segment_and_come_back_with_a_longer_keep_time() {
    let mut rng = Rng::with_seed(1);
    let mut stage = Stage::on(FaultDisk::new(0), OPTIONS).expect("opens");
    while stage.model.latest_secs < 4_000 {
        stage.append(&mut rng).expect("appends");
    }
    let lost = |stage: &Stage| {
        let keys = stage.model.keys.iter();
        keys.map(|(key, held)| held.len() - stage.facts().find_key(*key).count()).sum::<usize>()
    };
    stage.check(&mut rng, true).expect("is found");
    let before = lost(&stage);
    stage.facts().keeping.drop_before(stage.model.latest_secs - 500);
    let after = lost(&stage);
    assert!(before > 100 && after > before + 100, "{before} expired, then {after}");
    stage.options.key_keep_secs = 1_000_000;
    for _ in 0..2 {
        stage.open().expect("opens");
        stage.check(&mut rng, true).expect("is found");
        assert_eq!(lost(&stage), 0, "all that is kept is found");
    }
}

#[test]
fn readers_find_what_was_added_at_every_moment_of_a_seal() {
    let mut rng = Rng::with_seed(10);
    let options = FactsOptions { work: Work::Background, ..OPTIONS };
    let mut stage = Stage::on(FaultDisk::new(0), options).expect("opens");
    for _ in 0..40 {
        stage.append(&mut rng).expect("appends");
    }
    let facts = Arc::new(stage.facts.take().expect("open"));
    let model = std::mem::take(&mut stage.model);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (org, places) in &model.orgs {
                        let count = u64::try_from(places.len()).unwrap();
                        let found = facts.locate(*org, 1..=count, 1).expect("is found");
                        assert_eq!(found, numbered(places, &(1..=count)));
                    }
                    let newest = model.keys.iter().filter_map(|(key, held)| Some((key, held.last()?)));
                    for (key, (place, _)) in newest {
                        let found = facts.find_key(*key).next().expect("is found").expect("is read");
                        assert!(found >= *place, "{found:?} before {place:?}");
                    }
                    let notices =
                        facts.notices_from(Place::default(), model.notices.len()).expect("are found");
                    assert_eq!(notices, model.notices);
                }
            });
        }
        let ledger = stage.ledger.as_mut().expect("open");
        for number in 0..400 {
            let builder = ledger.begin().expect("goes on");
            let spot = builder.push(|buffer| buffer.extend_from_slice(&[7; 500]));
            let frame = ledger.append().expect("appends");
            let place = Place { segment: frame.segment, offset: frame.offset + spot.offset };
            let key = key(1_000 + number);
            let entry = EntryFacts {
                org: org(99),
                number: number + 1,
                place,
                key: Some(key),
                reverses: None,
                notices: 0,
                at_secs: model.latest_secs,
            };
            facts.add(&frame, [entry]).expect("follows");
            let found = facts.find_key(key).next().expect("is found").expect("is read");
            assert_eq!(found, place);
        }
        facts.settle().expect("settles");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(facts.newest(org(99), 1).expect("is read"), Some(400));
}

#[test]
fn what_does_not_follow_is_refused() {
    let mut stage = Stage::on(FaultDisk::new(0), OPTIONS).expect("opens");
    let mut rng = Rng::with_seed(11);
    while stage.facts().keeping.view().groups.len() < 2 {
        stage.append(&mut rng).expect("appends");
    }
    let place = |segment| Place { segment, offset: 3_000 };
    let frame = |segment| Position { segment, ..Position::default() };
    let open = stage.facts().keeping.view().tables[0].ordinal;
    let (org, places) = stage.model.orgs.iter().next().expect("some");
    let number = u64::try_from(places.len()).unwrap();
    let facts = |segment, number| EntryFacts {
        org: *org,
        number,
        place: place(segment),
        key: None,
        reverses: None,
        notices: 0,
        at_secs: 0,
    };
    let add = |segment, number| stage.facts().add(&frame(segment), [facts(segment, number)]);
    add(open, number + 1).expect("follows");
    for (segment, number) in [(1, number + 2), (open - 1, number + 2), (open, number + 1), (open, number + 3)]
    {
        let error = add(segment, number).expect_err("does not follow");
        assert!(error.to_string().contains("is damaged at byte"), "{error}");
    }
    add(open, number + 2).expect("follows");
}

/// Some appends, with the store opened again now and then.
fn script(stage: &mut Stage, rng: &mut Rng) -> Result<(), StoreError> {
    for number in 1..=30 {
        stage.append(rng)?;
        if number % 12 == 0 {
            stage.open()?;
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_at_every_operation_loses_no_fact() {
    let mut rng = Rng::with_seed(2);
    let disk = FaultDisk::new(0);
    let mut stage = Stage::on(disk.clone(), OPTIONS).expect("opens");
    disk.record();
    script(&mut stage, &mut rng).expect("nothing is planned");
    let states = disk.history();
    assert!(states.len() > 200, "{} operations", states.len());
    for (number, state) in states.iter().enumerate() {
        for seed in 0..2 {
            let disk = state.copy();
            disk.power_cycle(seed);
            let case = format!("cut before operation {number}, seed {seed}");
            let mut stage = Stage::on(disk, OPTIONS).unwrap_or_else(|error| panic!("{case}: {error}"));
            stage.check(&mut rng, false).unwrap_or_else(|error| panic!("{case}: {error}"));
            stage.append(&mut rng).unwrap_or_else(|error| panic!("{case}: {error}"));
            stage.check(&mut rng, false).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
    }
}

#[test]
fn an_error_at_every_operation_loses_no_fact() {
    let disk = FaultDisk::new(0);
    let mut stage = Stage::on(disk.clone(), OPTIONS).expect("opens");
    let opened = disk.operations().len();
    script(&mut stage, &mut Rng::with_seed(3)).expect("nothing is planned");
    let operations = disk.operations().len() - opened;
    let faults = [
        Fault::Once(ErrorKind::Other),
        Fault::ForEver(ErrorKind::StorageFull),
        Fault::Once(ErrorKind::Interrupted),
        Fault::Short,
    ];
    let mut went_on = 0;
    for (at, fault) in (0..operations).flat_map(|at| faults.map(|fault| (at, fault))) {
        let case = format!("{fault:?} at operation {at}");
        let disk = FaultDisk::new(0);
        let mut stage = Stage::on(disk.clone(), OPTIONS).expect("opens");
        let mut rng = Rng::with_seed(3);
        disk.plan(at, fault);
        let done = script(&mut stage, &mut rng);
        disk.heal();
        if done.is_ok() {
            went_on += 1;
            stage.check(&mut rng, false).unwrap_or_else(|error| panic!("{case}: {error}"));
            stage.facts().settle().unwrap_or_else(|error| panic!("{case}: {error}"));
            stage.check(&mut rng, false).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        disk.power_cycle(4);
        let stage = Stage::on(disk, OPTIONS).unwrap_or_else(|error| panic!("{case}: {error}"));
        stage.check(&mut rng, true).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    assert!(went_on > operations / 2, "{went_on} of {operations} runs went on");
}
