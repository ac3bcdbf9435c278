//! Engines on one Redis before one PostgreSQL, while entries move from one to the other.

use std::time::Duration;

use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_peers::{Postgres, Proxy, Redis};

use crate::shared::{Replicas, count_while_killed, race};

/// Engines, each by way of proxies of its own.
fn replicas(postgres: &Postgres, redis: &Redis, count: usize, settings: &str) -> Replicas<RedisStore> {
    Replicas::start((0..count).map(|_| {
        let before = [redis.port(), postgres.port()].map(|port| Proxy::start(port).expect("a proxy"));
        let url = format!(
            "redis+{}?redis={}{settings}",
            postgres.url_by(before[1].port()),
            redis.url_by(before[0].port())
        );
        let mut options = RedisOptions::from_url(&url).expect("a URL");
        options.flush = Duration::from_millis(20);
        (RedisStore::open(options).expect("opens"), Vec::from(before))
    }))
}

#[test]
fn of_the_last_credits_in_redis_exactly_those_that_are_there_are_used() {
    let postgres = Postgres::start(&["fsync=off", "max_connections=100"]).expect("PostgreSQL starts");
    let redis = Redis::start(&[]).expect("Redis starts");
    race(replicas(&postgres, &redis, 3, ""));
}

#[test]
fn nothing_is_lost_or_counted_twice_while_redis_and_postgres_are_killed() {
    let mut postgres = Postgres::start(&["max_connections=100"]).expect("PostgreSQL starts");
    let mut redis = Redis::start(&["--appendonly yes", "--appendfsync always"]).expect("Redis starts");
    let replicas = replicas(&postgres, &redis, 2, "&durable=always");
    count_while_killed(replicas, |round| {
        if round % 2 == 0 {
            redis.kill().expect("it ran");
            redis.run().expect("it starts again");
        } else {
            postgres.kill().expect("it ran");
            postgres.run().expect("it recovers");
        }
    });
}
