//! Messages: what a channel delivers, always the same for the same subject.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tollgate_api::{NoticeItem, counted};
use tollgate_domain::{Channel, ChannelId, Digest, NoticeRef, OrgId, Subject, Timestamp, Zone};
use tollgate_engine::{Engine, EngineError};
use tollgate_storage::{NoticeRow, Store};

use crate::traces::Cause;
use crate::words::notice_item;

/// What a channel delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its id: the same however often it is sent, and by whichever channel. Visible ASCII without dots, as signatures need it.
    pub(crate) id: String,
    /// What it is about, such as `notice.limit_reached`.
    pub(crate) kind: String,
    /// When that happened.
    pub(crate) at: Timestamp,
    /// Whose it is, if it is of an org.
    pub(crate) org: Option<OrgId>,
    /// For people: what happened.
    pub(crate) text: String,
    /// For programs: what happened.
    pub(crate) data: Value,
    /// The notice that it is about, if it is about one.
    pub(crate) notice: Option<NoticeRow>,
    /// What caused the notice that it is about.
    pub(crate) cause: Option<Cause>,
    /// Whose it is, to people; looked up only for them.
    pub(crate) home: Option<Home>,
    /// What a digest is made of: a line for each notice.
    pub(crate) lines: Vec<DigestLine>,
}

/// A notice in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DigestLine {
    /// When it was decided.
    pub(crate) at: Timestamp,
    /// For people: whose it is, and what happened.
    pub(crate) text: String,
}

/// An org, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) name: Option<String>,
    pub(crate) zone: Zone,
}

impl Message {
    /// The message about a subject; `None`: there is nothing of it any more.
    pub(crate) async fn about<S: Store>(
        engine: &Engine<S>,
        subject: &Subject,
    ) -> Result<Option<Self>, EngineError> {
        match subject {
            Subject::Notice(notice) => {
                let found = row_of(engine, notice).await?;
                Ok(found.map(|(row, cause)| Self { cause, ..Self::of_notice(row) }))
            }
            Subject::Digest(digest) => {
                let mut items = Vec::new();
                for notice in &digest.notices {
                    items.extend(row_of(engine, notice).await?.map(|(row, _)| (row.at, notice_item(&row))));
                }
                Ok((!items.is_empty()).then(|| Self::of_digest(digest, &items)))
            }
            Subject::ChannelDisabled { channel, at } => {
                let name = engine.channel(channel).await?.map(|known| known.setup.name);
                Ok(Some(Self::of_disabled(channel, name.as_deref(), *at)))
            }
        }
    }

    /// The same with what people know its org by.
    pub(crate) async fn at_home<S: Store>(mut self, engine: &Engine<S>) -> Result<Self, EngineError> {
        if let Some(id) = &self.org {
            let org = engine.org(id).await?;
            self.home = org.map(|org| Home { name: org.name, zone: org.zone });
        }
        Ok(self)
    }

    fn of_notice(row: NoticeRow) -> Self {
        let item: NoticeItem = notice_item(&row);
        Self {
            id: message_id(&item.id),
            kind: format!("notice.{}", item.kind),
            at: row.at,
            org: Some(row.org.clone()),
            text: format!("{}: {}", item.org, item.summary),
            data: serde_json::to_value(item).unwrap_or_default(),
            notice: Some(row),
            cause: None,
            home: None,
            lines: Vec::new(),
        }
    }

    fn of_digest(digest: &Digest, items: &[(Timestamp, NoticeItem)]) -> Self {
        let names: Vec<String> = digest.notices.iter().map(ToString::to_string).collect();
        let orgs: BTreeSet<&str> = items.iter().map(|(_, item)| item.org.as_str()).collect();
        let line = |(at, item): &(Timestamp, NoticeItem)| DigestLine {
            at: *at,
            text: format!("{}: {}", item.org, item.summary),
        };
        let told: Vec<&NoticeItem> = items.iter().map(|(_, item)| item).collect();
        Self {
            id: message_id(&format!("digest {} {}", digest.at.as_nanosecond(), names.join("\n"))),
            kind: "notice.digest".to_owned(),
            at: digest.at,
            org: None,
            text: format!("{} of {}", counted(items.len(), "notice"), counted(orgs.len(), "organization")),
            data: json!({"notices": told}),
            notice: None,
            cause: None,
            home: None,
            lines: items.iter().map(line).collect(),
        }
    }

    fn of_disabled(channel: &ChannelId, name: Option<&str>, at: Timestamp) -> Self {
        let ChannelId(id) = channel;
        let shown = name.unwrap_or(id);
        Self {
            id: message_id(&format!("channel {id} {}", at.as_nanosecond())),
            kind: "channel.disabled".to_owned(),
            at,
            org: None,
            text: format!(
                "the channel '{shown}' is disabled: none of its messages could be delivered. Enable it when its receiver \
                 is back; its queued messages are delivered then"
            ),
            data: json!({"channel": id, "name": name, "at": at.to_string()}),
            notice: None,
            cause: None,
            home: None,
            lines: Vec::new(),
        }
    }

    /// A message that tries a channel.
    pub(crate) fn test(channel: &Channel, at: Timestamp) -> Self {
        let name = channel.setup.name.as_str();
        Self {
            id: message_id(&format!("test {} {}", channel.id.0, at.as_nanosecond())),
            kind: "channel.test".to_owned(),
            at,
            org: None,
            text: format!("a test of the channel '{name}': notices come here"),
            data: json!({"channel": channel.id.0, "name": name}),
            notice: None,
            cause: None,
            home: None,
            lines: Vec::new(),
        }
    }

    /// As JSON, in the form that Standard Webhooks advises.
    pub(crate) fn document(&self) -> Value {
        json!({"type": self.kind, "timestamp": self.at.to_string(), "data": self.data})
    }
}

/// A notice out of the ledger.
async fn row_of<S: Store>(
    engine: &Engine<S>,
    notice: &NoticeRef,
) -> Result<Option<(NoticeRow, Option<Cause>)>, EngineError> {
    let NoticeRef { org, entry: number, index } = notice;
    let Some(mut entry) = engine.entry(org, *number).await? else { return Ok(None) };
    let place = usize::try_from(*index).unwrap_or(usize::MAX);
    if place >= entry.notices.len() {
        return Ok(None);
    }
    let cause = Cause::of(&entry);
    let notice = entry.notices.swap_remove(place);
    Ok(Some((NoticeRow { org: org.clone(), entry: *number, index: *index, at: entry.at, notice }, cause)))
}

/// An id made of what names a message.
fn message_id(name: &str) -> String {
    let hash = Sha256::digest(name.as_bytes());
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{digits}")
}
