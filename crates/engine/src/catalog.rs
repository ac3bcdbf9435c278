//! The catalog in force: what the operator declared, and the meters that usage created beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{Catalog, CreatedMeter, MeterId, NewMeter, RecordKey, Timestamp};
use tollgate_storage::{Store, StoreError, StoreErrorKind};

use crate::loading::system_records;

/// The catalog in force.
#[derive(Clone, Debug)]
pub struct CatalogInForce {
    /// Its version; zero is the default catalog of a store that has none yet.
    pub version: u32,
    /// Since when.
    pub since: Timestamp,
    /// What decisions go by: what was declared, and the created meters.
    pub catalog: Arc<Catalog>,
    /// What its text says.
    pub declared: Arc<Catalog>,
    /// The meters that usage created, in that order; those that are declared too are as they are declared.
    pub created_meters: Arc<[CreatedMeter]>,
}

impl CatalogInForce {
    /// A declared catalog, and created meters beside it.
    #[must_use]
    pub fn new(
        version: u32,
        since: Timestamp,
        declared: Arc<Catalog>,
        created_meters: Arc<[CreatedMeter]>,
    ) -> Self {
        let catalog = match created_meters.is_empty() {
            true => Arc::clone(&declared),
            false => Arc::new(declared.with_created(&created_meters)),
        };
        Self { version, since, catalog, declared, created_meters }
    }

    /// Reads what is in force.
    pub(crate) async fn load<S: Store>(store: &S) -> Result<Self, StoreError> {
        let system = system_records(store, &[]).await?.system();
        let declared = Arc::new(declared(store, system.catalog).await?);
        let created = system.created_meters.as_slice().into();
        Ok(Self::new(system.catalog, system.catalog_since, declared, created))
    }

    /// Those of some meters that it lacks, each once.
    pub(crate) fn lacking(
        &self,
        meters: impl IntoIterator<Item = impl Into<NewMeter>>,
    ) -> BTreeMap<MeterId, NewMeter> {
        let meters = meters.into_iter().map(Into::into);
        let lacking = meters.filter(|meter: &NewMeter| self.catalog.meter(&meter.id).is_none());
        lacking.map(|meter| (meter.id.clone(), meter)).collect()
    }
}

/// A version of the catalog as its text says.
pub(crate) async fn declared<S: Store>(store: &S, version: u32) -> Result<Catalog, StoreError> {
    let records = system_records(store, &[RecordKey::Catalog(version)]).await?;
    let text =
        records.catalog(version).map_or(tollgate_domain::catalog::DEFAULT, |known| known.text.as_str());
    Catalog::from_toml(text).map_err(|error| {
        let text = format!("version {version} of the catalog in the store cannot be read");
        StoreError::new(StoreErrorKind::Corrupt, text).caused_by(error)
    })
}
