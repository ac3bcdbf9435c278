//! Private real servers for tests, and ways to trouble them: a PostgreSQL that can be
//! killed, a pgbouncer, a proxy that cuts connections.
//!
//! Each server has a folder and a port of its own, listens on this machine only, and ends with the process that started it,
//! however that ends. A test that needs one and does not find its programs fails with a sentence that says how to get them.
//!
//! Deliberately absent: anything of ours, and fakes.
//!
//! Start reading at [`Postgres`] and [`Proxy`].

mod bouncer;
mod dynamo;
mod postgres;
mod proxy;

pub use bouncer::Bouncer;
pub use dynamo::Dynamo;
pub use postgres::Postgres;
pub use proxy::Proxy;
