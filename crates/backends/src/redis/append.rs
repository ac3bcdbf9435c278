//! Appending: one function call an org, all of a batch in one pipeline to each server.

use tollgate_domain::{OrgId, Partition};
use tollgate_storage::codec::encode;
use tollgate_storage::{Append, Appended, EntryChange, StoreError};
use uuid::Uuid;

use super::Core;
use super::calls::{Fate, Found, OrgAppend};
use super::error::unavailable;
use super::limits::ROUNDS_MAX;
use super::servers::{Lane, Request};
use crate::asking::not_known;
use crate::postgres::append::{self, key_notes, new_call};
use crate::postgres::incarnations::Incarnation;

/// An append that has no answer yet.
struct Pending<'a> {
    /// Its place in the call.
    place: usize,
    append: OrgAppend<'a>,
    /// The incarnation that it was decided in, as far as this object knows.
    life: Incarnation,
    /// Whether an attempt may have been made.
    is_unknown: bool,
}

impl Core {
    /// Appends, and says of each what became of it. The system's ledger is in the database alone.
    pub(crate) async fn append(&self, appends: Vec<Append>) -> Result<Vec<Appended>, StoreError> {
        let mut answers = vec![Appended::Conflict; appends.len()];
        let call = new_call()?;
        let mut pending = Vec::with_capacity(appends.len());
        let mut of_system = Vec::new();
        for (place, append) in appends.iter().enumerate() {
            match &append.partition {
                Partition::Org(org) => pending.push(self.pending(place, org, append, call)?),
                Partition::System => of_system.push((place, append.clone())),
            }
        }
        let mut is_begun = false;
        let begun = &mut is_begun;
        for (place, append) in of_system {
            let done = append::append(&self.cold.database, &[append], &[]).await?;
            *begun |= done.contains(&Appended::Done);
            done.first().zip(answers.get_mut(place)).into_iter().for_each(|(done, answer)| *answer = *done);
        }
        match self.append_to_orgs(pending, &mut answers, begun).await {
            Ok(()) => Ok(answers),
            // Whatever is said of the rest, some of it was made, or may have been.
            Err(error) if is_begun => Err(not_known(error)),
            Err(error) => Err(error),
        }
    }

    fn pending<'a>(
        &self,
        place: usize,
        org: &'a OrgId,
        append: &'a Append,
        call: Uuid,
    ) -> Result<Pending<'a>, StoreError> {
        let entries = append.entries.iter().filter_map(|change| match change {
            EntryChange::Org(entry) => Some(entry),
            EntryChange::System(_) => None,
        });
        let body = |entry| {
            let mut body = Vec::new();
            encode(entry, &mut body);
            body
        };
        let append = OrgAppend {
            org,
            call,
            expected: append.expected_version,
            is_noticed: entries.clone().any(|entry| !entry.notices.is_empty()),
            keys: key_notes(org, entries.clone())?,
            bodies: entries.map(body).collect(),
        };
        Ok(Pending { place, append, life: self.shards.of(org), is_unknown: false })
    }

    async fn append_to_orgs(
        &self,
        mut pending: Vec<Pending<'_>>,
        answers: &mut [Appended],
        is_begun: &mut bool,
    ) -> Result<(), StoreError> {
        for _ in 0..ROUNDS_MAX {
            // Decided in an incarnation that ended: it has lost the race, unless it was made before.
            pending.retain(|one| one.is_unknown || self.shards.is_current(one.append.org, one.life));
            if pending.is_empty() {
                return Ok(());
            }
            let requests: Vec<Request> = pending.iter().map(|one| self.request(one)).collect();
            let (mut left, mut unsettled, mut ended) = (Vec::new(), Vec::new(), Vec::new());
            for (mut one, answer) in
                pending.into_iter().zip(self.servers.ask(Lane::Write, &requests, false).await?)
            {
                one.is_unknown |= answer.is_second;
                *is_begun |= one.is_unknown;
                let fate = match answer.fate()? {
                    Fate::Earlier => self.fate_in_database(&one).await?,
                    fate => fate,
                };
                match fate {
                    Fate::Done => {
                        *is_begun = true;
                        answers.get_mut(one.place).into_iter().for_each(|answer| *answer = Appended::Done);
                    }
                    Fate::Conflict | Fate::Earlier => {}
                    Fate::Not(Found::Lost) => {
                        ended.push(self.shards.of(one.append.org));
                        left.push(one);
                    }
                    Fate::Not(_) => {
                        unsettled.push(one.append.org);
                        left.push(one);
                    }
                }
            }
            if !ended.is_empty() {
                self.renew(ended).await?;
            }
            if !unsettled.is_empty() {
                self.settle(&unsettled).await?;
            }
            pending = left;
        }
        Err(unavailable("Redis keeps losing what it holds"))
    }

    /// An append that was decided in the incarnation that lives is made; of another it is only asked what became of it.
    fn request(&self, one: &Pending<'_>) -> Request {
        if self.shards.is_current(one.append.org, one.life) {
            self.servers.append(one.life.number, &one.append)
        } else {
            self.servers.ask_fate(self.shards.of(one.append.org).number, &one.append)
        }
    }

    /// What became of an append whose entries would be in the database by now.
    async fn fate_in_database(&self, one: &Pending<'_>) -> Result<Fate, StoreError> {
        let OrgAppend { org, call, expected, .. } = &one.append;
        // Asked for the first time: others were faster by far.
        let is_made = one.is_unknown && append::made(&self.cold.database, org, expected + 1, *call).await?;
        Ok(if is_made { Fate::Done } else { Fate::Conflict })
    }
}
