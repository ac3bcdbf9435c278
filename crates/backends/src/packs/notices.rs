//! Notices of all orgs in one order, which readers make.
//!
//! An append with notices is *noted* before its pack is made. Who reads notices looks at what is noted: where the pack came to be, the append
//! is put behind all that are in order already, in a *batch*; where another pack lies in its place, the note is removed; and otherwise it
//! stays, for the append may still be under way. A batch is an item with the next number: of several readers one makes it, and the others look
//! again. Before anyone makes a batch, the notes of the batch before it are removed, so nothing comes twice, whoever is gone in the middle of it.
//!
//! So a reader never passes an append that is made later: it gets a later batch. Batches are made when somebody reads; what is appended in
//! between comes by the clocks of those who appended it, and that of one org always in the order of its ledger.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use tollgate_domain::Partition;
use tollgate_storage::{EntryChange, NoticeRow, Row, StoreError};

use super::append::{AFTER, OF};
use super::limits::{AT_ONCE, NOTED_MAX};
use super::pack::{self, CALL};
use super::places::{NOTED, NOTICES, in_list, list, pack as pack_place, partition_of};
use super::read::Keyed;
use super::table::{Item, Range, Table, Value, behind};
use super::value::{BODY, damaged};
use super::{Core, each};

/// An append with notices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// Its sort key among those that are noted.
    sort: Vec<u8>,
    /// The name of its partition, and the version it was decided on.
    name: String,
    after: u64,
    /// How many notices it has.
    count: u32,
}

/// The number of a batch, and how many of its notices were read.
type At = (u64, u32);

pub(crate) fn place_in(key: &[u8]) -> Option<At> {
    let (number, read) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u32::from_be_bytes(read.try_into().ok()?)))
}

/// Reads notices in order.
pub(crate) async fn scan<T: Table>(
    core: &Core<T>,
    after: Option<At>,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    put_in_order(core).await?;
    let (mut number, mut read) = after.unwrap_or((0, 0));
    let mut range = list(NOTICES, number.to_be_bytes().to_vec(), AT_ONCE);
    let mut rows = Keyed::new();
    loop {
        let batches = core.table.read(&range).await?;
        let Some((last, _)) = batches.rows.last() else { return Ok(rows) };
        range.from = behind(last);
        for (sort, item) in batches.rows {
            let found = number_of(&sort)?;
            if found != number {
                (number, read) = (found, 0);
            }
            read_batch(core, (number, read), &batch_in(&item)?, wanted, &mut rows).await?;
            if rows.len() >= wanted {
                return Ok(rows);
            }
        }
        if !batches.more {
            return Ok(rows);
        }
    }
}

fn number_of(sort: &[u8]) -> Result<u64, StoreError> {
    sort.try_into().map(u64::from_be_bytes).map_err(|_| damaged("the number of a batch of notices"))
}

fn batch_in(item: &Item) -> Result<Vec<Noted>, StoreError> {
    let bytes = item.bytes(BODY).ok_or_else(|| damaged("a batch of notices"))?;
    postcard::from_bytes(bytes).map_err(|error| damaged("a batch of notices").caused_by(error))
}

/// Reads the notices of a batch behind those that were read, until there are as many rows as are wanted.
async fn read_batch<T: Table>(
    core: &Core<T>,
    (number, read): At,
    batch: &[Noted],
    wanted: usize,
    rows: &mut Keyed,
) -> Result<(), StoreError> {
    let mut place = 0_u32;
    for some in batch.chunks(AT_ONCE) {
        let is_read = |noted: &&Noted| {
            place += noted.count;
            place <= read
        };
        let (done, left): (Vec<&Noted>, Vec<&Noted>) = some.iter().partition(is_read);
        let mut at = place - left.iter().map(|noted| noted.count).sum::<u32>();
        drop(done);
        for notices in each(left.into_iter().map(|noted| notices_of(core, noted))).await? {
            for row in notices {
                at += 1;
                if at > read {
                    let key = [number.to_be_bytes().as_slice(), &at.to_be_bytes()].concat();
                    rows.push((key, Row::Notice(row)));
                }
            }
        }
        if rows.len() >= wanted {
            return Ok(());
        }
    }
    Ok(())
}

async fn notices_of<T: Table>(core: &Core<T>, noted: &Noted) -> Result<Vec<NoticeRow>, StoreError> {
    let place = pack_place(&noted.name, noted.after);
    let item = core.table.get_one(&place).await?;
    let item = item.ok_or_else(|| damaged("a pack with notices"))?;
    notices_in(core, noted, &item).await
}

async fn notices_in<T: Table>(
    core: &Core<T>,
    noted: &Noted,
    item: &Item,
) -> Result<Vec<NoticeRow>, StoreError> {
    let partition = partition_of(noted.name.as_bytes());
    let Some(partition @ Partition::Org(_)) = partition else { return Err(damaged("a note of notices")) };
    let Partition::Org(org) = &partition else { return Ok(Vec::new()) };
    let place = pack_place(&noted.name, noted.after);
    let mut notices = Vec::new();
    for change in pack::entries_of(&core.table, &partition, &place, item).await? {
        let EntryChange::Org(entry) = change else { continue };
        for (index, notice) in (0..).zip(entry.notices) {
            notices.push(NoticeRow { org: org.clone(), entry: entry.number, index, at: entry.at, notice });
        }
    }
    Ok(notices)
}

/// Puts what is noted in order, until nothing is left that came to be.
async fn put_in_order<T: Table>(core: &Core<T>) -> Result<(), StoreError> {
    let noted = || list(NOTED, Vec::new(), usize::MAX);
    while !core.table.read(&Range { limit: 1, ..noted() }).await?.rows.is_empty() {
        // First the latest batch, then what is noted: what comes into a batch in between is in a later one, and then this reader's is refused.
        let latest = Range { newest_first: true, limit: 1, ..list(NOTICES, Vec::new(), 1) };
        let (number, in_latest) = match core.table.read(&latest).await?.rows.pop() {
            Some((sort, item)) => (number_of(&sort)?, batch_in(&item)?),
            None => (0, Vec::new()),
        };
        let in_latest: HashSet<&[u8]> = in_latest.iter().map(|noted| noted.sort.as_slice()).collect();
        let all = notes_in(core.table.read_all(noted()).await?)?;
        let mut until = HashMap::<String, u64>::new();
        for some in all.chunks(NOTED_MAX) {
            for noted in come_to_be(core, some.to_vec(), &in_latest).await? {
                let latest = until.entry(noted.name).or_default();
                *latest = noted.after.max(*latest);
            }
            if !until.is_empty() {
                break;
            }
        }
        if until.is_empty() {
            return Ok(());
        }
        // What is noted of the same orgs before these is there by now, though the first look may have missed it.
        let mut again = notes_in(core.table.read_all(noted()).await?)?;
        again.retain(|noted| until.get(&noted.name).is_some_and(|until| noted.after <= *until));
        let batch = in_order(come_to_be(core, again, &in_latest).await?);
        if make_batch(core, number + 1, &batch).await? {
            each(batch.iter().map(|noted| remove(core, &noted.sort))).await?;
        }
    }
    Ok(())
}

fn notes_in(noted: Vec<(Vec<u8>, Item)>) -> Result<Vec<Noted>, StoreError> {
    let note = |(sort, item): (Vec<u8>, Item)| {
        let name = item.bytes(OF).and_then(|name| String::from_utf8(name.to_vec()).ok());
        Some(Noted { sort, name: name?, after: item.number(AFTER)?, count: 0 })
    };
    noted.into_iter().map(|pair| note(pair).ok_or_else(|| damaged("a note of notices"))).collect()
}

/// The appends among those noted that were made, but for those of a batch; notes that say nothing any more are removed.
async fn come_to_be<T: Table>(
    core: &Core<T>,
    noted: Vec<Noted>,
    in_batch: &HashSet<&[u8]>,
) -> Result<Vec<Noted>, StoreError> {
    let looked_at = noted.into_iter().map(|noted| async move {
        if in_batch.contains(noted.sort.as_slice()) {
            remove(core, &noted.sort).await?;
            return Ok(None);
        }
        let Some(pack) = core.table.get_one(&pack_place(&noted.name, noted.after)).await? else {
            return Ok(None);
        };
        if pack.bytes(CALL).is_none_or(|call| !noted.sort.ends_with(call)) {
            remove(core, &noted.sort).await?;
            return Ok(None);
        }
        let count = u32::try_from(notices_in(core, &noted, &pack).await?.len()).unwrap_or(u32::MAX);
        Ok(Some(Noted { count, ..noted }))
    });
    Ok(each(looked_at).await?.into_iter().flatten().collect())
}

async fn remove<T: Table>(core: &Core<T>, sort: &[u8]) -> Result<(), StoreError> {
    core.table.remove(&in_list(NOTED, sort), None).await
}

/// As the clocks say, but those of one org in the order of its ledger.
fn in_order(noted: Vec<Noted>) -> Vec<Noted> {
    let names: Vec<String> = noted.iter().map(|noted| noted.name.clone()).collect();
    let mut by_org = HashMap::<String, BTreeMap<u64, Noted>>::new();
    for noted in noted {
        by_org.entry(noted.name.clone()).or_default().insert(noted.after, noted);
    }
    let mut by_org: HashMap<String, VecDeque<Noted>> =
        by_org.into_iter().map(|(name, noted)| (name, noted.into_values().collect())).collect();
    names.iter().filter_map(|name| by_org.get_mut(name)?.pop_front()).collect()
}

/// Makes a batch; says whether this call made it.
async fn make_batch<T: Table>(core: &Core<T>, number: u64, batch: &[Noted]) -> Result<bool, StoreError> {
    let call = super::append::new_call()?;
    let bytes = postcard::to_stdvec(batch).map_err(|error| damaged("a batch").caused_by(error))?;
    let values = [(CALL.to_owned(), Value::Bytes(call.to_vec())), (BODY.to_owned(), Value::Bytes(bytes))];
    let place = in_list(NOTICES, number.to_be_bytes());
    let is_ours = move |item: &Item| item.bytes(CALL) == Some(&call);
    let mut made = core.table.insert(vec![(place, Item(values.into()))], is_ours).await;
    made.pop().unwrap_or(Ok(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_of_one_org_come_in_the_order_of_its_ledger_and_others_by_the_clocks() {
        let noted = |name: &str, after| Noted { sort: Vec::new(), name: name.to_owned(), after, count: 1 };
        let by_clock = vec![noted("a", 7), noted("b", 1), noted("a", 3), noted("c", 0), noted("a", 5)];
        let order: Vec<(String, u64)> =
            in_order(by_clock).into_iter().map(|noted| (noted.name, noted.after)).collect();
        let wanted = [("a", 3), ("b", 1), ("a", 5), ("c", 0), ("a", 7)];
        assert_eq!(order, wanted.map(|(name, after)| (name.to_owned(), after)));
    }
}
