//! What the tests of Tollgate measure it against.
//!
//! The [`oracle`] answers the same commands as the domain by the slowest means there is: it keeps nothing but the list
//! of what was accepted, and for every answer goes over the whole list again. It shares plain values with the domain
//! (amounts, ids, commands, answers, the catalog) and none of its reckoning.
//!
//! Deliberately absent: any use of the domain's `decide`, `apply`, credit, limit or calendar code; notices and
//! explanations, which the tests check by their properties.
//!
//! Start reading at [`oracle::Oracle`]; the random comparison and the calendar tables are in `tests/it`.

pub mod generate;
pub mod holds;
pub mod invariants;
pub mod oracle;
#[cfg(feature = "simulator")]
pub mod sim;
