//! Flipped bytes: `tollgate verify` finds them and names the file; a server on such data says an error or the truth,
//! never something else; damaged tables are made anew from the ledger.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tollgate_e2e::books::{Kind, read_list};
use tollgate_e2e::http::Client;
use tollgate_e2e::load::{Ask, Draw, Load, make_wide_org};
use tollgate_e2e::{Result, Tollgate, until};

const SEGMENT_BYTES: u64 = 128 * 1024;

const ORGS: usize = 4;

/// Usages: enough for several sealed files of the ledger.
const USAGES: u64 = 2_500;

/// Damages of the ledger that verify must find, and of these: served and read.
const LEDGER_FLIPS: usize = 10;

/// Damages of the tables.
const TABLE_FLIPS: usize = 8;

/// What a sound server says, by path.
type Truth = Vec<(String, Value)>;

fn paths() -> Vec<String> {
    let of = |number: usize| {
        ["balance", "users?meter=reports&limit=1000", "ledger?order=oldest&limit=1000"]
            .map(|rest| format!("/v1/orgs/org-{number}/{rest}"))
    };
    (0..ORGS).flat_map(of).collect()
}

/// Without what depends on when it was asked: the time, and what is projected from it.
fn timeless(mut body: Value) -> Value {
    match &mut body {
        Value::Object(members) => {
            members.retain(|name, _| !["at", "projected", "runs_out_on"].contains(&name.as_str()));
            members.values_mut().for_each(|value| *value = timeless(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = timeless(item.take())),
        _ => {}
    }
    body
}

fn make_store(store: &Path) -> Result<Truth> {
    let server = Tollgate::serve_small(store, SEGMENT_BYTES).start()?;
    let mut client = server.client();
    for number in 0..ORGS {
        make_wide_org(&mut client, &format!("org-{number}"))?;
    }
    let draw: Arc<Draw> = Arc::new(|rng: &mut Rng| Ask {
        org: format!("org-{}", rng.usize(..ORGS)),
        user: Some(format!("u{}", rng.usize(..20))),
        kind: Kind::Usage,
        quantity: 1,
        properties: Value::Null,
    });
    let load = Load::start(&[server.address()], 16, 7, &draw);
    until("the usages", Duration::from_secs(60), || Ok((load.answers() >= USAGES).then_some(())))?;
    load.finish()?;
    let truth = paths().into_iter().map(|path| Ok((path.clone(), timeless(client.get(&path)?))));
    let truth = truth.collect::<Result<Truth>>()?;
    assert_eq!(read_list(&mut client, "/v1/orgs", "orgs")?.len(), ORGS);
    server.stop()?;
    Ok(truth)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &target)?;
        } else {
            std::fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.metadata()?.len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Changes one byte at random; says which.
fn flip(path: &Path, rng: &mut Rng) -> Result<u64> {
    flip_at(path, rng, |bytes, rng| {
        // Zeros behind the end of a file's content mean nothing to anybody.
        let content = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        Ok(rng.usize(..content))
    })
}

/// Changes a byte of an entry that readers of its organization come to; says which.
fn flip_entry(path: &Path, rng: &mut Rng) -> Result<u64> {
    let name = b"org-0";
    flip_at(path, rng, |bytes, _| {
        let place = bytes.windows(name.len()).position(|window| window == name);
        place.ok_or_else(|| format!("no entry of an organization in {}", path.display()).into())
    })
}

fn flip_at(path: &Path, rng: &mut Rng, place: impl FnOnce(&[u8], &mut Rng) -> Result<usize>) -> Result<u64> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes)?;
    let offset = place(&bytes, rng)?;
    file.write_all_at(&[bytes[offset] ^ (1 << rng.u32(..8))], u64::try_from(offset)?)?;
    Ok(u64::try_from(offset)?)
}

/// What a server on damaged data says: refused to start, or how many answers were errors. A wrong answer fails the test.
fn serve_damaged(store: &Path, truth: &Truth, what: &str) -> Option<usize> {
    let server = Tollgate::serve_small(store, SEGMENT_BYTES).start().ok()?;
    let mut errors = 0;
    for (path, wanted) in truth {
        let reply = Client::new(server.address()).call("GET", path, None);
        let reply = reply.unwrap_or_else(|error| panic!("{what}: {error}\n{}", server.log()));
        if reply.status == 200 {
            let body = timeless(reply.json().expect("an answer is JSON"));
            assert_eq!(&body, wanted, "{what}: a wrong answer to {path}");
        } else {
            assert_eq!(reply.status, 503, "{what}: {path}");
            errors += 1;
        }
    }
    Some(errors)
}

#[test]
fn a_flipped_byte_of_the_ledger_is_found_and_never_answered() -> Result<()> {
    let _machine = super::beside_others();
    let mut rng = Rng::with_seed(super::seed());
    let folder = tempfile::tempdir()?;
    let sound = folder.path().join("sound");
    let truth = make_store(&sound)?;
    super::assert_verified(&sound);
    let (mut refused, mut failed_reads) = (0, 0);
    for number in 0..LEDGER_FLIPS {
        let damaged = folder.path().join(format!("damaged-{number}"));
        copy(&sound, &damaged)?;
        // The first two files are those of the first segment, its facts and its entries: the ledger has gone on since.
        let segments = files_below(&damaged.join("ledger"))?;
        assert!(segments.len() >= 4, "too few files: {segments:?}");
        // One is certain to be met by a reader; where the others are is left to chance.
        let segment = &segments[if number == 0 { 1 } else { rng.usize(..2) }];
        let offset = if number == 0 { flip_entry(segment, &mut rng)? } else { flip(segment, &mut rng)? };
        let name = segment.file_name().and_then(|name| name.to_str()).ok_or("a name that is not text")?;
        let what = format!("byte {offset} of {name}");
        let verified = Tollgate::verify(&damaged).run()?;
        let said = String::from_utf8_lossy(&verified.stdout) + String::from_utf8_lossy(&verified.stderr);
        assert!(!verified.status.success(), "verify does not find {what}:\n{said}");
        assert!(said.contains(name), "verify does not name the file of {what}:\n{said}");
        match serve_damaged(&damaged, &truth, &what) {
            None => refused += 1,
            Some(errors) => failed_reads += errors,
        }
        std::fs::remove_dir_all(&damaged)?;
    }
    println!(
        "{LEDGER_FLIPS} flipped bytes of the ledger: verify found and named all; served: {refused} refused at start, \
         {failed_reads} reads failed, 0 wrong answers"
    );
    assert!(refused + failed_reads > 0, "no read ever met the damage");
    Ok(())
}

#[test]
fn a_flipped_byte_of_the_tables_is_found_or_healed_and_never_answered() -> Result<()> {
    let _machine = super::beside_others();
    let mut rng = Rng::with_seed(super::seed());
    let folder = tempfile::tempdir()?;
    let sound = folder.path().join("sound");
    let truth = make_store(&sound)?;
    let (mut found, mut refused, mut failed_reads) = (0, 0, 0);
    for number in 0..TABLE_FLIPS {
        let damaged = folder.path().join(format!("damaged-{number}"));
        let served = folder.path().join(format!("served-{number}"));
        copy(&sound, &damaged)?;
        let files = files_below(&damaged.join("tables"))?;
        let file = &files[rng.usize(..files.len())];
        let offset = flip(file, &mut rng)?;
        let name = file.strip_prefix(&damaged)?.display().to_string();
        let what = format!("byte {offset} of {name}");
        copy(&damaged, &served)?;
        let verified = Tollgate::verify(&damaged).run()?;
        let said = String::from_utf8_lossy(&verified.stdout) + String::from_utf8_lossy(&verified.stderr);
        if !verified.status.success() {
            found += 1;
            assert!(said.contains("table"), "verify does not say where {what} is:\n{said}");
        }
        match serve_damaged(&served, &truth, &what) {
            None => refused += 1,
            Some(errors) => failed_reads += errors,
        }
        // The ledger is whole, so the tables can always be had again.
        let rebuilt =
            Tollgate::command(&["rebuild", "--store"]).arg(format!("embedded:{}", served.display())).run()?;
        assert!(rebuilt.status.success(), "{what}: rebuild: {}", String::from_utf8_lossy(&rebuilt.stderr));
        super::assert_verified(&served);
        assert_eq!(serve_damaged(&served, &truth, &what), Some(0), "{what}: after a rebuild");
        std::fs::remove_dir_all(&damaged)?;
        std::fs::remove_dir_all(&served)?;
    }
    println!(
        "{TABLE_FLIPS} flipped bytes of the tables: verify found {found} (the others were healed from the ledger); served: \
         {refused} refused at start, {failed_reads} reads failed, 0 wrong answers; rebuilt, all well"
    );
    Ok(())
}
