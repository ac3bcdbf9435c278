//! The ledger and the notices.

use clap::Args;
use tollgate_api::{EntryItem, LedgerPage, NoticePage};
use ureq::http::Method;

use super::pages::more;
use super::{Paging, Session};
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time};

/// `tollgate ledger`
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// The organization.
    org: String,
    /// Sort order.
    #[arg(long, value_parser = ["newest", "oldest"], default_value = "newest")]
    order: String,
    /// Show one entry in full.
    #[arg(long, value_name = "N", conflicts_with_all = ["order", "all", "limit", "cursor", "kind", "user", "path", "meter", "key"])]
    entry: Option<u64>,
    /// Only entries of this kind, such as used or limit_set.
    #[arg(long)]
    kind: Option<String>,
    /// Only what names this user.
    #[arg(long)]
    user: Option<String>,
    /// Only what names this path, or one below it.
    #[arg(long)]
    path: Option<String>,
    /// Only what names this meter.
    #[arg(long)]
    meter: Option<String>,
    /// Only what names this key, of a usage or a top-up.
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// `tollgate notices`
#[derive(Debug, Args)]
pub(crate) struct NoticesArgs {
    #[command(flatten)]
    paging: Paging,
}

/// Runs `tollgate ledger`.
pub(crate) fn ledger(session: &mut Session, args: &LedgerArgs) -> Result<(), Failure> {
    if let Some(entry) = args.entry {
        let route = Route::v1(&["orgs", &args.org, "ledger", &entry.to_string()]);
        return session.show(Method::GET, &route, &Sent::Nothing, entry_text);
    }
    let route = Route::v1(&["orgs", &args.org, "ledger"])
        .with("order", Some(&args.order))
        .with("kind", args.kind.as_deref())
        .with("user", args.user.as_deref())
        .with("path", args.path.as_deref())
        .with("meter", args.meter.as_deref())
        .with("key", args.key.as_deref());
    let page = session.list(&route, &args.paging, "entries")?;
    session.show_list(&page, "entries", ledger_text)
}

/// Runs `tollgate notices`.
pub(crate) fn notices(session: &mut Session, args: &NoticesArgs) -> Result<(), Failure> {
    let page = session.list(&Route::v1(&["notices"]), &args.paging, "notices")?;
    session.show_list(&page, "notices", |page: &NoticePage| {
        let lines = page.notices.iter().map(|notice| {
            vec![
                time(&notice.at),
                (&notice.org).into(),
                (&notice.kind).into(),
                notice.entry.into(),
                (&notice.summary).into(),
            ]
        });
        let table = rows(&["at", "org", "kind", "entry", "summary"], lines.collect(), "no notices");
        parts(vec![table, more(page.next.as_ref())])
    })
}

fn ledger_text(page: &LedgerPage) -> String {
    let lines = page.entries.iter().map(|entry| {
        vec![Field::from(entry.entry), time(&entry.at), (&entry.kind).into(), (&entry.summary).into()]
    });
    let table = rows(&["entry", "at", "kind", "summary"], lines.collect(), "no entries");
    parts(vec![table, more(page.next.as_ref())])
}

fn entry_text(entry: &EntryItem) -> String {
    let mut lines = vec![
        ("entry", Field::from(entry.entry)),
        ("at", (&entry.at).into()),
        ("kind", (&entry.kind).into()),
        ("summary", (&entry.summary).into()),
        ("actor", (&entry.actor).into()),
        ("catalog", u64::from(entry.catalog).into()),
    ];
    let quantity = entry.quantity.map(|quantity| quantity.0.to_string());
    let remaining = entry.remaining.map(|remaining| remaining.0.to_string());
    let known = [
        ("meter", &entry.meter),
        ("user", &entry.user),
        ("path", &entry.path),
        ("quantity", &quantity),
        ("key", &entry.key),
        ("time", &entry.time),
        ("remaining", &remaining),
        ("plan", &entry.plan),
        ("reason", &entry.reason),
        ("reverses entry", &entry.reverses.map(|entry| entry.to_string())),
    ];
    lines.extend(known.into_iter().filter_map(|(name, value)| Some((name, Field::from(value.as_ref()?)))));
    let burns =
        entry.burns.iter().map(|burn| ("burned", format!("{} of {}", burn.amount.0, burn.source).into()));
    lines.extend(burns);
    lines.extend(entry.periods.iter().map(|period| ("counted in", period.into())));
    lines.extend(entry.properties.iter().map(|(name, value)| ("property", format!("{name}={value}").into())));
    lines.extend(entry.notices.iter().map(|notice| ("notice", notice.into())));
    pairs(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_what_it_has() {
        let entry = r#"{"entry":7,"at":"t","kind":"used","actor":"local","catalog":1,"meter":"reports","quantity":2.50,"key":"k",
            "properties":{"model":"large"},"burns":[{"source":"allowance 2026-11","amount":2.5}],
            "periods":["2026-11"],"summary":"used 2.5 reports","notices":["80 % used"]}"#;
        assert_eq!(
            entry_text(&serde_json::from_str(entry).expect("an entry")),
            "entry       7\nat          t\nkind        used\nsummary     used 2.5 reports\nactor       local\ncatalog     1\n\
             meter       reports\nquantity    2.5\nkey         k\nburned      2.5 of allowance 2026-11\n\
             counted in  2026-11\nproperty    model=large\nnotice      80 % used\n"
        );
    }
}
