//! Engines on one MongoDB.

use tollgate_backends::mongo::{MongoOptions, MongoStore};
use tollgate_peers::{Mongo, Proxy};

use crate::shared::{Replicas, count_while_killed, race};

fn opened(url: &str) -> MongoStore {
    MongoStore::open(MongoOptions::from_url(url).expect("a URL")).expect("opens")
}

#[test]
fn of_the_last_credits_in_mongodb_exactly_those_that_are_there_are_used() {
    let server = Mongo::start(1).expect("MongoDB starts");
    race(Replicas::start((0..3).map(|_| {
        let proxy = Proxy::start(server.port()).expect("a proxy");
        (opened(&server.url_by(proxy.port(), "metering")), vec![proxy])
    })));
}

/// The others elect a new primary, and the one that was killed comes back and takes over what it missed, or gives up what only
/// it had.
#[test]
fn nothing_is_lost_or_counted_twice_while_primaries_are_killed() {
    let mut servers = Mongo::start(3).expect("MongoDB starts");
    let url = servers.url("metering");
    let replicas = Replicas::start((0..2).map(|_| (opened(&format!("{url}&patience=60")), Vec::new())));
    count_while_killed(replicas, |_| {
        let primary = servers.primary().expect("a primary");
        servers.kill(primary).expect("it ran");
        servers.primary().expect("another");
        servers.run(primary).expect("it starts again");
    });
}
