//! Channels to SQS and SNS, on two servers that others wrote.

#![expect(clippy::indexing_slicing, reason = "what is not in a reply fails the test")]

use std::time::Instant;

use serde_json::{Value, json};
use tollgate_peers::Cloud;

use crate::server::{PATIENCE, Server, folder};

/// Who the server is, as AWS's own tools find it out.
const IDENTITY: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "s3cret"), ("AWS_REGION", "us-east-1")];

/// Asks one of the two, whatever it answers.
fn ask(cloud: &Cloud, service: &str, headers: &[(&str, &str)], body: &str) -> String {
    let scope = format!("Credential=test/20261129/us-east-1/{service}/aws4_request");
    let signed = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    let mut request = ureq::post(&cloud.url()).config().http_status_as_error(false).build();
    request = request.header("authorization", &signed);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut reply = request.send(body).expect("an answer");
    reply.body_mut().read_to_string().expect("text")
}

fn sqs(cloud: &Cloud, action: &str, body: &Value) -> Value {
    let target = format!("AmazonSQS.{action}");
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
    let reply = ask(cloud, "sqs", &headers, &body.to_string());
    serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply}"))
}

fn sns(cloud: &Cloud, form: &str) -> String {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let reply = ask(cloud, "sns", &headers, &format!("{form}&Version=2010-03-31"));
    assert!(reply.contains("Response"), "{reply}");
    reply
}

/// Makes a queue; gives its URL.
fn queue(cloud: &Cloud, name: &str) -> String {
    let attributes = if name.ends_with(".fifo") { json!({"FifoQueue": "true"}) } else { json!({}) };
    let made = sqs(cloud, "CreateQueue", &json!({"QueueName": name, "Attributes": attributes}));
    made["QueueUrl"].as_str().unwrap_or_else(|| panic!("a queue: {made}")).to_owned()
}

/// Makes a topic that leads into a queue of the same name; gives its ARN and the URL of the queue.
fn topic(cloud: &Cloud, name: &str) -> (String, String) {
    let url = queue(cloud, name);
    let fifo = "Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=true";
    sns(
        cloud,
        &format!("Action=CreateTopic&Name={name}&{}", if name.ends_with(".fifo") { fifo } else { "" }),
    );
    let arn = format!("arn:aws:sns:us-east-1:000000000000:{name}");
    let raw = "Attributes.entry.1.key=RawMessageDelivery&Attributes.entry.1.value=true";
    let endpoint = arn.replace(":sns:", ":sqs:");
    sns(cloud, &format!("Action=Subscribe&TopicArn={arn}&Protocol=sqs&Endpoint={endpoint}&{raw}"));
    (arn, url)
}

/// What came into a queue, in order, each message once.
fn taken(cloud: &Cloud, url: &str, count: usize) -> Vec<Value> {
    let began = Instant::now();
    let mut found = Vec::new();
    while found.len() < count {
        let asked = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 1, "MessageAttributeNames": ["All"],
            "AttributeNames": ["All"], "MessageSystemAttributeNames": ["All"],
        });
        let reply = sqs(cloud, "ReceiveMessage", &asked);
        for message in reply["Messages"].as_array().into_iter().flatten() {
            let taken = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
            sqs(cloud, "DeleteMessage", &taken);
            found.push(message.clone());
        }
        assert!(began.elapsed() < PATIENCE, "{url} has {found:#?}");
    }
    found
}

/// Makes a channel; gives its id.
fn channel(server: &Server, name: &str, kind: &str, target: &str) -> String {
    let kind = format!("--{kind}");
    let made = server.ok(&["channel", "create", name, &kind, target, "--notice", "top_up_granted", "--json"]);
    made.json()["id"].as_str().expect("an id").to_owned()
}

/// Causes a notice of an org; gives its id.
fn notice(server: &Server, org: &str, key: &str) -> String {
    server.ok(&["plan", "set", org, "basic"]);
    server.ok(&["top-up", org, "5", "--key", key]);
    let listed = ureq::get(&format!("{}/v1/notices?kind=top_up_granted&limit=1000", server.url)).call();
    let listed: Value = listed.expect("an answer").body_mut().read_json().expect("JSON");
    let mine = listed["notices"].as_array().expect("notices").iter().rfind(|notice| notice["org"] == org);
    mine.expect("its notice")["id"].as_str().expect("an id").to_owned()
}

/// Notices reach queues and topics, with the attributes that subscriptions filter by; where those keep an order, in it.
fn notices_arrive(cloud: &Cloud) {
    let data = folder();
    let endpoint = cloud.url();
    let server =
        Server::start(data.path(), &IDENTITY, &["--aws-endpoint", &endpoint, "--notice-interval", "1"]);
    let (plain, ordered) = (queue(cloud, "plain"), queue(cloud, "ordered.fifo"));
    let (topic_arn, topic_queue) = topic(cloud, "news");
    let (fifo_arn, fifo_queue) = topic(cloud, "news.fifo");
    let to_plain = channel(&server, "q", "sqs", &plain);
    let to_ordered = channel(&server, "o", "sqs", &ordered);
    channel(&server, "t", "sns", &topic_arn);
    channel(&server, "f", "sns", &fifo_arn);
    let ids = [("acme", "one"), ("acme", "two"), ("größe", "one"), ("acme", "three")]
        .map(|(org, key)| notice(&server, org, key));
    for (url, is_ordered) in [(&plain, false), (&topic_queue, false), (&ordered, true), (&fifo_queue, true)] {
        let messages = taken(cloud, url, ids.len());
        for message in &messages {
            let body: Value = serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON");
            assert_eq!(body["type"], "notice.top_up_granted", "{url}: {body}");
            let has = |name: &str| message["MessageAttributes"][name]["StringValue"].clone();
            assert_eq!(
                (has("kind"), has("org")),
                (body["type"].clone(), body["data"]["org"].clone()),
                "{message}"
            );
            assert!(has("id").as_str().is_some_and(|id| id.starts_with("msg_")), "{message}");
            if is_ordered {
                let known = &message["Attributes"];
                assert_eq!(known["MessageDeduplicationId"], has("id"), "{message}");
                let group = known["MessageGroupId"].as_str().expect("a group");
                assert!(group == "acme" || (group.len() == 64 && has("org") == "größe"), "{message}");
            }
        }
        let told = |org: &str| -> Vec<String> {
            let body = |message: &Value| serde_json::from_str::<Value>(message["Body"].as_str()?).ok();
            let bodies = messages.iter().filter_map(body).filter(|body| body["data"]["org"] == org);
            bodies.filter_map(|body| Some(body["data"]["id"].as_str()?.to_owned())).collect()
        };
        let (mut acme, wanted) = (told("acme"), [&ids[0], &ids[1], &ids[3]].map(Clone::clone));
        if !is_ordered {
            acme.sort();
        }
        assert_eq!((acme.as_slice(), told("größe")), (&wanted[..], vec![ids[2].clone()]), "{url}");
    }
    // Once more under the same id: a queue that keeps an order drops what it has.
    for id in [&to_plain, &to_ordered] {
        server.ok(&["channel", "replay", id, "--notice", &ids[0]]);
    }
    notice(&server, "last", "one");
    let again = taken(cloud, &plain, 2);
    assert!(again.iter().any(|message| message["Body"].as_str().is_some_and(|body| body.contains(&ids[0]))));
    let next = taken(cloud, &ordered, 1);
    assert!(next[0]["Body"].as_str().is_some_and(|body| body.contains("\"last\"")), "{next:#?}");

    let gone = channel(&server, "gone", "sqs", &plain.replace("plain", "nowhere"));
    let tested = server.ok(&["channel", "test", &gone, "--json"]).json();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &json!(400)), "{tested}");
    assert!(tested["reply"].as_str().is_some_and(|reply| reply.contains("NonExistentQueue")), "{tested}");
    let lost = channel(&server, "lost", "sns", "arn:aws:sns:us-east-1:000000000000:nowhere");
    let tested = server.ok(&["channel", "test", &lost, "--json"]).json();
    assert!(tested["reply"].as_str().is_some_and(|reply| reply.contains("NotFound")), "{tested}");
}

#[test]
fn notices_arrive_in_queues_and_topics_of_ministack() {
    notices_arrive(&Cloud::ministack().expect("a server of SQS and SNS"));
}

#[test]
fn notices_arrive_in_queues_and_topics_of_fauxqs() {
    notices_arrive(&Cloud::fauxqs().expect("a server of SQS and SNS"));
}

#[test]
fn queues_and_topics_are_checked_and_what_keeps_aws_from_being_asked_is_said() {
    let data = folder();
    let unknown = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "us-east-1")];
    let server = Server::start(data.path(), &unknown, &["--aws-endpoint", "http://127.0.0.1:9"]);
    for (kind, target, says) in [
        ("sqs", "https://sqs.eu-west-1.amazonaws.com/", "must be the URL of a queue"),
        ("sqs", "arn:aws:sqs:eu-west-1:123456789012:q", "must be the URL of a queue"),
        ("sqs", "https://me:hush@sqs.eu-west-1.amazonaws.com/1/q", "must be the URL of a queue"),
        ("sns", "https://sns.eu-west-1.amazonaws.com/", "must be the ARN of a topic"),
        ("sns", "arn:aws:sqs:eu-west-1:123456789012:q", "must be the ARN of a topic"),
        ("sns", "arn:aws:sns:eu-west-1::t", "must be the ARN of a topic"),
    ] {
        let ran = server.run(&["channel", "create", "n", &format!("--{kind}"), target]);
        assert!(ran.code == 2 && ran.err.contains(says) && !ran.err.contains("hush"), "{target}: {ran:?}");
    }
    let id = channel(&server, "q", "sqs", "https://sqs.eu-west-1.amazonaws.com/123456789012/q");
    let tested = server.ok(&["channel", "test", &id, "--json"]).json();
    let says = tested["reply"].as_str().expect("a reply");
    assert!(says.starts_with("AWS cannot be asked") && says.contains("credential"), "{tested}");
    let wrong = server.run(&["channel", "hours", &id, "--digest-at", "09:00"]);
    assert!(wrong.code == 2 && wrong.err.contains("for people only"), "{wrong:?}");
}
