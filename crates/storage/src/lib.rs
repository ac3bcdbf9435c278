//! What every store must do: append entries durably, keep images of what they add up to, show both.
//!
//! The contract is [`Store`]. [`MemoryStore`] is its reference: the simplest thing that keeps it, used as the fake in
//! tests of the layers above. [`conformance`] is the suite every store must pass; it is the definition of the contract.
//!
//! [`codec`] is the format of the bytes that durable stores keep.
//!
//! Deliberately absent: one trait per record, transactions that span calls, SQL.
//!
//! Start reading at [`Store`].

pub mod check;
pub mod codec;
pub mod conformance;
mod contract;
mod error;
mod memory;

pub use contract::{
    Append, Appended, Appends, Capabilities, CounterRow, Cursor, EntryChange, Image, Loaded, NoticeRow,
    Opened, Order, Page, Parts, PathTallyRow, Row, Scan, Store, TallyRow, UnsentRow, find_then_append,
};
pub use error::{ADVICE_ON_NEWER, StoreError, StoreErrorKind};
pub use memory::MemoryStore;
