//! Below the routes: what is too large, too slow, or no HTTP at all.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{REQUEST_TIMEOUT, Scene};
use crate::client::{Ask, Client, connect, end};
use crate::server::TestServer;

#[test]
fn what_is_too_large() {
    const MIB: usize = 1024 * 1024;
    let scene = Scene::new();
    let address = scene.server.address();

    // 100 MiB, announced: all of it is taken before the answer, so that a caller that sends first hears it.
    let mut client = scene.server.client();
    let head = format!(
        "POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        100 * MIB
    );
    client.send_raw(head.as_bytes()).expect("sent");
    let chunk = vec![b' '; MIB];
    for _ in 0..100 {
        client.send_raw(&chunk).expect("the server reads on");
    }
    client.read().expect("an answer").is_problem(413, "body_too_large", None);
    assert_eq!(client.get("/health").ok()["status"], "healthy");
    scene.is_unchanged("100 MiB");

    // 100 MiB in chunks, of a length nobody announced.
    let mut client = scene.server.client();
    let head = b"POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send_raw(head).expect("sent");
    for _ in 0..100 {
        client.send_raw(format!("{MIB:x}\r\n").as_bytes()).expect("sent");
        client.send_raw(&chunk).expect("the server reads on");
        client.send_raw(b"\r\n").expect("sent");
    }
    client.send_raw(b"0\r\n\r\n").expect("sent");
    client.read().expect("an answer").is_problem(413, "body_too_large", None);
    scene.is_unchanged("100 MiB in chunks");

    // Who asks first, or announces what nobody would read to its end, is told at once.
    for (name, length, expect) in
        [("asking first", MIB, "expect: 100-continue\r\n"), ("a terabyte", MIB * MIB, "")]
    {
        let mut client = Client::over(connect(address).expect("it connects"));
        let head = format!(
            "POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{expect}content-length: {length}\r\n\r\n"
        );
        client.send_raw(head.as_bytes()).expect("sent");
        client.read().expect("an answer").is_problem(413, "body_too_large", None);
        scene.is_unchanged(name);
    }

    // One byte more than is allowed, and as much as is allowed.
    let limit = 64 * 1024;
    let body = r#"{"org":"acme","meter":"reports","key":"k"}"#;
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let check = |length| Ask::new("POST", "/v1/usage/check").body(padded(length));
    let mut client = scene.server.client();
    client.ask(&check(limit + 1)).is_problem(413, "body_too_large", None);
    assert_eq!(client.ask(&check(limit)).ok()["allowed"], true);
    scene.is_unchanged("64 KiB");
}

#[test]
fn headers_that_are_too_large() {
    let scene = Scene::new();
    for (name, headers) in [
        ("one header of 1 MiB", format!("x-large: {}\r\n", "x".repeat(1024 * 1024))),
        ("ten thousand headers", (0..10_000).map(|number| format!("x-{number}: {number}\r\n")).collect()),
        ("a path of 1 MiB", String::new()),
    ] {
        println!("{name}");
        let mut stream = connect(scene.server.address()).expect("it connects");
        let path = if headers.is_empty() { "x".repeat(1024 * 1024) } else { "health".to_owned() };
        // The server may answer and close before it has read all.
        let _ =
            stream.write_all(format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["431", "414"].contains(&status), "{name}: {answer:?}");
        scene.is_unchanged(name);
    }
}

#[test]
fn what_is_not_http_is_refused_or_closed() {
    let scene = Scene::new();
    for (name, bytes) in [
        ("noise", b"\x00\x01\x02\x03\xff\xfe\r\n\r\n".as_slice()),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice()),
        ("a version nobody speaks", b"GET /health HTTP/9.9\r\n\r\n"),
        (
            "two lengths",
            b"POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        ),
        ("a length in words", b"POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: two\r\n\r\n{}"),
        (
            "a chunk in words",
            b"POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nlots\r\n",
        ),
        ("a header without a colon", b"GET /health HTTP/1.1\r\nhost t\r\n\r\n"),
        (
            "half a request",
            b"POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"org\":",
        ),
        ("nothing", b""),
    ] {
        println!("{name}");
        let mut stream = connect(scene.server.address()).expect("it connects");
        stream.write_all(bytes).expect("sent");
        end(&stream);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        scene.is_unchanged(name);
    }
}

#[test]
fn a_slow_caller_is_not_waited_for() {
    let scene = Scene::new();
    let body = r#"{"org":"acme","meter":"reports","key":"slow"}"#;
    let head = format!(
        "POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let address = scene.server.address();
    // Each sends a byte at a time until the server ends it: within the head, and within the body.
    let heard = std::thread::scope(|scope| {
        let trickle = |at_once: String, slowly: String| {
            scope.spawn(move || {
                let began = Instant::now();
                let mut stream = connect(address).expect("it connects");
                stream.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
                stream.write_all(at_once.as_bytes()).expect("sent");
                let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
                for byte in slowly.bytes().chain(std::iter::repeat(b' ')) {
                    assert!(began.elapsed() < Duration::from_secs(10), "the server waits for ever");
                    let _ = stream.write_all(&[byte]);
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => answer.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
            })
        };
        let in_head = trickle(String::new(), head.clone());
        let in_body = trickle(head.clone(), body.to_owned());
        let silent = trickle("POST /v1/usage HTTP/1.1\r\n".to_owned(), "x-slow: ".to_owned());
        [in_head, in_body, silent].map(|thread| thread.join().expect("it ends"))
    });
    for ((took, answer), name) in heard.iter().zip(["head", "body", "one header"]) {
        println!("{name}: {took:?} {answer}");
        let wanted = answer.is_empty() || answer.starts_with("HTTP/1.1 408");
        assert!(wanted && *took < Duration::from_secs(5), "{name}: {took:?} {answer}");
    }
    let (_, answer) = &heard[1];
    assert!(
        answer.contains("application/problem+json") && answer.contains("\"request_timeout\""),
        "{answer}"
    );
    scene.is_unchanged("slow callers");
}

#[test]
fn a_caller_that_stops_gives_its_place_to_others() {
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    for (name, sent) in [
        ("nothing", ""),
        ("what may begin HTTP/1.1 or HTTP/2", "P"),
        ("most of the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n"),
        ("forty megabytes asked for and not taken", requests.as_str()),
    ] {
        println!("{name}");
        let server = TestServer::with(|settings| {
            settings.request_timeout = REQUEST_TIMEOUT;
            settings.connections_max = 1;
        });
        let mut stopped = connect(server.address()).expect("it connects");
        stopped.write_all(sent.as_bytes()).expect("sent");
        // There is no second place: whoever comes next waits until the first is given up.
        assert_eq!(server.client().get("/ready").ok()["ready"], true, "after {name}");
        end(&stopped);
    }
}
