//! Reading channels, and the logs of what was tried of them.

use tollgate_domain::limits::CHANNEL_DELIVERIES_KEPT;
use tollgate_domain::{Channel, ChannelId, Delivery, DeliveryClaim, Record, RecordKey, System};
use tollgate_storage::Store;

use crate::{Engine, EngineError};

impl<S: Store> Engine<S> {
    /// A channel.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, EngineError> {
        let records = self.system(&[RecordKey::Channel(id.clone())]).await?;
        Ok(records.channel(id).cloned())
    }

    /// All channels, in the order they were made, and which server delivers.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn channels(&self) -> Result<(Vec<Channel>, Option<DeliveryClaim>), EngineError> {
        let System { channels, delivery, .. } = self.system(&[]).await?.system();
        let keys: Vec<RecordKey> = channels.iter().cloned().map(RecordKey::Channel).collect();
        if keys.is_empty() {
            return Ok((Vec::new(), delivery));
        }
        let records = self.system(&keys).await?;
        Ok((channels.iter().filter_map(|id| records.channel(id).cloned()).collect(), delivery))
    }

    /// What was tried of a channel, the latest first.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn deliveries(&self, id: &ChannelId) -> Result<Vec<Delivery>, EngineError> {
        let keys: Vec<RecordKey> =
            (0..CHANNEL_DELIVERIES_KEPT).map(|slot| RecordKey::Delivery(id.clone(), slot)).collect();
        let records = self.system(&keys).await?;
        let line = |key: &RecordKey| match records.get(key) {
            Some(Record::Delivery(delivery)) if delivery.number > 0 => Some(Delivery::clone(delivery)),
            _ => None,
        };
        let mut found: Vec<Delivery> = keys.iter().filter_map(line).collect();
        found.sort_unstable_by_key(|delivery| std::cmp::Reverse(delivery.number));
        Ok(found)
    }
}
