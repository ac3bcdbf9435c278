//! Engines on one table of DynamoDB.

use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_peers::{Dynamo, Proxy};

use crate::shared::{Replicas, race};

#[test]
fn of_the_last_credits_in_dynamodb_exactly_those_that_are_there_are_used() {
    let server = Dynamo::start().expect("DynamoDB Local starts");
    race(Replicas::start((0..3).map(|_| {
        let proxy = Proxy::start(server.port()).expect("a proxy");
        let options = DynamoOptions::from_url(&server.url_by(proxy.port(), "metering")).expect("a URL");
        (DynamoStore::open(options).expect("opens"), vec![proxy])
    })));
}
