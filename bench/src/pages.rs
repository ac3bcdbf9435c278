//! `pages`: how long each page of the console takes on a server that knows many orgs, of which one is busy.
//!
//! What is measured is from the request to the whole page over loopback, which is the server's time and what the kernel adds.
//! The first look at a page finds nothing prepared, so it counts by itself.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Options;
use crate::client::Crew;
use crate::load::{Keys, Spread, org_id};
use crate::machine;
use crate::pace::Pace;
use crate::report::{self, at_most, table, thousands};
use crate::servers::{Ask, Daemon, METER, make_orgs, start_tollgate, tollgate_asked, tollgate_template};
use crate::stats::float;
use crate::wire::Wire;

/// How long a page may take, in milliseconds.
const MILLIS_MAX: f64 = 50.0;

/// How soon after all usages the server has nothing more to do, at most, and for how long it is looked at whether it has.
const IDLE_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_secs(1);

/// One in so many usages is of the busy org.
const BUSY: u64 = 100;

/// Connections that usages come over.
const CONNECTIONS: usize = 8;

/// Fills a server and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.folder)?;
    machine::require_disk(folder.path())?;
    eprintln!("seed {}", options.seed);
    let path = folder.path().canonicalize()?;
    let server = start_tollgate(&options.server, &path, None)?;
    fill(&server, options)?;
    // A list waits until all that it shows is written: who made a million organizations waits once.
    tollgate_asked(server.address, "GET", "/v1/orgs?limit=1", "")?;
    let idle = wait_until_idle(&server)?;
    let pages = pages(server.address, options)?;
    let looks = look_at(server.address, &pages, options)?;
    server.stop()?;
    let mut text = format!("Machine: {}.\n", machine::describe());
    text.push_str(&format!(
        "{} orgs known and {} usages counted, {} of them of one org; each page {} times, from {:.0} s after that on.\n\n",
        thousands(f64::from(options.orgs)),
        thousands(float(options.usages)),
        thousands(float(options.usages / BUSY)),
        options.rounds,
        idle.as_secs_f64()
    ));
    text.push_str(&tables(&looks));
    folder.close()?;
    Ok(text)
}

/// Waits until the server has done what so much at once leaves behind: tables written out and merged. Gives how long that took.
fn wait_until_idle(server: &Daemon) -> Result<Duration> {
    let began = Instant::now();
    while began.elapsed() < IDLE_WITHIN {
        let (before, look) = (server.cpu()?, Instant::now());
        while look.elapsed() < LOOK {
            thread::park_timeout(LOOK);
        }
        if server.cpu()?.saturating_sub(before) < LOOK / 20 {
            return Ok(began.elapsed());
        }
    }
    Err(format!("the server is still busy {} s after all was counted", IDLE_WITHIN.as_secs()).into())
}

/// Makes the orgs and counts the usages: those of the busy org last, so that its notices and entries are the latest.
fn fill(server: &Daemon, options: &Options) -> Result<()> {
    let began = Instant::now();
    make_orgs(server.address, options.orgs + 1, false)?;
    eprintln!("{} orgs in {:.0} s", options.orgs, began.elapsed().as_secs_f64());
    let mut keys = Keys::new(options.seed);
    let template = tollgate_template(Ask::Count(options.batch))?;
    let mut crew = Crew::connect(server.address, Wire::HttpBatch(options.batch), CONNECTIONS, |_| Ok(()))?;
    let busy = options.usages / BUSY;
    let batch = u64::try_from(options.batch)?;
    for (spread, usages) in
        [(Spread::even(options.orgs), options.usages - busy), (Spread::hot(options.orgs), busy)]
    {
        let streams = crew.usages(&mut keys, &template, spread, Some(usages.div_ceil(batch)))?;
        crew.run(streams, Pace::All { depth: 1 })?.all_yes("batches of usages")?;
    }
    eprintln!("{} usages in {:.0} s", options.usages, began.elapsed().as_secs_f64());
    Ok(())
}

/// What is asked for, each with what it is called.
fn pages(address: SocketAddr, options: &Options) -> Result<Vec<(&'static str, String)>> {
    let busy = org_id(options.orgs);
    let middle = org_id(options.orgs / 2);
    let channel = r#"{"name":"bench","kind":"log"}"#;
    let (_, made) = tollgate_asked(address, "POST", "/v1/channels", channel)?;
    let channel = text_of(&made, "/id")?;
    let link = format!("/v1/orgs/{busy}/portal-links");
    let (_, made) = tollgate_asked(address, "POST", &link, "{}")?;
    let portal = text_of(&made, "/path")?;
    let of = |what: &str| format!("/console/orgs/{busy}{what}");
    let mut pages = vec![
        ("overview", "/console".to_owned()),
        ("organizations", "/console/orgs".to_owned()),
        ("organizations by use", "/console/orgs?sort=used".to_owned()),
        ("organizations by name", format!("/console/orgs?name={middle}")),
        ("organizations refused today", "/console/orgs?refused_today=true".to_owned()),
        ("organizations that used much", "/console/orgs?used_at_least=100".to_owned()),
        ("an organization", of("")),
        ("a quiet organization", format!("/console/orgs/{middle}")),
        ("its users", of("/users")),
        ("its holds", of("/holds")),
        ("its ledger", of("/ledger")),
        ("an entry of it", of("/ledger/2")),
        ("its bills", of("/bills")),
        ("its bill", of("/bill")),
        ("usage", "/console/usage".to_owned()),
        ("usage of an organization", format!("/console/usage?org={busy}")),
        ("usage as CSV", format!("/console/usage.csv?org={busy}&meter={METER}")),
        ("plans", "/console/plans".to_owned()),
        ("try a catalog", "/console/plans/try".to_owned()),
        ("bills", "/console/bills".to_owned()),
        ("notices", "/console/notices".to_owned()),
        ("notices of an organization", format!("/console/notices?org={busy}")),
        ("channels", "/console/channels".to_owned()),
        ("a channel", format!("/console/channels/{channel}")),
        ("API keys", "/console/keys".to_owned()),
        ("health", "/console/health".to_owned()),
        ("portal", portal),
    ];
    // The second pages of what has several.
    for (what, path) in [
        ("organizations, next page", "/console/orgs".to_owned()),
        ("its ledger, next page", of("/ledger")),
        ("its users, next page", of("/users")),
        ("bills, next page", "/console/bills".to_owned()),
        ("notices, next page", "/console/notices".to_owned()),
    ] {
        let (_, body) = tollgate_asked(address, "GET", &path, "")?;
        pages.extend(next_of(&body).map(|next| (what, next)));
    }
    Ok(pages)
}

fn text_of(body: &str, member: &str) -> Result<String> {
    let answer: serde_json::Value = serde_json::from_str(body)?;
    let text = answer.pointer(member).and_then(serde_json::Value::as_str);
    Ok(text.ok_or_else(|| format!("no {member} in {body}"))?.to_owned())
}

/// Where a page says that the next one is.
fn next_of(body: &str) -> Option<String> {
    let link = body.split_once("rel=\"next\" href=\"")?.1.split_once('"')?.0;
    let link = link.replace("&amp;", "&").replace("&#38;", "&");
    Some(link.split('#').next()?.to_owned())
}

/// How long a page took.
struct Looks {
    what: &'static str,
    first: Duration,
    /// The others, shortest first.
    others: Vec<Duration>,
    bytes: usize,
    /// Answers that were no page.
    errors: u64,
}

impl Looks {
    fn median(&self) -> f64 {
        millis(self.others.get(self.others.len() / 2).copied().unwrap_or(self.first))
    }

    fn longest(&self) -> f64 {
        millis(self.others.last().copied().unwrap_or(self.first))
    }
}

fn millis(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

fn look_at(address: SocketAddr, pages: &[(&'static str, String)], options: &Options) -> Result<Vec<Looks>> {
    let mut all = Vec::new();
    for (what, path) in pages {
        let (mut times, mut bytes, mut errors) = (Vec::new(), 0, 0);
        for _ in 0..options.rounds {
            let began = Instant::now();
            let (status, body) = tollgate_asked(address, "GET", path, "")?;
            times.push(began.elapsed());
            bytes = body.len();
            errors += u64::from(status != 200);
        }
        let first = times.remove(0);
        times.sort();
        eprintln!(
            "{what}: {:.1} ms, then {:.1} ms",
            millis(first),
            millis(times.last().copied().unwrap_or(first))
        );
        all.push(Looks { what, first, others: times, bytes, errors });
    }
    Ok(all)
}

fn tables(looks: &[Looks]) -> String {
    let row = |looks: &Looks| {
        let time = |millis: f64| format!("{millis:.1}");
        let bytes = thousands(float(u64::try_from(looks.bytes).unwrap_or(u64::MAX)));
        let (first, median, longest) = (millis(looks.first), looks.median(), looks.longest());
        vec![looks.what.to_owned(), time(first), time(median), time(longest), bytes]
    };
    let rows: Vec<_> = looks.iter().map(row).collect();
    let mut text = table(&["page", "first ms", "median ms", "longest ms", "bytes"], &rows);
    let errors = looks.iter().map(|looks| looks.errors).sum();
    let most = |of: &dyn Fn(&Looks) -> f64| looks.iter().map(of).fold(0.0, f64::max);
    text.push('\n');
    text.push_str(&report::targets(&[
        at_most(
            "the slowest page, at the first look",
            MILLIS_MAX,
            most(&|looks| millis(looks.first)),
            " ms",
            errors,
        ),
        at_most("the slowest page, afterwards", MILLIS_MAX, most(&Looks::longest), " ms", errors),
    ]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_a_page_says() {
        let body = r##"<a rel="next" href="/console/orgs?name=a&#38;cursor=b#list">Next</a>"##;
        assert_eq!(next_of(body).as_deref(), Some("/console/orgs?name=a&cursor=b"));
        assert_eq!(next_of("<p>"), None);
    }

    #[test]
    fn a_slow_page_misses_the_target_and_a_page_that_fails_too() {
        let looks = |millis, errors| Looks {
            what: "x",
            first: Duration::from_millis(1),
            others: [1, millis].map(Duration::from_millis).to_vec(),
            bytes: 10,
            errors,
        };
        assert!(!tables(&[looks(49, 0)]).contains("missed"));
        assert!(tables(&[looks(49, 0), looks(51, 0)]).contains("**missed**"));
        assert!(tables(&[looks(2, 1)]).contains("errors"));
    }
}
