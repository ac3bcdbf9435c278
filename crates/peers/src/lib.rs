//! Private real servers for tests, and ways to trouble them: a PostgreSQL and a Redis that can be
//! killed, a pgbouncer, a Redis Cluster, a proxy that cuts connections.
//!
//! Each server has a folder and a port of its own, listens on this machine only, and ends with the process that started it,
//! however that ends. A test that needs one and does not find its programs fails with a sentence that says how to get them.
//!
//! Deliberately absent: anything of ours, and fakes.
//!
//! Start reading at [`Postgres`], [`Redis`] and [`Proxy`].

mod bouncer;
mod cloud;
mod dynamo;
mod keeper;
pub mod mongo;
mod postgres;
mod proxy;
mod redis;

pub use bouncer::Bouncer;
pub use cloud::Cloud;
pub use dynamo::Dynamo;
pub use mongo::Mongo;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use redis::{Redis, RedisCluster};
