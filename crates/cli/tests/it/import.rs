//! `tollgate import` and `tollgate export`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::process::Stdio;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, folder, tollgate};

#[test]
fn files_are_imported_once_and_exported_again() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "ultimate"]);
    let mut csv = "org,user,path,meter,quantity,key,property.model\n".to_owned();
    for number in 1..=2_500 {
        let _ = writeln!(csv, "acme,ann,research/run-{number},reports,0.5,k-{number},\"large, new\"");
    }
    std::fs::write(folder.path().join("usage.csv"), &csv).expect("it is written");
    let told = server.ok(&["import", "usage.csv"]).out;
    assert_eq!(told, "2500 counted, 0 duplicates, 0 rejected\n");
    let again = server.ok(&["import", "--from-line", "2002", "--batch", "7", "--json", "usage.csv"]).json();
    assert_eq!(again, json!({"counted": 0, "duplicates": 500, "rejected": 0}));

    let lines = "{\"org\":\"acme\",\"meter\":\"reports\",\"key\":\"n-1\"}\n\nnonsense\n\
                 {\"org\":\"nobody\",\"meter\":\"reports\",\"key\":\"n-2\"}\n";
    std::fs::write(folder.path().join("usage.ndjson"), lines).expect("it is written");
    let told = server.run(&["import", "usage.ndjson"]);
    assert_eq!((told.code, told.out.as_str()), (3, "1 counted, 0 duplicates, 2 rejected\n"), "{told:?}");
    let told_lines: Vec<_> = told.err.lines().collect();
    assert!(told_lines[0].starts_with("line 3: unreadable: "), "{told:?}");
    assert!(told_lines[1].starts_with("line 4: unknown_org: "), "{told:?}");

    server.ok(&["reverse", "acme", "k-7"]);
    for format in ["csv", "ndjson"] {
        let exported = server.ok(&["export", "--org", "acme", "--format", format]).out;
        let header = usize::from(format == "csv");
        assert_eq!(exported.lines().count(), 2_500 + header, "what was taken back is left out");
        assert!(!exported.contains("k-7,") && !exported.contains("\"k-7\""), "{format}");
        let file = format!("exported.{format}");
        std::fs::write(folder.path().join(&file), &exported).expect("it is written");
        let told = server.ok(&["import", &file]).out;
        assert_eq!(told, "0 counted, 2500 duplicates, 0 rejected\n", "{format}");
        assert_eq!(server.ok(&["export", "--all", "--format", format]).out, exported);
    }
}

#[test]
fn what_is_exported_is_the_same_usage_on_another_server() {
    let folder = folder();
    let catalog = "[[meters]]\nid = \"usd\"\nname = \"Money\"\nunit = \"USD\"\n\
                   [[models]]\nid = \"large\"\nrates = [{ input = \"2.5\", output = \"10\" }]\n\
                   [[plans]]\nid = \"team\"\nname = \"Team\"\n\
                   allowances = [{ meter = \"usd\", amount = 100, enforcement = \"soft\" }]\n";
    std::fs::write(folder.path().join("models.toml"), catalog).expect("it is written");
    let lines = [
        json!({"org": "acme", "meter": "usd", "key": "at", "quantity": 2, "path": "research/agent 7"}),
        json!({"org": "acme", "meter": "usd", "key": " spaced ", "user": " ann", "quantity": 3}),
        json!({"org": "acme", "meter": "usd", "key": "priced", "call": {"model": "large", "input_tokens": 1000}}),
    ];
    // With the mark that some programs write at the beginning of a text.
    let lines = lines.iter().fold("\u{feff}".to_owned(), |text, line| format!("{text}{line}\n"));
    std::fs::write(folder.path().join("lines.ndjson"), lines).expect("it is written");
    let start = |data: &str| {
        let data = folder.path().join(data);
        std::fs::create_dir(&data).expect("it is made");
        let server = Server::start(&data, &[], &[]);
        server.ok(&["catalog", "apply", folder.path().join("models.toml").to_str().expect("a path")]);
        server.ok(&["plan", "set", "acme", "team"]);
        server
    };
    let file = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let first = start("first");
    assert_eq!(first.ok(&["import", &file("lines.ndjson")]).out, "3 counted, 0 duplicates, 0 rejected\n");
    for format in ["csv", "ndjson"] {
        let exported = first.ok(&["export", "--org", "acme", "--format", format]).out;
        std::fs::write(file(&format!("acme.{format}")), &exported).expect("it is written");
        let other = start(&format!("other-{format}"));
        let told = other.ok(&["import", &file(&format!("acme.{format}"))]).out;
        assert_eq!(told, "3 counted, 0 duplicates, 0 rejected\n", "{format}: {exported}");
        let again = other.ok(&["export", "--org", "acme", "--format", format]).out;
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(sorted(&again), sorted(&exported), "{format}");
        assert!(exported.contains("research/agent 7") && exported.contains(" spaced "), "{exported}");
    }
}

#[test]
fn what_cannot_be_imported_says_why() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    std::fs::write(folder.path().join("odd.csv"), "org,color\n").expect("it is written");
    std::fs::write(folder.path().join("twice.csv"), "org,meter,key,org\n").expect("it is written");
    for (args, says) in [
        (&["import", "odd.csv"][..], "the header names 'color'"),
        (&["import", "twice.csv"], "the header names 'org' twice"),
        (&["import", "--batch", "0", "odd.csv"], "--batch"),
        (&["export"], "--org"),
    ] {
        let ran = server.run(args);
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
    }
}

/// Records of half a report each, a line each.
fn records(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.fold(String::new(), |mut lines, number| {
        let record =
            json!({"org": "acme", "meter": "reports", "quantity": 0.5, "key": format!("k-{number}")});
        let _ = writeln!(lines, "{record}");
        lines
    })
}

fn used(server: &Server) -> Value {
    let balance = server.ok(&["balance", "acme", "--json"]).json();
    balance.pointer("/meters/reports/used").expect("what was used").clone()
}

#[test]
fn an_import_that_is_killed_is_run_again_and_counts_each_line_once() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "ultimate"]);
    // Fed slowly: it is in the middle when it is killed, with lines sent, lines read and lines it has not seen.
    let mut import =
        tollgate(folder.path(), &[("TOLLGATE_URL", &server.url)], &["import", "--batch", "100", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the import starts");
    let mut lines = import.stdin.take().expect("its standard input");
    lines.write_all(records(1..=750).as_bytes()).expect("it reads");
    lines.flush().expect("it reads");
    let began = Instant::now();
    while used(&server).as_f64().expect("a number") < 200.0 {
        assert!(began.elapsed() < PATIENCE, "the import does not get on: {}", used(&server));
    }
    import.kill().expect("it still runs");
    let ended = import.wait().expect("it ends");
    assert_eq!(ended.code(), None, "killed, not ended by itself");
    drop(lines);
    std::fs::write(folder.path().join("all.ndjson"), records(1..=2_000)).expect("it is written");
    let told = server.ok(&["import", "all.ndjson", "--json"]).json();
    let [counted, duplicates] = ["counted", "duplicates"].map(|name| told[name].as_u64().expect("a number"));
    assert!((400..=750).contains(&duplicates), "what was sent before counts no more: {told}");
    assert_eq!(counted + duplicates, 2_000, "{told}");
    assert_eq!(used(&server), json!(1_000));
    let again = server.ok(&["import", "all.ndjson", "--json"]).json();
    assert_eq!(again, json!({"counted": 0, "duplicates": 2_000, "rejected": 0}));
    assert_eq!(used(&server), json!(1_000));
}

#[test]
fn a_terminal_sees_how_far_an_import_is_and_a_file_does_not() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "ultimate"]);
    std::fs::write(folder.path().join("usage.ndjson"), records(1..=100)).expect("it is written");
    let piped = server.ok(&["import", "usage.ndjson"]);
    assert_eq!(piped.err, "", "nothing is drawn into a file");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let name = ptsname(&terminal, Vec::new()).expect("its name").into_string().expect("text");
    let shown = File::options().read(true).write(true).open(name).expect("it opens");
    let mut import = tollgate(
        folder.path(),
        &[("TOLLGATE_URL", &server.url), ("TERM", "xterm")],
        &["import", "usage.ndjson"],
    )
    .stdout(Stdio::null())
    .stderr(shown)
    .spawn()
    .expect("the import starts");
    let mut drawn = Vec::new();
    let mut bytes = [0; 4_096];
    let mut screen = File::from(terminal);
    // The terminal has no more to show, and says so with an error, when the last program on it has ended.
    while let Ok(read @ 1..) = screen.read(&mut bytes) {
        drawn.extend_from_slice(&bytes[..read]);
    }
    assert!(import.wait().expect("it ends").success());
    let drawn = String::from_utf8_lossy(&drawn);
    assert!(drawn.contains("100% ") && drawn.contains("0 counted, 100 duplicates, 0 rejected"), "{drawn}");
}
