//! What the ledger says of holds: each ends once, and what it took is what was captured of it.

use std::collections::BTreeMap;

use tollgate_domain::{Amount, Entry, EntryKind, Hold, HoldSum, OrgId, Record, RecordKey};

use super::{Stored, hold};

/// A hold as its entries make it.
struct Known<'a> {
    made: &'a Hold,
    captured: Amount,
    overran: Amount,
    /// What moved to holds within it, less what came back.
    carved: Amount,
    ended: bool,
}

impl Known<'_> {
    fn free(&self) -> Amount {
        if self.ended {
            Amount::ZERO
        } else {
            self.made.quantity.amount() - (self.captured - self.overran) - self.carved
        }
    }
}

/// Nobody takes more than is held and may overrun, what ends says what was captured, and what is open is what the org holds.
pub(super) fn check(org: &OrgId, entries: &[Entry], all: &Stored) -> Result<(), String> {
    let mut known: BTreeMap<u64, Known<'_>> = BTreeMap::new();
    for entry in entries {
        let at = format!("{org}: entry {}", entry.number);
        let (number, quantity, ends) = match &entry.kind {
            EntryKind::Held(held) => {
                let made = &held.hold;
                hold!(made.number == entry.number && made.end.is_none(), "{at} makes {made:?}");
                if let Some(parent) = made.parent.and_then(|parent| known.get_mut(&parent)) {
                    hold!(made.quantity.amount() <= parent.free(), "{at} takes more than its parent has");
                    parent.carved += made.quantity.amount();
                }
                let nothing = Amount::ZERO;
                let hold = Known { made, captured: nothing, overran: nothing, carved: nothing, ended: false };
                known.insert(entry.number, hold);
                continue;
            }
            EntryKind::Used(used) => match used.captured {
                Some(captured) => (captured.hold, used.quantity.amount(), captured.ends),
                None => continue,
            },
            EntryKind::HoldEnded(ended) => (ended.hold, Amount::ZERO, Some(ended.ends)),
            _ => continue,
        };
        let Some(hold) = known.get_mut(&number).filter(|hold| !hold.ended) else {
            return Err(format!("{at} is of hold {number}, which is not open"));
        };
        let within = quantity.min(hold.free());
        hold.captured += quantity;
        hold.overran += quantity - within;
        hold!(hold.overran <= hold.made.overrun, "{at} captures more than hold {number} may overrun");
        let Some(HoldSum { captured, overran, carved, .. }) = ends else { continue };
        let (left, parent) = (hold.free(), hold.made.parent);
        let same = (captured, overran, carved) == (hold.captured, hold.overran, hold.carved);
        hold!(same, "{at} sums hold {number} up as {ends:?}, {} was captured", hold.captured);
        hold.ended = true;
        if let Some(parent) = parent.and_then(|parent| known.get_mut(&parent)).filter(|parent| !parent.ended)
        {
            parent.carved -= left;
        }
    }
    let mut open: BTreeMap<u64, Amount> = BTreeMap::new();
    if let Some(Record::Org(org)) = all.get(&RecordKey::Org(org.clone())) {
        open.extend(org.holds.iter().flat_map(|holds| holds.iter()).map(|hold| (hold.number, hold.free())));
    }
    let wanted: BTreeMap<u64, Amount> =
        known.iter().filter(|(_, hold)| !hold.ended).map(|(number, hold)| (*number, hold.free())).collect();
    hold!(open == wanted, "{org} holds {open:?}, the ledger says {wanted:?}");
    Ok(())
}
