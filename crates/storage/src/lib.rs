//! What every store must do: load records by key, scan them in order, commit changes durably.
//!
//! The contract is [`Store`]. [`MemoryStore`] is its reference: the simplest thing that keeps it, used as the fake in
//! tests of the layers above. [`conformance`] is the suite every store must pass; it is the definition of the contract.
//!
//! [`codec`] is the format of the bytes that durable stores keep.
//!
//! Deliberately absent: one trait per record, transactions that span calls, SQL.
//!
//! Start reading at [`Store`].

pub mod codec;
pub mod conformance;
mod contract;
mod error;
mod memory;

pub use contract::{
    Batch, Capabilities, Change, Committed, CounterRow, Cursor, EntryChange, NoticeRow, Order, Page, Row,
    Scan, Store, TallyRow, UnsentRow,
};
pub use error::{StoreError, StoreErrorKind};
pub use memory::MemoryStore;
