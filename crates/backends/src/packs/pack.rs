//! The entries of one append in one item.

use std::collections::{HashMap, HashSet};

use tollgate_domain::{Entry, OrgId, Partition};
use tollgate_storage::codec::{DecodeError, Line, LineRef, decode, decode_line, encode, encode_line};
use tollgate_storage::{EntryChange, StoreError};

use super::places::{after_of, name_of, of_org, pack, packs};
use super::table::{Asked, Item, Place, Range, Sorted, Table, Value};
use super::value::{BODY, bytes_of, damaged, keep, pieces};

/// The number of the last entry of a pack.
pub(crate) const LAST: &str = "n";

/// Which call made a pack.
pub(crate) const CALL: &str = "c";

/// Makes the item of a pack, and keeps its pieces, if it has some.
pub(crate) async fn make<T: Table>(
    table: &Asked<T>,
    place: &Place,
    call: &[u8],
    entries: &[EntryChange],
) -> Result<Item, StoreError> {
    let mut bytes = Vec::new();
    for change in entries {
        let mut line = Vec::new();
        match change {
            EntryChange::Org(entry) => encode(entry, &mut line),
            EntryChange::System(entry) => encode_line(LineRef::System(entry), &mut line),
        }
        bytes.extend_from_slice(&u32::try_from(line.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.append(&mut line);
    }
    let last = entries.last().map_or(0, EntryChange::number);
    let body = keep(table, place, call, &bytes).await?;
    let values = [
        (LAST.to_owned(), Value::Number(last)),
        (CALL.to_owned(), Value::Bytes(call.to_vec())),
        (BODY.to_owned(), Value::Bytes(body)),
    ];
    Ok(Item(values.into()))
}

/// The entries of a pack, by its item.
pub(crate) async fn entries_of<T: Table>(
    table: &Asked<T>,
    partition: &Partition,
    place: &Place,
    item: &Item,
) -> Result<Vec<EntryChange>, StoreError> {
    let name = || format!("a pack of {partition:?} behind {:?}", after_of(&place.sort));
    let (call, body) = (item.bytes(CALL), item.bytes(BODY));
    let (Some(call), Some(body)) = (call, body) else { return Err(damaged(&name())) };
    let bytes = bytes_of(table, place, call, body).await?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (line, behind) = next_line(rest).ok_or_else(|| damaged(&name()))?;
        let bad = |error: DecodeError| StoreError::new(error.kind(), format!("{}: {error}", name()));
        entries.push(decode_entry(partition, line).map_err(bad)?);
        rest = behind;
    }
    let wanted = after_of(&place.sort).unwrap_or_default() + 1;
    if entries.first().map(EntryChange::number) != Some(wanted)
        || entries.last().map(EntryChange::number) != item.number(LAST)
    {
        return Err(damaged(&name()));
    }
    Ok(entries)
}

/// The entries of packs of one partition, in their order.
pub(crate) async fn entries_of_all<T: Table>(
    table: &Asked<T>,
    partition: &Partition,
    packs: Sorted,
) -> Result<Vec<EntryChange>, StoreError> {
    let name = name_of(partition);
    let mut entries = Vec::new();
    for (sort, item) in packs {
        let place = Place { partition: name.clone(), sort };
        entries.extend(entries_of(table, partition, &place, &item).await?);
    }
    Ok(entries)
}

/// The places of the pieces of a pack, if it has some.
pub(crate) fn pieces_of(place: &Place, item: &Item) -> Vec<Place> {
    match (item.bytes(CALL), item.bytes(BODY)) {
        (Some(call), Some(body)) => pieces(place, call, body),
        _ => Vec::new(),
    }
}

/// A line, and what is behind it.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn decode_entry(partition: &Partition, line: &[u8]) -> Result<EntryChange, DecodeError> {
    match partition {
        Partition::Org(_) => decode(line).map(EntryChange::Org),
        Partition::System => match decode_line(line)? {
            Line::System(entry) => Ok(EntryChange::System(entry)),
            Line::Org(..) => Err(DecodeError::Damaged),
        },
    }
}

/// The pack that holds the entry with a number, if there is one.
pub(crate) async fn holding<T: Table>(
    table: &Asked<T>,
    name: &str,
    number: u64,
) -> Result<Option<(Place, Item)>, StoreError> {
    let Some(after) = number.checked_sub(1) else { return Ok(None) };
    let range = Range { newest_first: true, limit: 1, ..packs(name, 0, after) };
    let found = table.read(&range).await?.rows.pop();
    let holds = found.filter(|(_, item)| item.number(LAST).is_some_and(|last| last >= number));
    Ok(holds.map(|(sort, item)| (Place { partition: name.to_owned(), sort }, item)))
}

/// Those of some entries of an org that there are, by number; each pack that holds some of them is read once.
pub(crate) async fn entries<T: Table>(
    table: &Asked<T>,
    org: &OrgId,
    mut numbers: Vec<u64>,
) -> Result<HashMap<u64, Entry>, StoreError> {
    let (partition, name) = (Partition::Org(org.clone()), of_org(org));
    numbers.sort_unstable();
    let wanted: HashSet<u64> = numbers.iter().copied().collect();
    let (mut found, mut read_until) = (HashMap::new(), 0);
    for number in numbers {
        if number <= read_until {
            continue;
        }
        let Some((place, item)) = holding(table, &name, number).await? else { continue };
        for change in entries_of(table, &partition, &place, &item).await? {
            read_until = change.number();
            if let EntryChange::Org(entry) = change
                && wanted.contains(&entry.number)
            {
                found.insert(entry.number, entry);
            }
        }
    }
    Ok(found)
}

/// The number of a partition's latest entry; zero before the first.
pub(crate) async fn version<T: Table>(table: &Asked<T>, name: &str) -> Result<u64, StoreError> {
    let range = Range { newest_first: true, limit: 1, ..packs(name, 0, u64::MAX) };
    let latest = table.read(&range).await?.rows.pop();
    Ok(latest.and_then(|(_, item)| item.number(LAST)).unwrap_or(0))
}

/// The place of the pack of the entries behind a version of a partition.
pub(crate) fn place_behind(partition: &Partition, after: u64) -> Place {
    pack(&name_of(partition), after)
}
