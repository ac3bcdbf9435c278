//! A month of a made-up business, from a file to its bills: imported by the real command into the real server, which is
//! killed on the way; then every total and every bill is what SQLite and plain integers make of the same file.

mod money;
mod sums;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_e2e::http::Client;
use tollgate_e2e::{Result, Server, Tollgate, clock, until};

use money::{owed, unbilled};
use sums::{MONTHS, Nanos, Sum, Sums, nanos};
use world::{BEGIN_SECS, Change, Maker, Org, Plan, RECORD_SECS};

/// Usages of the short form; `TOLLGATE_MONTH_USAGES` says another number.
const USAGES: u64 = 100_000;
/// An org for so many usages, and a hundred at least.
const USAGES_AN_ORG: u64 = 1_000;
/// One in so many usages comes when the month is closed.
const LATE_ONE_IN: u64 = 50;
/// How long an import may take until it has come so far.
const IMPORT_MAX: Duration = Duration::from_secs(7_200);

/// An amount of money or of usage for each text, such as a month.
type Totals = BTreeMap<String, Nanos>;

/// The part of a month that is compared, and where it is.
struct Month {
    server: Server,
    sums: Sums,
    orgs: Vec<Org>,
}

#[test]
fn a_month_of_usage_is_what_sqlite_makes_of_it_and_so_are_its_bills() -> Result<()> {
    let _machine = super::beside_others();
    let seed = super::seed();
    let usages = super::given("TOLLGATE_MONTH_USAGES").unwrap_or(USAGES);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let orgs = world::orgs(usize::try_from((usages / USAGES_AN_ORG).max(100))?);
    let (month, late, store) = (path("month.ndjson"), path("late.ndjson"), path("data"));
    let mut maker = Maker::new(seed, &orgs);
    maker.write(&month, usages - usages / LATE_ONE_IN)?;
    maker.write(&late, usages / LATE_ONE_IN)?;

    let server = started(&store, BEGIN_SECS, folder.path())?;
    world::make(&server, &orgs, &path("catalog.toml"))?;
    server.stop()?;
    let server = imported(&store, &month, usages, folder.path())?;
    let mut sums = Sums::new(&path("sums.sqlite"), &orgs)?;
    sums.take(&month)?;
    let mut month = Month { server, sums, orgs };
    month.check_usage()?;
    let estimated = month.check_bills("estimate", &BTreeMap::new())?;

    for month_over in &MONTHS[..2] {
        told(&month.server, &["bill", "close", "--all", "--month", month_over])?;
    }
    let closed = month.check_bills("closed", &BTreeMap::new())?;
    assert_eq!(closed, estimated, "closing a month changes no bill");

    // What comes late to the closed months is on the bill of the month that runs, once.
    told(&month.server, &["import", &late.display().to_string()])?;
    month.sums.take(&late)?;
    month.check_usage()?;
    month.check_bills("closed", &closed)?;
    println!("{} KiB resident at the end", month.server.resident_kib()?);
    month.server.stop()?;
    super::assert_verified(&store);
    Ok(())
}

/// A server for which it is now so late.
fn started(store: &Path, secs: i64, folder: &Path) -> Result<Server> {
    let words = clock::set_to(secs, folder)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Tollgate::serve(store).under(&words).start()
}

/// A client command that talks to a server.
fn command(server: &Server, args: &[&str]) -> Tollgate {
    Tollgate::command(args).arg("--url").arg(format!("http://{}", server.address()))
}

/// What a client command that must work says.
fn told(server: &Server, args: &[&str]) -> Result<String> {
    let output = command(server, args).run()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("tollgate {args:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Imports a file into a server that is killed twice on the way: first the import goes on where it was, then it begins
/// again. Gives the server.
fn imported(store: &Path, file: &Path, usages: u64, folder: &Path) -> Result<Server> {
    let began = Instant::now();
    let name = file.display().to_string();
    let mut from = "1".to_owned();
    for part in [3, 4] {
        let server = started(store, RECORD_SECS, folder)?;
        let import = command(&server, &["import", &name, "--from-line", &from]);
        let importing = thread::spawn(move || import.run());
        let mut client = server.client();
        until("the import to get on", IMPORT_MAX, || {
            Ok((recorded(&mut client)? >= usages / part).then_some(()))
        })?;
        server.kill()?;
        let output = importing.join().map_err(|_| "the import panicked")??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "an import cannot work without its server: {said}");
        let next = said.split_once("--from-line ").and_then(|(_, rest)| rest.split(' ').next());
        from = next.ok_or_else(|| format!("the import does not say where to go on: {said}"))?.to_owned();
    }
    let server = started(store, RECORD_SECS, folder)?;
    let summary = told(&server, &["import", &name])?;
    assert!(summary.contains(" 0 rejected"), "{summary}");
    println!(
        "imported over two kills in {:.1} s; at last: {}; {} KiB resident, ready after {} ms",
        began.elapsed().as_secs_f64(),
        summary.trim(),
        server.resident_kib()?,
        server.ready_after.as_millis()
    );
    Ok(server)
}

/// Usages that a server has counted since it was started.
fn recorded(client: &mut Client) -> Result<u64> {
    let metrics = client.call("GET", "/metrics", None)?;
    let text = String::from_utf8(metrics.body)?;
    let line = text.lines().find(|line| line.contains("decisions") && line.contains("outcome=\"recorded\""));
    Ok(line.and_then(|line| line.rsplit(' ').next()).map_or(Ok(0), str::parse)?)
}

/// A point of a series, or a user.
#[derive(Deserialize)]
struct Item {
    #[serde(alias = "period")]
    user: String,
    #[serde(alias = "quantity")]
    used: Box<RawValue>,
}

/// A page of either.
#[derive(Deserialize)]
struct Page {
    #[serde(alias = "points")]
    users: Vec<Item>,
    next: Option<String>,
}

/// A bill, as far as it is compared.
#[derive(Deserialize)]
struct Bill {
    status: String,
    total: String,
    lines: Vec<Amount>,
    adjustments: Vec<Amount>,
    included: Vec<Unbilled>,
    unpriced: Vec<Unbilled>,
}

/// Usage that no price takes.
#[derive(Deserialize)]
struct Unbilled {
    meter: String,
    quantity: Box<RawValue>,
}

#[derive(Deserialize)]
struct Amount {
    amount: String,
}

impl Month {
    /// The counters of every org, meter and month, and of every user in them.
    fn check_usage(&self) -> Result<()> {
        let began = Instant::now();
        let mut client = self.server.client();
        let mut compared = 0;
        for Org { id, .. } in &self.orgs {
            let sums = self.sums.of(id)?;
            for meter in ["tokens", "calls", "storage", "reports"] {
                let of_meter = || sums.iter().filter(|sum| sum.meter == meter);
                let by_month = totals(of_meter(), |sum| Some(sum.month.clone()));
                let path = format!("/v1/orgs/{id}/usage?meter={meter}&window=month&limit=1000");
                assert_eq!(read(&mut client, &path)?, by_month, "{id} {meter} by month");
                for month in by_month.keys() {
                    let by_user =
                        totals(of_meter().filter(|sum| sum.month == *month), |sum| sum.user.clone());
                    let path = format!("/v1/orgs/{id}/users?meter={meter}&month={month}&limit=1000");
                    assert_eq!(read(&mut client, &path)?, by_user, "{id} {meter} {month} by user");
                    compared += by_user.len() + 1;
                }
            }
        }
        let (lines, keys) = self.sums.lines_and_keys()?;
        let secs = began.elapsed().as_secs_f64();
        println!(
            "{lines} lines with {keys} keys: {compared} counters of {} orgs compared in {secs:.1} s",
            self.orgs.len()
        );
        assert!(keys < lines, "some lines come twice");
        Ok(())
    }

    /// What a bill's rows of FOCUS add up to.
    fn focus(&self, client: &mut Client, org: &str, month: &str) -> Result<i128> {
        let path = format!("/v1/orgs/{org}/bill?month={month}&format=focus");
        let body = String::from_utf8(client.call("GET", &path, None)?.body)?;
        let rows = body.lines().skip(1).map(|row| row.split(',').next().unwrap_or_default());
        let is_yen = body.contains(",JPY,");
        // A decimal always has a point there.
        let minor_of = |text: &str| minor(if is_yen { text.trim_end_matches(".0") } else { text });
        rows.map(minor_of).sum()
    }

    /// The bills of every org and month; gives the sum of each currency, org and month. `closed` is what was billed for
    /// closed months before more usage came: the difference is on the bill of the month that runs.
    fn check_bills(&self, status: &str, closed: &BTreeMap<String, i128>) -> Result<BTreeMap<String, i128>> {
        let mut client = self.server.client();
        let mut bills = BTreeMap::new();
        let (mut sum, mut wanted) = (BTreeMap::new(), BTreeMap::new());
        for org in &self.orgs {
            let sums = self.sums.of(&org.id)?;
            let currency = if org.first == Plan::Solo { "JPY" } else { "USD" };
            let mut adjusted = 0;
            for month in MONTHS {
                let reply = client.call("GET", &format!("/v1/orgs/{}/bill?month={month}", org.id), None)?;
                let name = format!("{} {month}", org.id);
                let runs = month == MONTHS[2];
                if reply.status == 404 {
                    let left = runs && org.change == Some(Change::LeavesOnTheTwentieth);
                    assert!(left && adjusted == 0 && sums.iter().all(|sum| sum.month != month), "{name}");
                    bills.insert(name, 0);
                    continue;
                }
                let bill: Bill = serde_json::from_slice(&reply.body)
                    .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&reply.body)))?;
                assert_eq!(bill.status, if runs { "estimate" } else { status }, "{name}");
                // A closed bill says what it said when it was closed.
                if runs || closed.is_empty() {
                    let told = [summed(&bill.included)?, summed(&bill.unpriced)?];
                    assert_eq!(told, unbilled(org, month, &sums), "{name}: included, and unpriced");
                }
                let now = owed(org, month, &sums);
                *wanted.entry(currency).or_insert(0) += now;
                let billed = closed.get(&name).copied().filter(|_| !runs).unwrap_or(now);
                adjusted += now - billed;
                let total = minor(&bill.total)?;
                let adjustments =
                    bill.adjustments.iter().map(|line| minor(&line.amount)).sum::<Result<i128>>()?;
                let lines = bill.lines.iter().map(|line| minor(&line.amount)).sum::<Result<i128>>()?;
                assert_eq!(adjustments, if runs { adjusted } else { 0 }, "{name}: adjustments");
                assert_eq!((lines, total), (billed, lines + adjustments), "{name}");
                assert_eq!(self.focus(&mut client, &org.id, month)?, total, "{name}: in FOCUS");
                *sum.entry(currency).or_insert(0) += total;
                bills.insert(name, total);
            }
        }
        assert_eq!(sum, wanted, "the sum of all bills");
        println!("{} bills, {status}: {sum:?} in the least coin", bills.len());
        Ok(bills)
    }
}

/// Quantities by meter, in billionths.
fn summed(items: &[Unbilled]) -> Result<BTreeMap<String, i128>> {
    let mut sums = BTreeMap::new();
    for Unbilled { meter, quantity } in items {
        *sums.entry(meter.clone()).or_insert(0) += i128::from(nanos(quantity.get())?);
    }
    Ok(sums)
}

/// Sums by a text, without what comes to nothing.
fn totals<'a>(sums: impl Iterator<Item = &'a Sum>, by: impl Fn(&Sum) -> Option<String>) -> Totals {
    let mut totals = Totals::new();
    for sum in sums {
        if let Some(text) = by(sum) {
            *totals.entry(text).or_default() += sum.nanos;
        }
    }
    totals
}

/// A list by its texts, without what comes to nothing.
fn read(client: &mut Client, path: &str) -> Result<Totals> {
    let page: Page = serde_json::from_slice(&client.call("GET", path, None)?.body)?;
    assert!(page.next.is_none(), "{path} has one page");
    let items = page.users.into_iter().map(|item| Ok((item.user, nanos(item.used.get())?)));
    items.filter(|item| !matches!(item, Ok((_, 0)))).collect()
}

/// An amount of money in the minor unit of its currency.
fn minor(text: &str) -> Result<i128> {
    Ok(text.replace('.', "").parse()?)
}
