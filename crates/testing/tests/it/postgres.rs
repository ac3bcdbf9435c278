//! Engines on one PostgreSQL.

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_peers::{Postgres, Proxy};

use crate::shared::{Replicas, count_while_killed, race};

/// Engines, each by way of a proxy of its own.
fn replicas(server: &Postgres, count: usize) -> Replicas<PostgresStore> {
    Replicas::start((0..count).map(|_| {
        let proxy = Proxy::start(server.port()).expect("a proxy");
        let options = PostgresOptions::from_url(&server.url_by(proxy.port())).expect("a URL");
        (PostgresStore::open(options).expect("opens"), vec![proxy])
    }))
}

#[test]
fn of_the_last_credits_exactly_those_that_are_there_are_used() {
    let server = Postgres::start(&["fsync=off", "max_connections=100"]).expect("PostgreSQL starts");
    race(replicas(&server, 3));
}

#[test]
fn nothing_is_lost_or_counted_twice_while_postgres_is_killed() {
    let mut server = Postgres::start(&["max_connections=100"]).expect("PostgreSQL starts");
    let replicas = replicas(&server, 2);
    count_while_killed(replicas, |_| {
        server.kill().expect("it ran");
        server.run().expect("it recovers");
    });
}
