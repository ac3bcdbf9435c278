//! Engines on one table of DynamoDB.

use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_peers::{Dynamo, Proxy};

use crate::shared::{Replicas, count_while_killed, race};

#[test]
fn of_the_last_credits_in_dynamodb_exactly_those_that_are_there_are_used() {
    let server = Dynamo::start().expect("DynamoDB Local starts");
    race(Replicas::start((0..3).map(|_| {
        let proxy = Proxy::start(server.port()).expect("a proxy");
        let options = DynamoOptions::from_url(&server.url_by(proxy.port(), "metering")).expect("a URL");
        (DynamoStore::open(options).expect("opens"), vec![proxy])
    })));
}

/// Clients go on by the other engine, or ask again, until it is back with what it had.
#[test]
fn nothing_is_lost_or_counted_twice_while_dynamodb_is_killed() {
    let mut server = Dynamo::start_in_folder().expect("DynamoDB Local starts");
    let url = server.url("metering");
    let replicas = Replicas::start((0..2).map(|_| {
        let options = DynamoOptions::from_url(&format!("{url}&patience=60")).expect("a URL");
        (DynamoStore::open(options).expect("opens"), Vec::new())
    }));
    count_while_killed(replicas, |_| {
        server.kill().expect("it ran");
        server.run().expect("it starts again");
    });
}
