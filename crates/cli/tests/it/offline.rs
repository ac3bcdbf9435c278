//! The store's folder without a server: what was answered is there, can be checked, copied and made anew.

use crate::server::{Ran, Server, folder, run};

#[test]
fn data_outlives_the_server_and_can_be_kept() {
    let folder = folder();
    let offline = |args: &[&str], code: i32| -> Ran {
        let ran = run(folder.path(), &[("TOLLGATE_STORE", "embedded:data")], args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        ran
    };
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "basic"]);
    server.ok(&["use", "acme", "--quantity", "7", "--key", "k"]);
    let busy = offline(&["verify"], 3);
    assert!(busy.err.contains("hint: stop the server first"), "{busy:?}");
    offline(&["backup", "beside"], 0);
    let (ended, said) = server.stop();
    assert_eq!(ended.code(), Some(0), "{said:?}");

    let sound = offline(&["verify"], 0);
    assert!(sound.out.contains("organizations  1\n") && sound.out.ends_with("\nall is well\n"), "{sound:?}");
    offline(&["rebuild"], 0);
    offline(&["verify", "--store", "embedded:data"], 0);
    offline(&["backup", "copy"], 0);
    let again = offline(&["backup", "copy"], 3);
    assert!(again.err.contains("not empty"), "{again:?}");
    offline(&["verify", "--store", "embedded:nowhere"], 3);
    offline(&["verify", "--store", "memory:"], 2);

    for store in ["--store=embedded:data", "--store=embedded:copy", "--store=embedded:beside"] {
        let server = Server::start(folder.path(), &[], &[store]);
        let used = server.ok(&["use", "acme", "--quantity", "7", "--key", "k", "--json"]).json();
        assert_eq!((&used["replayed"], &used["remaining"]), (&true.into(), &93.into()), "{store}: {used}");
        assert_eq!(server.stop().0.code(), Some(0));
    }
}

#[test]
fn damage_is_found() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "basic"]);
    for _ in 0..3 {
        server.ok(&["use", "acme"]);
    }
    server.stop();
    let ledger = folder.path().join("data").join("ledger");
    let segment = std::fs::read_dir(&ledger)
        .expect("the ledger's folder")
        .map(|file| file.expect("a file").path())
        .min()
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("the segment");
    let first_used = bytes.windows(4).position(|window| window == b"acme").expect("the organization's name");
    bytes[first_used] ^= 1;
    std::fs::write(&segment, bytes).expect("the segment is written");
    let found = run(folder.path(), &[], &["verify", "--store", "embedded:data"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.out.contains("differences"), "{found:?}");
}
