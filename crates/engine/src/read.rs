//! Reading beside the writer: views that come from one version of an org.

use std::sync::Arc;

use tollgate_domain::{
    Balance, Context, Moments, Org, OrgId, Record, RecordKey, Records, Timestamp, balance, balance_needs,
};
use tollgate_storage::{Store, StoreError};

use crate::limits::READ_ROUNDS_MAX;
use crate::{CatalogInForce, Engine, EngineError};

impl<S: Store> Engine<S> {
    /// An org.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn org(&self, id: &OrgId) -> Result<Option<Arc<Org>>, EngineError> {
        match self.load(&[RecordKey::Org(id.clone())]).await?.pop() {
            Some(Some(Record::Org(org))) => Ok(Some(org)),
            _ => Ok(None),
        }
    }

    /// The balance of an org as of one of its versions.
    ///
    /// # Errors
    /// When the store cannot read; [`EngineError::Contended`] when the org never held still.
    pub async fn balance(&self, id: &OrgId) -> Result<Option<(Arc<Org>, Balance)>, EngineError> {
        let in_force = self.catalog();
        for _ in 0..READ_ROUNDS_MAX {
            let Some(org) = self.org(id).await? else { return Ok(None) };
            let at = self.clock().now();
            // The org is loaded again with the rest: if it is the same version, nothing moved in between.
            let mut keys = vec![RecordKey::Org(id.clone())];
            keys.extend(self.in_context(&in_force, at, |context| balance_needs(context, &org)));
            let mut records = Records::default();
            for (key, record) in keys.iter().zip(self.load(&keys).await?) {
                records.put(key.clone(), record);
            }
            if records.org(id).is_some_and(|again| again.version == org.version)
                && let Some(balance) =
                    self.in_context(&in_force, at, |context| balance(&records, context, id))
            {
                return Ok(Some((org, balance)));
            }
        }
        Err(EngineError::Contended)
    }

    fn in_context<T>(
        &self,
        in_force: &CatalogInForce,
        at: Timestamp,
        view: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let moments = Moments::new(at);
        view(&Context {
            catalog: &in_force.catalog,
            catalog_version: in_force.version,
            moments: &moments,
            key_keep_secs: self.options.key_keep_secs,
        })
    }

    /// Records by key.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, EngineError> {
        self.store.load(keys).await.map_err(store_error)
    }
}

fn store_error(error: StoreError) -> EngineError {
    EngineError::Store(Arc::new(error))
}
