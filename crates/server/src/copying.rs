//! Copying one store into another: both are opened here, of whatever kinds they are.

use tollgate_engine::{Copied, CopyError, CopyOptions, Progress};
use tollgate_storage::{Store, StoreError, StoreErrorKind};

use crate::stores::AnyStore;
use crate::{Settings, StoreUrl};

/// Copies everything that a store has into another one, and compares the two; see [`tollgate_engine::copy`]. With `live` servers may
/// go on using the source.
///
/// # Errors
/// [`CopyError`].
pub async fn copy(
    from: &Settings,
    to: &Settings,
    live: bool,
    tell: &mut dyn FnMut(Progress),
) -> Result<Copied, CopyError> {
    let holder = getrandom::u64().map_err(|error| {
        CopyError::Target(StoreError::new(StoreErrorKind::Unavailable, format!("no random number: {error}")))
    })?;
    // Opening would make an empty store where there is none: a typing error must not pass for one.
    if let StoreUrl::Embedded(path) = &from.store
        && !path.join("ledger").is_dir()
    {
        let text = format!("there is no store at {}", path.display());
        return Err(CopyError::Source(StoreError::new(StoreErrorKind::Format, text)));
    }
    let source = AnyStore::open(from).map_err(CopyError::Source)?;
    let target = AnyStore::open(to).map_err(CopyError::Target)?;
    let options = CopyOptions { live, holder };
    let copied = tollgate_engine::copy(source.as_ref(), target.as_ref(), options, tell).await;
    let closed = (target.close().await.map_err(CopyError::Target))
        .and(source.close().await.map_err(CopyError::Source));
    let copied = copied?;
    closed.map(|()| copied)
}
