//! Data folders of releases, kept in `crates/e2e/golden/VERSION/`: each is opened by the binary of today and must say what it
//! said then. And data of a format to come, which must be refused with what to do.
//!
//! `TOLLGATE_WRITE_GOLDEN=1 cargo test -p tollgate-e2e --test it golden` writes the folder of this version anew. Once a version
//! is released its folder is never changed: if it fails then, the change is wrong, not the folder.

mod newer;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::{Value, json};
use tollgate_e2e::{Result, Server, Tollgate, clock};

/// When set, the folder of this version is written.
const WRITE: &str = "TOLLGATE_WRITE_GOLDEN";

/// All folders together: they are downloaded with every clone.
const BYTES_MAX: u64 = 2 * 1024 * 1024;

/// So small that a few dozen entries fill several ledger files.
const SEGMENT_BYTES: u64 = 4 * 1024;

/// The data folder of a version, and beside it what it answered.
const DATA: &str = "data";
const ANSWERS: &str = "answers.json";

/// What depends on the moment it was asked: forecasts, cursors, and how far deliveries are. And sentences for people, whose words may
/// change.
const VOLATILE: [&str; 6] = ["delivered", "projected", "resume", "runs_out_on", "summary", "waiting"];

/// By path, in the order of their names.
type Answers = BTreeMap<String, Value>;

/// The folder of this version; written first, once, when that is asked for.
fn of_today() -> PathBuf {
    static WRITTEN: Once = Once::new();
    let of_today = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(env!("CARGO_PKG_VERSION"));
    if std::env::var_os(WRITE).is_some() {
        WRITTEN.call_once(|| written(&of_today).expect("the folder of this version is written"));
    }
    assert!(of_today.exists(), "{} is missing: {WRITE}=1 writes it", of_today.display());
    of_today
}

/// A server on a folder, for which it is a given time.
fn served(data: &Path, now_secs: i64, folder: &Path) -> Result<Server> {
    let wrapper = clock::set_to(now_secs, folder)?;
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    Tollgate::serve_small(data, SEGMENT_BYTES).under(&wrapper).start()
}

/// A copy that may be changed.
fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copied(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

/// Every file below a folder with what is in it.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            let bytes = fs::read(&path)?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

/// Without what depends on the moment it was asked.
fn timeless(mut body: Value) -> Value {
    match &mut body {
        Value::Object(members) => {
            if members.contains_key("meters") {
                // When the balance was asked for.
                members.remove("at");
            }
            members.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            // Those of a ledger entry are such sentences: how many there are, stays.
            if let Some(Value::Array(notices)) = members.get_mut("notices") {
                notices
                    .iter_mut()
                    .filter(|notice| notice.is_string())
                    .for_each(|notice| *notice = Value::Null);
            }
            members.values_mut().for_each(|value| *value = timeless(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = timeless(item.take())),
        _ => {}
    }
    body
}

/// What a server says on every path of the story.
fn asked(server: &Server) -> Result<Answers> {
    let mut client = server.client();
    let answer = |path: &str| Ok((path.to_owned(), timeless(client.get(path)?)));
    story::PATHS.iter().copied().map(answer).collect()
}

/// Where an answer lacks something that it said before; members that came since are none of it.
fn lost(path: &str, before: &Value, now: &Value) -> Vec<String> {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let missing = &Value::Null;
            let each = before.iter().flat_map(|(name, value)| {
                lost(&format!("{path}/{name}"), value, now.get(name).unwrap_or(missing))
            });
            each.collect()
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            let pairs = before.iter().zip(now).enumerate();
            pairs.flat_map(|(at, (before, now))| lost(&format!("{path}/{at}"), before, now)).collect()
        }
        (before, now) if before == now => Vec::new(),
        (before, now) => vec![format!("{path}: was {before}, is {now}")],
    }
}

fn compared(version: &str, recorded: &Answers, server: &Server) -> Result<()> {
    let now = asked(server)?;
    let differences = recorded.iter().flat_map(|(path, before)| match now.get(path) {
        Some(now) => lost(path, before, now),
        None => vec![format!("{path} is not asked any more")],
    });
    let differences: Vec<String> = differences.collect();
    super::assert_none(
        &differences,
        &format!("the data of {version}; {WRITE}=1 writes it while it is not released"),
    );
    Ok(())
}

/// Writes the folder of this version: in October, in November, and once more up to a kill, so that images lag.
fn written(of_today: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join(DATA);
    for (begins_secs, steps) in
        [(story::OCTOBER_SECS, story::october()), (story::NOVEMBER_SECS, story::november())]
    {
        let server = served(&data, begins_secs, folder.path())?;
        story::told(&server, &steps)?;
        server.stop()?;
    }
    let server = served(&data, story::LAST_SECS, folder.path())?;
    story::told(&server, &story::last())?;
    let answers = asked(&server)?;
    server.kill()?;
    if of_today.exists() {
        fs::remove_dir_all(of_today)?;
    }
    copied(&data, &of_today.join(DATA))?;
    fs::write(of_today.join(ANSWERS), serde_json::to_string_pretty(&answers)? + "\n")?;
    Ok(())
}

#[test]
fn data_of_every_release_is_opened_and_says_what_it_said() -> Result<()> {
    let _machine = super::beside_others();
    let of_today = of_today();
    let golden = of_today.parent().ok_or("the folder of all versions")?;
    let bytes: usize = files(golden)?.values().map(Vec::len).sum();
    assert!(u64::try_from(bytes)? <= BYTES_MAX, "{bytes} bytes: folders of releases are small");
    for release in fs::read_dir(golden)? {
        let release = release?;
        let version = release.file_name().into_string().map_err(|_| "a version is text")?;
        let recorded: Answers = serde_json::from_slice(&fs::read(release.path().join(ANSWERS))?)?;
        for (path, pointer, figure) in story::figures() {
            assert_eq!(recorded[path].pointer(pointer), Some(&figure), "{version}: {path} {pointer}");
        }
        let folder = tempfile::tempdir()?;
        let data = folder.path().join(DATA);
        copied(&release.path().join(DATA), &data)?;
        super::assert_verified(&data);
        let server = served(&data, story::OPENED_SECS, folder.path())?;
        compared(&version, &recorded, &server)?;
        goes_on(&server)?;
        let later = asked(&server)?;
        server.stop()?;
        super::assert_verified(&data);

        // Of the ledger alone.
        let rebuilt = Tollgate::command(&["rebuild", "--store"]).arg(format!("embedded:{}", data.display()));
        let run = rebuilt.run()?;
        assert!(run.status.success(), "{version}: rebuild: {}", String::from_utf8_lossy(&run.stderr));
        let server = served(&data, story::OPENED_SECS + 60, folder.path())?;
        compared(&version, &later, &server)?;
        server.stop()?;
    }
    Ok(())
}

/// Keys, holds and reversals of before are known.
fn goes_on(server: &Server) -> Result<()> {
    let mut client = server.client();
    let retried =
        json!({"org": "acme", "user": "ben", "meter": "reports", "quantity": 15, "key": "report-6"});
    let replay = client.expect_ok("POST", "/v1/usage", Some(&retried))?;
    assert_eq!(replay["replayed"], true, "{replay}");
    let captured = client.expect_ok("POST", "/v1/holds/13-acme/capture", Some(&json!({"quantity": 150})))?;
    assert_eq!(captured.pointer("/hold/state"), Some(&json!("captured")), "{captured}");
    let reversed = json!({"org": "acme", "key": "report-6"});
    client.expect_ok("POST", "/v1/usage/reversals", Some(&reversed))?;
    let balance = client.get("/v1/orgs/acme/balance")?;
    let remaining = |meter: &str| balance.pointer(&format!("/meters/{meter}/remaining")).cloned();
    assert_eq!(remaining("tokens"), Some(json!(850)), "{balance}");
    assert_eq!(remaining("reports"), Some(json!(45.5)), "{balance}");
    Ok(())
}
