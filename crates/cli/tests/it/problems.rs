//! What a person sees when it does not work.

use std::net::TcpListener;

use crate::server::{Server, folder, run};

#[test]
fn a_problem_is_told_with_field_and_request_id() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    for (args, code, says) in [
        (&["balance", "nobody"][..], 3, &["(unknown_org)", "request id:"][..]),
        (&["use", "nobody"], 3, &["(unknown_org)"]),
        (&["plan", "set", "acme", "gold"], 3, &["(unknown_plan)"]),
        (&["use", "acme", "--quantity", "-1"], 2, &["(invalid_field)", "field: quantity"]),
        (&["top-up", "acme", "0"], 2, &["(invalid_field)", "field: amount"]),
        (&["use", "acme", "--quantity", "many"], 2, &["(invalid_field)", "field: quantity"]),
        (&["org", "set", "acme", "--time-zone", "Mars/Base"], 2, &["(invalid_field)", "field: time_zone"]),
        (&["org", "list", "--cursor", "nonsense"], 2, &["field: cursor"]),
    ] {
        let ran = server.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("error: "), "{args:?}: {ran:?}");
        says.iter().for_each(|wanted| assert!(ran.err.contains(wanted), "{args:?}: {wanted}: {ran:?}"));
    }
}

#[test]
fn what_may_have_been_meant_is_told() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "basic"]);
    for (args, says) in [
        (&["plan", "set", "acme", "basc"][..], "no plan 'basc'; did you mean 'basic'?"),
        (&["use", "acme", "--meter", "report"], "no meter 'report'; did you mean 'reports'?"),
        (&["top-up", "acme", "1", "--meter", "Reports"], "did you mean 'reports'?"),
        (&["limit", "set", "acme", "1", "--meter", "reprots"], "did you mean 'reports'?"),
        (&["balanec", "acme"], "'balance'"),
        (&["plan", "sett", "acme", "basic"], "'set'"),
    ] {
        let ran = server.run(args);
        assert!(ran.code >= 2 && ran.err.contains(says), "{args:?}: {ran:?}");
    }
    let ran = server.run(&["plan", "set", "acme", "gold"]);
    assert!(!ran.err.contains("did you mean"), "nothing is like it: {ran:?}");
}

#[test]
fn programs_get_the_denial_as_json_too() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "lite"]);
    let ran = server.run(&["use", "acme", "--quantity", "21", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let problem = ran.json();
    assert_eq!(
        (&problem["allowed"], &problem["code"]),
        (&false.into(), &"org_limit_reached".into()),
        "{problem}"
    );
    assert!(ran.err.contains("(org_limit_reached)") && ran.err.contains("remaining: 20"), "{ran:?}");
    let check = server.run(&["check", "acme", "--quantity", "21", "--json"]);
    assert_eq!((check.code, &check.json()["allowed"]), (1, &false.into()), "{check:?}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folder = folder();
    // A port that was free a moment ago.
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let url = format!("http://127.0.0.1:{port}");
    let ran = run(folder.path(), &[], &["use", "acme", "--url", &url]);
    assert_eq!(ran.code, 3, "{ran:?}");
    for wanted in [&format!("error: no answer from {url}: "), "'tollgate serve' starts one", "--key cli-"] {
        assert!(ran.err.contains(wanted), "{wanted}: {ran:?}");
    }
    let ran = run(folder.path(), &[], &["use", "acme", "--key", "k", "--url", &url]);
    assert!(!ran.err.contains("--key"), "a given key is known: {ran:?}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let folder = folder();
    for (args, says) in [
        (&["balance"][..], "<ORG>"),
        (&["nonsense"], "unrecognized subcommand"),
        (&["limit", "set", "acme", "1", "--window", "year"], "must be one of 'minute'"),
        (&["balance", "acme", "--url", "localhost:1"], "expected http://HOST:PORT"),
        (&["use", "acme", "--property", "x"], "expected NAME=VALUE"),
        (&["serve", "--threads", "none"], "threads: 'none' is not allowed"),
        (&["serve", "--listen", "here"], "(from flag --listen)"),
        (&["serve", "--store", "mysql://h"], "expected embedded:PATH"),
        (&["migrate", "--store", "memory:"], "has no schema"),
    ] {
        let ran = run(folder.path(), &[], args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = folder();
    let mut child = crate::server::tollgate(folder.path(), &[], &["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}
