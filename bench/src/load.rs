//! The requests: bytes built once, in which only the orgs, the users, the groups and the keys are overwritten for each
//! request.
//!
//! Every system gets the same stream: an org drawn evenly, a user of it likewise, a key never sent before; one usage a
//! request at the gate, many in a batch.
//! Keys look random (they are a counter scrambled one-to-one), as ids that callers make do: ascending keys would
//! flatter a B-tree.

use crate::Result;

/// Orgs are numbered with seven digits.
pub(crate) const ORGS_MAX: u32 = 10_000_000;
/// Users of each org, unless said otherwise; they are numbered with six digits.
const USERS: u32 = 10;
/// Values of the property that a meter is counted by; they are numbered with two digits.
pub(crate) const GROUPS: u32 = 100;
/// Batches of usages are sent in so many parts; memory is looked at after each.
pub(crate) const PARTS: u16 = 10;
/// More requests than one run can send: each run has this many keys to itself.
const KEYS_A_RUN: u64 = 1 << 40;

/// Stand for the org's number, the user's, the group's and the key in a template.
pub(crate) const ORG: &str = "@@@@@@@";
pub(crate) const USER: &str = "~~~~~~";
pub(crate) const GROUP: &str = "%%";
pub(crate) const KEY: &str = "^^^^^^^^^^^^^^^^";

/// The id of an org, as every system knows it.
pub(crate) fn org_id(org: u32) -> String {
    format!("o{org:07}")
}

/// Request bytes with the holes of each usage in it.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    usages: Vec<Holes>,
}

/// Where the values of one usage go.
#[derive(Clone, Debug)]
struct Holes {
    orgs: Vec<usize>,
    users: Vec<usize>,
    groups: Vec<usize>,
    keys: Vec<usize>,
}

impl Template {
    /// A request with one usage: finds its holes, marked by [`ORG`], [`USER`], [`GROUP`] and [`KEY`]; there need be none
    /// for a group.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        let [orgs, users, groups, keys] = holes(&bytes);
        if orgs.is_empty() || users.is_empty() || keys.is_empty() {
            return Err("a request template lacks a hole".into());
        }
        Ok(Self { bytes, usages: vec![Holes { orgs, users, groups, keys }] })
    }

    /// A request with so many usages: the first hole of each kind is the first usage's, and so on.
    pub(crate) fn of_many(bytes: Vec<u8>, usages: usize) -> Result<Self> {
        let [orgs, users, groups, keys] = holes(&bytes);
        let each_has_one = [&orgs, &users, &keys].iter().all(|holes| holes.len() == usages);
        if !each_has_one || !(groups.is_empty() || groups.len() == usages) {
            return Err("a request template has not one hole of each kind for each usage".into());
        }
        let mut groups = groups.into_iter();
        let each = orgs.into_iter().zip(users).zip(keys);
        let usages = each.map(|((org, user), key)| Holes {
            orgs: vec![org],
            users: vec![user],
            groups: groups.next().into_iter().collect(),
            keys: vec![key],
        });
        Ok(Self { bytes, usages: usages.collect() })
    }
}

/// The places of the four markers.
fn holes(bytes: &[u8]) -> [Vec<usize>; 4] {
    [ORG, USER, GROUP, KEY].map(|marker| {
        let found = bytes.windows(marker.len()).enumerate();
        found.filter(|(_, window)| *window == marker.as_bytes()).map(|(at, _)| at).collect()
    })
}

impl Holes {
    fn fill(&self, bytes: &mut [u8], spread: Spread, random: &mut fastrand::Rng, key: u64) {
        let org = decimal::<7>(spread.first + random.u32(0..spread.orgs));
        let user = decimal::<6>(random.u32(0..spread.users));
        for at in &self.orgs {
            overwrite(bytes, *at, &org);
        }
        for at in &self.users {
            overwrite(bytes, *at, &user);
        }
        for at in &self.groups {
            overwrite(bytes, *at, &decimal::<2>(random.u32(0..GROUPS)));
        }
        for at in &self.keys {
            overwrite(bytes, *at, &hexadecimal(key));
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(hole) = bytes.get_mut(at..at + with.len()) {
        hole.copy_from_slice(with);
    }
}

fn decimal<const N: usize>(mut number: u32) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    digits
}

fn hexadecimal(number: u64) -> [u8; 16] {
    let mut digits = [b'0'; 16];
    for (digit, shift) in digits.iter_mut().zip((0..64).step_by(4).rev()) {
        let nibble = u8::try_from((number >> shift) & 0xf).unwrap_or(0);
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

/// Which orgs and users a run asks for, each as often as any other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    first: u32,
    orgs: u32,
    users: u32,
}

impl Spread {
    /// Orgs `0..orgs`.
    pub(crate) const fn even(orgs: u32) -> Self {
        Self { first: 0, orgs, users: USERS }
    }

    /// One of some parts of orgs `0..orgs`, as many in each.
    pub(crate) fn part(orgs: u32, part: usize, parts: usize) -> Result<Self> {
        let each = orgs / u32::try_from(parts)?.max(1);
        Ok(Self { first: each * u32::try_from(part)?, orgs: each, users: USERS })
    }

    /// One org only.
    pub(crate) const fn hot(org: u32) -> Self {
        Self::users(org, USERS)
    }

    /// One org with so many users.
    pub(crate) const fn users(org: u32, users: u32) -> Self {
        Self { first: org, orgs: 1, users }
    }
}

/// Hands out runs of keys, so that no key is ever sent twice within one benchmark.
#[derive(Debug)]
pub(crate) struct Keys {
    next: u64,
    seed: u64,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: 0, seed }
    }

    /// A stream of so many requests, or without end.
    pub(crate) fn stream(&mut self, template: &Template, spread: Spread, requests: Option<u64>) -> Stream {
        let first = self.next;
        self.next += KEYS_A_RUN;
        let random = fastrand::Rng::with_seed(self.seed ^ first);
        Stream { template: template.clone(), spread, random, key: first, left: requests.unwrap_or(u64::MAX) }
    }
}

/// A stream of requests.
#[derive(Debug)]
pub(crate) struct Stream {
    template: Template,
    spread: Spread,
    random: fastrand::Rng,
    key: u64,
    left: u64,
}

impl Stream {
    /// Appends the next request; false when there is none.
    pub(crate) fn next_into(&mut self, out: &mut Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let Template { bytes, usages } = &mut self.template;
        for holes in usages {
            // An odd factor makes the product a permutation of all 64-bit numbers.
            let key = self.key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.key += 1;
            holes.fill(bytes, self.spread, &mut self.random, key);
        }
        out.extend_from_slice(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn holes_are_filled_and_keys_never_repeat() {
        let template = Template::new(format!("{ORG} u{USER} {KEY} {ORG} g{GROUP}").into_bytes()).unwrap();
        let mut keys = Keys::new(7);
        let mut seen = HashSet::new();
        let cases = [
            (Spread::even(5), 0..5, 10),
            (Spread::hot(12), 12..13, 10),
            (Spread::users(12, 20_000), 12..13, 20_000),
        ];
        for (spread, orgs, users) in cases {
            let mut stream = keys.stream(&template, spread, Some(100));
            let mut out = Vec::new();
            while stream.next_into(&mut out) {
                let line = String::from_utf8(std::mem::take(&mut out)).unwrap();
                let parts: Vec<&str> = line.split(' ').collect();
                assert_eq!(parts[0], parts[3]);
                assert!(orgs.contains(&parts[0].parse::<u32>().unwrap()), "{line}");
                assert!(parts[1][1..].parse::<u32>().unwrap() < users && parts[1].len() == 7, "{line}");
                assert!(parts[4][1..].parse::<u32>().unwrap() < GROUPS && parts[4].len() == 3, "{line}");
                assert!(parts[2].len() == 16 && seen.insert(parts[2].to_owned()), "{line} repeats a key");
            }
        }
        assert_eq!(seen.len(), 300);
        assert!(Template::new(b"nothing".to_vec()).is_err());
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let template = Template::new(format!("{ORG} {USER} {KEY}").into_bytes()).unwrap();
        let lines = |requests| {
            let (mut out, mut stream) =
                (Vec::new(), Keys::new(7).stream(&template, Spread::even(9), Some(requests)));
            while stream.next_into(&mut out) {}
            out
        };
        assert!(lines(50).starts_with(&lines(20)));
    }

    #[test]
    fn each_usage_of_a_batch_has_values_of_its_own() {
        // Column by column, as PostgreSQL takes them.
        let bytes = format!("{ORG},{ORG},{ORG} {USER},{USER},{USER} {KEY},{KEY},{KEY}").into_bytes();
        assert!(Template::of_many(bytes.clone(), 2).is_err());
        let template = Template::of_many(bytes, 3).unwrap();
        let mut stream = Keys::new(7).stream(&template, Spread::even(1_000), Some(2));
        let mut keys = HashSet::new();
        let mut out = Vec::new();
        while stream.next_into(&mut out) {
            let line = String::from_utf8(std::mem::take(&mut out)).unwrap();
            let columns: Vec<Vec<&str>> = line.split(' ').map(|column| column.split(',').collect()).collect();
            let is_set = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(columns.iter().all(|column| column.len() == 3 && column.iter().all(is_set)), "{line}");
            keys.extend(columns[2].iter().map(|key| (*key).to_owned()));
        }
        assert_eq!(keys.len(), 6);
    }
}
