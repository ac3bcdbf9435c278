//! Images as rows of tables, as more than one store keeps them: row keys, which sort as what they name, and rows, which are
//! records encoded by [`tollgate_storage::codec`]; and which rows a scan reads ([`scan`]).
//!
//! Ids end with a zero byte in row keys: they hold no control characters, so a shorter id sorts before a longer one
//! that starts with it, as in the domain. Numbers are big-endian.

pub(crate) mod scan;

use std::str;
use std::sync::Arc;

use tollgate_domain::{
    Among, CounterId, MeterId, OrgId, Period, Record, RecordKey, Scope, ScopePath, Seen, UserId, Window,
};
use tollgate_storage::codec::{DecodeError, Stored, decode, encode};

/// Bytes reserved for a row: enough for a tally of three open counters.
const ROW_BYTES: usize = 128;

const END: u8 = 0;
const ORG_SCOPE: u8 = 1;
const USER_SCOPE: u8 = 2;
const GROUPS_SCOPE: u8 = 3;
const SEEN_SCOPE: u8 = 4;
const SEEN_TALLY: u8 = 5;
const PATH_SCOPE: u8 = 6;
const PATH_TALLY: u8 = 7;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Orgs,
    Accounts,
    Tallies,
    Counters,
    Bills,
    Unsent,
    System,
}

impl Table {
    pub(crate) const ALL: [Self; 7] =
        [Self::Orgs, Self::Accounts, Self::Tallies, Self::Counters, Self::Bills, Self::Unsent, Self::System];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Orgs => "orgs",
            Self::Accounts => "accounts",
            Self::Tallies => "tallies",
            Self::Counters => "counters",
            Self::Bills => "bills",
            Self::Unsent => "unsent",
            Self::System => "system",
        }
    }
}

fn push_id(bytes: &mut Vec<u8>, id: &str) {
    bytes.extend_from_slice(id.as_bytes());
    bytes.push(END);
}

/// A signed number whose bytes sort as it does.
fn ordered(number: i32) -> [u8; 4] {
    (number.cast_unsigned() ^ (1 << 31)).to_be_bytes()
}

const fn window_tag(window: Window) -> u8 {
    match window {
        Window::Minute => 1,
        Window::Hour => 2,
        Window::Day => 3,
        Window::Month => 4,
        Window::Lifetime => 5,
        Window::Segment => 6,
        Window::Week => 7,
        Window::PlanMonth => 8,
        Window::Rolling(_) => 9,
        Window::FirstUse(_) => 10,
        Window::WeekFrom(day) => WEEK_FROM + day.get(),
        Window::MonthFrom(day) => MONTH_FROM + day.get(),
    }
}

/// The tag of weeks from Monday on; of those from other days so many more.
const WEEK_FROM: u8 = 16;

/// The tag of months from a day on, before the first day.
const MONTH_FROM: u8 = 32;

fn push_period(bytes: &mut Vec<u8>, period: Period) {
    bytes.push(window_tag(period.window));
    bytes.extend_from_slice(&ordered(period.number));
}

/// The start of all row keys of an org, except those of its record and its keys.
pub(crate) fn org_prefix(org: &OrgId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    push_id(&mut bytes, org.as_str());
    bytes
}

/// The start of all row keys of an org on a meter, and the row key of its account.
pub(crate) fn meter_prefix(org: &OrgId, meter: &MeterId) -> Vec<u8> {
    let mut bytes = org_prefix(org);
    push_id(&mut bytes, meter.as_str());
    bytes
}

/// The start of the row keys of an org's own counters of a meter in a window, or of one of them.
pub(crate) fn org_counter_key(org: &OrgId, meter: &MeterId, period: Period) -> Vec<u8> {
    let mut bytes = meter_prefix(org, meter);
    bytes.push(ORG_SCOPE);
    push_period(&mut bytes, period);
    bytes
}

fn counter_key(id: &CounterId) -> Vec<u8> {
    match &id.scope {
        Scope::Org => org_counter_key(&id.org, &id.meter, id.period),
        Scope::Seen(seen) => {
            let mut bytes = meter_prefix(&id.org, &id.meter);
            bytes.push(SEEN_SCOPE);
            push_period(&mut bytes, id.period);
            push_seen(&mut bytes, seen);
            bytes
        }
        Scope::User(user) => named_counter_key(id, USER_SCOPE, user.as_str()),
        Scope::Path(path) => named_counter_key(id, PATH_SCOPE, path.as_str()),
    }
}

/// The row key of a counter of a user or a path.
fn named_counter_key(id: &CounterId, scope: u8, name: &str) -> Vec<u8> {
    let mut bytes = meter_prefix(&id.org, &id.meter);
    bytes.push(scope);
    push_period(&mut bytes, id.period);
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

/// The start of the row keys of the open counters of paths: beside the closed ones of their meter.
pub(crate) fn path_tally_prefix(org: &OrgId, meter: &MeterId) -> Vec<u8> {
    let mut bytes = meter_prefix(org, meter);
    bytes.push(PATH_TALLY);
    bytes
}

/// The row key of the open counters of a path.
fn path_tally_key(org: &OrgId, meter: &MeterId, path: &ScopePath) -> Vec<u8> {
    let mut bytes = path_tally_prefix(org, meter);
    bytes.extend_from_slice(path.as_str().as_bytes());
    bytes
}

/// The row key of the open counters of a value: beside the closed ones of its meter, and kept for good, for it may be
/// seen again at any time.
fn seen_key_of(org: &OrgId, meter: &MeterId, seen: &Seen) -> Vec<u8> {
    let mut bytes = meter_prefix(org, meter);
    bytes.push(SEEN_TALLY);
    push_seen(&mut bytes, seen);
    bytes
}

/// A value among some usage: whose kind and text, and the value, each text behind its length.
fn push_seen(bytes: &mut Vec<u8>, seen: &Seen) {
    let (kind, of): (u8, Vec<&str>) = match &seen.among {
        Among::Org => (1, Vec::new()),
        Among::User(user) => (2, vec![user.as_str()]),
        Among::Path(path) => (4, vec![path.as_str()]),
        Among::Group(group) => {
            (3, group.values().iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect())
        }
    };
    bytes.push(kind);
    for text in of.into_iter().chain([&*seen.value]) {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// The row key of the groups of a day or month: beside the counters of the meter, kept for as long as the org's own.
fn groups_key(org: &OrgId, meter: &MeterId, period: Period) -> Vec<u8> {
    let mut bytes = meter_prefix(org, meter);
    bytes.push(GROUPS_SCOPE);
    push_period(&mut bytes, period);
    bytes
}

/// The row key of something that an org has one of for each month, or each day.
fn org_key(org: &OrgId, number: i32) -> Vec<u8> {
    let mut bytes = org_prefix(org);
    bytes.extend_from_slice(&ordered(number));
    bytes
}

/// The org and the day in the row key of what is unsent.
pub(crate) fn org_day_of(row_key: &[u8]) -> Option<(OrgId, i32)> {
    let (org, _) = row_key.split_last_chunk::<4>()?;
    let (END, org) = org.split_last().map(|(end, org)| (*end, org))? else { return None };
    Some((OrgId::new(str::from_utf8(org).ok()?).ok()?, period_number_of(row_key)?))
}

/// The period in the row key of an org's own counter: its last bytes.
pub(crate) fn period_number_of(row_key: &[u8]) -> Option<i32> {
    let number = u32::from_be_bytes(*row_key.last_chunk::<4>()?);
    Some((number ^ (1 << 31)).cast_signed())
}

/// The user in the row key of a tally, behind the org's and the meter's.
pub(crate) fn user_of(row_key: &[u8], prefix: &[u8]) -> Option<UserId> {
    UserId::new(str::from_utf8(row_key.strip_prefix(prefix)?).ok()?).ok()
}

/// The path in the row key of a tally, behind the prefix of those.
pub(crate) fn path_of(row_key: &[u8], prefix: &[u8]) -> Option<ScopePath> {
    ScopePath::new(str::from_utf8(row_key.strip_prefix(prefix)?).ok()?).ok()
}

/// Scope tag, window tag and number in the row key of any counter.
fn counter_period(row_key: &[u8]) -> Option<(u8, u8, i32)> {
    let mut parts = row_key.splitn(3, |byte| *byte == END);
    let (_org, _meter, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (head, _) = rest.split_first_chunk::<6>()?;
    let [scope, window, number @ ..] = *head;
    Some((scope, window, (u32::from_be_bytes(number) ^ (1 << 31)).cast_signed()))
}

/// When the period of a counter is surely over in every zone, in seconds since 1970; `None`: never, or it is kept for
/// good: bills are made of the months of an org and their segments.
pub(crate) fn counter_end_secs(row_key: &[u8]) -> Option<i64> {
    const DAY: i64 = 86_400;
    /// The calendar repeats: so many months have so many days.
    const CYCLE: (i64, i64) = (4_800, 146_097);
    let (scope, window, number) = counter_period(row_key)?;
    if matches!(scope, SEEN_TALLY | PATH_TALLY)
        || (matches!(scope, ORG_SCOPE | GROUPS_SCOPE) && window == window_tag(Window::Month))
    {
        return None;
    }
    let next = i64::from(number) + 1;
    match window {
        1 => Some(next * 60),
        2 => Some(next * 3_600),
        3 => Some(next * DAY + DAY),
        // Months of unequal length are never further than these days from the mean.
        4 => Some(((next - 1970 * 12) * CYCLE.1 / CYCLE.0 + 5) * DAY),
        // So many days later.
        day @ 33..=63 => {
            Some(((next - 1970 * 12) * CYCLE.1 / CYCLE.0 + 5 + i64::from(day - MONTH_FROM) - 1) * DAY)
        }
        // The first week begins three days before 1970.
        7 => Some((next * 7 - 3) * DAY + DAY),
        day @ 16..=22 => Some((next * 7 - 3 + i64::from(day - WEEK_FROM)) * DAY + DAY),
        _ => None,
    }
}

/// The row key of a version of the catalog.
pub(crate) fn catalog_key(version: u32) -> Vec<u8> {
    [CATALOG_PREFIX, version.to_be_bytes().as_slice()].concat()
}

/// The row key of an API key.
pub(crate) fn api_key_key(id: &str) -> Vec<u8> {
    [API_KEY_PREFIX, id.as_bytes()].concat()
}

/// The start of the row keys of API keys.
const API_KEY_PREFIX: &[u8] = b"k";
/// The start of the row keys of versions of the catalog.
const CATALOG_PREFIX: &[u8] = b"c";
const SYSTEM_KEY: &[u8] = b"h";
const SHIPMENT_KEY: &[u8] = b"s";
/// The start of the row keys of channels.
const CHANNEL_PREFIX: &[u8] = b"n";
/// The start of the row keys of the lines of their logs.
const DELIVERY_PREFIX: &[u8] = b"d";

/// In which table a record is, and under which row key; `None` for facts.
pub(crate) fn row_key(key: &RecordKey) -> Option<(Table, Vec<u8>)> {
    Some(match key {
        RecordKey::Org(org) => (Table::Orgs, org.as_str().as_bytes().to_vec()),
        RecordKey::Account(org, meter) => (Table::Accounts, meter_prefix(org, meter)),
        RecordKey::Tally(org, meter, user) => {
            let mut bytes = meter_prefix(org, meter);
            bytes.extend_from_slice(user.as_str().as_bytes());
            (Table::Tallies, bytes)
        }
        RecordKey::PathTally(org, meter, path) => (Table::Counters, path_tally_key(org, meter, path)),
        RecordKey::Seen(org, meter, seen) => (Table::Counters, seen_key_of(org, meter, seen)),
        RecordKey::Counter(id) => (Table::Counters, counter_key(id)),
        RecordKey::Groups(org, meter, period) => (Table::Counters, groups_key(org, meter, *period)),
        RecordKey::Bill(org, month) => (Table::Bills, org_key(org, *month)),
        RecordKey::Unsent(org, day) => (Table::Unsent, org_key(org, *day)),
        // Facts.
        RecordKey::Key(_) | RecordKey::Entry(..) => return None,
        RecordKey::System => (Table::System, SYSTEM_KEY.to_vec()),
        RecordKey::Catalog(version) => (Table::System, catalog_key(*version)),
        RecordKey::ApiKey(id) => (Table::System, api_key_key(&id.0)),
        RecordKey::Shipment => (Table::System, SHIPMENT_KEY.to_vec()),
        RecordKey::Channel(id) => (Table::System, [CHANNEL_PREFIX, id.0.as_bytes()].concat()),
        RecordKey::Delivery(id, slot) => {
            (Table::System, [DELIVERY_PREFIX, &slot.to_be_bytes(), id.0.as_bytes()].concat())
        }
    })
}

/// The row of a record.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    match record {
        Record::Org(org) => row(org.as_ref()),
        Record::Account(account) => row(account.as_ref()),
        Record::Tally(tally) => row(tally.as_ref()),
        Record::Counter(counter) => row(counter.as_ref()),
        Record::Groups(groups) => row(groups.as_ref()),
        Record::Bill(bill) => row(bill.as_ref()),
        Record::Unsent(unsent) => row(unsent.as_ref()),
        Record::Key(key) => row(key.as_ref()),
        Record::Entry(entry) => row(entry.as_ref()),
        Record::System(system) => row(system.as_ref()),
        Record::Catalog(catalog) => row(catalog.as_ref()),
        Record::ApiKey(api_key) => row(api_key.as_ref()),
        Record::Shipment(shipment) => row(shipment.as_ref()),
        Record::Channel(channel) => row(channel.as_ref()),
        Record::Delivery(delivery) => row(delivery.as_ref()),
    }
}

/// The row of a value with the encoding of every store.
pub(crate) fn row<T: Stored>(value: &T) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    encode(value, &mut row);
    row
}

/// The record in the row of a key.
pub(crate) fn decode_record(key: &RecordKey, row: &[u8]) -> Result<Record, DecodeError> {
    Ok(match key {
        RecordKey::Org(_) => Record::Org(Arc::new(decode(row)?)),
        RecordKey::Account(..) => Record::Account(Arc::new(decode(row)?)),
        RecordKey::Tally(..) | RecordKey::PathTally(..) | RecordKey::Seen(..) => {
            Record::Tally(Arc::new(decode(row)?))
        }
        RecordKey::Counter(_) => Record::Counter(Arc::new(decode(row)?)),
        RecordKey::Groups(..) => Record::Groups(Arc::new(decode(row)?)),
        RecordKey::Bill(..) => Record::Bill(Arc::new(decode(row)?)),
        RecordKey::Unsent(..) => Record::Unsent(Arc::new(decode(row)?)),
        RecordKey::Key(_) => Record::Key(Arc::new(decode(row)?)),
        RecordKey::Entry(..) => Record::Entry(Arc::new(decode(row)?)),
        RecordKey::System => Record::System(Arc::new(decode(row)?)),
        RecordKey::Catalog(_) => Record::Catalog(Arc::new(decode(row)?)),
        RecordKey::ApiKey(_) => Record::ApiKey(Arc::new(decode(row)?)),
        RecordKey::Shipment => Record::Shipment(Arc::new(decode(row)?)),
        RecordKey::Channel(_) => Record::Channel(Arc::new(decode(row)?)),
        RecordKey::Delivery(..) => Record::Delivery(Arc::new(decode(row)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_domain::Zone;

    #[test]
    fn row_keys_sort_as_what_they_name() {
        let org = |text: &str| OrgId::new(text).expect("an id");
        let meter = MeterId::new("m").expect("an id");
        let counter = |of: &str, scope: Scope, window, number| {
            let id =
                CounterId { org: org(of), meter: meter.clone(), scope, period: Period { window, number } };
            row_key(&RecordKey::Counter(id)).expect("a row").1
        };
        let user = |text: &str| Scope::User(UserId::new(text).expect("an id"));
        let sorted = [
            counter("a", Scope::Org, Window::Day, i32::MIN),
            counter("a", Scope::Org, Window::Day, -1),
            counter("a", Scope::Org, Window::Day, 0),
            counter("a", Scope::Org, Window::Day, i32::MAX),
            counter("a", user("u"), Window::Day, 0),
            counter("a", user("u "), Window::Day, 0),
            counter("a", user("v"), Window::Day, 0),
            counter("a ", Scope::Org, Window::Day, 0),
            counter("ab", Scope::Org, Window::Day, 0),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert_eq!(period_number_of(&sorted[1]), Some(-1));
    }

    #[test]
    fn values_among_different_usage_have_rows_of_their_own() {
        let meter = MeterId::new("m").expect("an id");
        let org = OrgId::new("o").expect("an id");
        let user = |text: &str| Among::User(UserId::new(text).expect("an id"));
        let seen =
            |among: Among, value: &str| seen_key_of(&org, &meter, &Seen { among, value: value.into() });
        let rows = std::collections::BTreeSet::from([
            seen(Among::Org, "a"),
            seen(Among::Org, "ab"),
            seen(Among::Org, ""),
            seen(user("a"), "b"),
            seen(user("ab"), ""),
            seen(Among::Path(tollgate_domain::ScopePath::new("a").expect("a path")), "b"),
            seen(Among::Group(tollgate_domain::Group::default()), "a"),
        ]);
        assert_eq!(rows.len(), 7);
        assert!(rows.iter().all(|row| counter_end_secs(row).is_none()), "a value is kept for good");
    }

    #[test]
    fn a_counter_ends_after_its_period_in_every_zone_and_not_much_later() {
        let (org, meter) = (OrgId::new("o").expect("an id"), MeterId::new("m").expect("an id"));
        let from = |day| Window::MonthFrom(tollgate_domain::MonthDay::new(day).expect("a day"));
        let week_from = |day| Window::WeekFrom(tollgate_domain::WeekDay::new(day).expect("a day"));
        let others = [1, 15, 28, 31].map(from).into_iter().chain([0, 5, 6].map(week_from));
        for window in Window::ALL.into_iter().chain(others) {
            for number in [0, 1, 20_758, 24_322, 24_323, 24_324, 26_000, 30_000] {
                let period = Period { window, number };
                let scope = Scope::User(UserId::new("u").expect("an id"));
                let (org, meter) = (org.clone(), meter.clone());
                if window == Window::Month {
                    let kept = org_counter_key(&org, &meter, period);
                    assert_eq!(counter_end_secs(&kept), None, "bills are made of the months of an org");
                    assert_eq!(counter_end_secs(&groups_key(&org, &meter, period)), None);
                }
                if window == Window::Day {
                    let own = counter_end_secs(&org_counter_key(&org, &meter, period));
                    assert_eq!(counter_end_secs(&groups_key(&org, &meter, period)), own);
                }
                let path = tollgate_domain::ScopePath::new("u/v").expect("a path");
                assert_eq!(counter_end_secs(&path_tally_key(&org, &meter, &path)), None, "it is open");
                let id = CounterId { org, meter, scope, period };
                let end = counter_end_secs(&counter_key(&id));
                let of_path = counter_key(&CounterId { scope: Scope::Path(path), ..id });
                assert_eq!(counter_end_secs(&of_path), end);
                let Some(wanted) = Zone::UTC.bounds(period).1 else {
                    assert_eq!(end, None, "{period:?}");
                    continue;
                };
                let late = end.expect("it ends") - wanted.as_second();
                let day = 86_400;
                let least = if matches!(window, Window::Minute | Window::Hour) { 0 } else { day };
                assert!((least..=9 * day).contains(&late), "{period:?} ends {late} s late");
            }
        }
    }
}
