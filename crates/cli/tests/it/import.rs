//! `tollgate import` and `tollgate export`.

use std::fmt::Write as _;

use serde_json::json;

use crate::server::{Server, folder};

#[test]
fn files_are_imported_once_and_exported_again() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "ultimate"]);
    let mut csv = "org,user,meter,quantity,key,property.model\n".to_owned();
    for number in 1..=2_500 {
        let _ = writeln!(csv, "acme,ann,reports,0.5,k-{number},\"large, new\"");
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
    assert_eq!((told.code, told.out.as_str()), (1, "1 counted, 0 duplicates, 2 rejected\n"), "{told:?}");
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
fn what_cannot_be_imported_says_why() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    std::fs::write(folder.path().join("odd.csv"), "org,colour\n").expect("it is written");
    for (args, says) in [
        (&["import", "absent.csv"][..], "absent.csv"),
        (&["import", "odd.csv"], "the header names 'colour'"),
        (&["import", "--batch", "0", "odd.csv"], "--batch"),
        (&["export"], "--org"),
    ] {
        let ran = server.run(args);
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
    }
}
