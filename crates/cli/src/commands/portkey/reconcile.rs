//! `tollgate portkey reconcile`: what calls cost by Portkey's analytics, against what was recorded, by user and model.
//!
//! What Portkey knows and the ledger lacks can be recorded; what the ledger has and Portkey does not know is listed only: a
//! person has to look, and takes it back by its key.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};
use tollgate_api::{BatchReply, Decimal, EntryItem, LedgerPage};
use tollgate_domain::{Amount, SignedDuration, Timestamp};
use ureq::http::Method;
use xxhash_rust::xxh3::xxh3_128;

use super::gateway::{Asked, Gateway, Row};
use super::{GatewayArgs, MoneyArgs, Session};
use crate::client::{Route, Sent, given};
use crate::commands::Paging;
use crate::failure::{Exit, Failure};
use crate::limits::RECONCILE_BATCH_RECORDS;
use crate::output::{read_reply, warn};
use crate::table::{Field, parts, rows};

/// `tollgate portkey reconcile`
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// The organization.
    org: String,
    /// The first day, or a time: 2026-11-01, or 2026-11-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Timestamp,
    /// The day or time before which it ends.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Timestamp,
    #[command(flatten)]
    money: MoneyArgs,
    /// The key of the metadata that names the organization in Portkey.
    #[arg(long, default_value = "org", value_name = "NAME")]
    org_key: String,
    /// Compare users only, not their models.
    #[arg(long)]
    by_user: bool,
    /// Differences up to so many units are none: Portkey adds up floats, and the ledger rounds each call up.
    #[arg(long, default_value = "0.01", value_name = "N", value_parser = not_negative)]
    tolerance: Amount,
    /// Record what Portkey knows and the ledger lacks.
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    whole
        .parse()
        .map_err(|_| "must be a day such as 2026-11-01, or a time such as 2026-11-01T00:00:00Z".to_owned())
}

fn not_negative(text: &str) -> Result<Amount, String> {
    let amount = Amount::parse(text).ok().filter(|amount| *amount >= Amount::ZERO);
    amount.ok_or_else(|| "must be a number, zero or more".to_owned())
}

/// Whose usage, and of which model; without a model it is of all of them.
type Whose = (Option<String>, Option<String>);

/// Costs by model.
type Models = Vec<(Option<String>, Amount)>;

/// A sum of both sides, in units of the meter.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    portkey: Amount,
    recorded: Amount,
}

/// The model without who makes or serves it: the two sides name these differently.
fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

pub(super) fn reconcile(session: &mut Session, args: &ReconcileArgs) -> Result<(), Failure> {
    if args.from >= args.to {
        return Err(Failure::Usage("to: must be after --from".to_owned()));
    }
    let gateway = Gateway::new(&args.gateway)?;
    let recorded = recorded(session, args)?;
    let sums = compared(portkey(&gateway, args)?, recorded);
    let is_other = |sums: &Sums| {
        let (less, more) = (sums.portkey.min(sums.recorded), sums.portkey.max(sums.recorded));
        more - less > args.tolerance
    };
    let differences: Vec<(Whose, Sums)> =
        sums.iter().filter(|(_, sums)| is_other(sums)).map(|(whose, sums)| (whose.clone(), *sums)).collect();
    let missing: Vec<Value> = differences
        .iter()
        .filter(|(_, sums)| sums.portkey > sums.recorded)
        .map(|(whose, sums)| usage(args, whose, *sums))
        .collect();
    let done = if args.apply { Some(apply(session, &missing)?) } else { None };
    show(session, args, &sums, &differences, done.as_ref())?;
    match done {
        Some(done) if done.rejected > 0 => {
            let first = done.results.iter().find_map(|result| result.detail.clone());
            warn(&format!("{} were not recorded: {}", done.rejected, first.unwrap_or_default()));
            Err(Failure::Said(Exit::Failed))
        }
        _ => Ok(()),
    }
}

/// What was recorded, by user and model.
fn recorded(session: &mut Session, args: &ReconcileArgs) -> Result<BTreeMap<Whose, Amount>, Failure> {
    let route = Route::v1(&["orgs", &args.org, "ledger"])
        .with("order", Some("oldest"))
        .with("meter", Some(&args.money.meter))
        .with("from", Some(&args.from.to_string()));
    let all = Paging { all: true, limit: Some(1_000), cursor: None };
    let page: LedgerPage = read_reply(&session.list(&route, &all, "entries")?)?;
    let taken_back: BTreeSet<u64> = page.entries.iter().filter_map(|entry| entry.reverses).collect();
    // Usage is of its own time, which may be long before it was recorded.
    let is_within = |entry: &EntryItem| {
        let at = entry.time.as_ref().unwrap_or(&entry.at).parse::<Timestamp>();
        at.is_ok_and(|at| args.from <= at && at < args.to)
    };
    let used = page.entries.iter().filter(|entry| entry.kind == "used" && is_within(entry));
    let mut sums = BTreeMap::<Whose, Amount>::new();
    for entry in used.filter(|entry| !taken_back.contains(&entry.entry)) {
        let model =
            entry.properties.get("model").filter(|_| !args.by_user).map(|model| bare(model).to_owned());
        let sum = sums.entry((entry.user.clone(), model)).or_default();
        *sum += entry.quantity.map_or(Amount::ZERO, |quantity| quantity.0);
    }
    Ok(sums)
}

/// What Portkey says that calls cost: of each user by model, where it says so and the models add up to the user's cost; else of
/// all models together.
fn portkey(gateway: &Gateway, args: &ReconcileArgs) -> Result<BTreeMap<Whose, Amount>, Failure> {
    let of_org = (args.org_key.as_str(), args.org.as_str());
    let asked = |metadata| Asked { from: args.from, to: args.to, metadata };
    let mut sums = BTreeMap::<Whose, Amount>::new();
    let users = gateway.rows("users", &asked(vec![of_org]))?;
    for row in &users {
        let cost = units(cost_of(row)?, args)?;
        let Some(user) = row.user() else {
            *sums.entry((None, None)).or_default() += cost;
            continue;
        };
        let models = match args.by_user {
            true => None,
            false => by_model(gateway, args, &asked(vec![of_org, ("_user", user)]), cost)?,
        };
        for (model, cost) in models.unwrap_or_else(|| vec![(None, cost)]) {
            *sums.entry((Some(user.to_owned()), model)).or_default() += cost;
        }
    }
    Ok(sums)
}

fn cost_of(row: &Row) -> Result<Amount, Failure> {
    row.cost()?.ok_or_else(|| Failure::Other("Portkey does not say what the calls of a user cost".to_owned()))
}

/// The costs of a user by model; `None` where they are not those of the user.
fn by_model(
    gateway: &Gateway,
    args: &ReconcileArgs,
    asked: &Asked<'_>,
    whole: Amount,
) -> Result<Option<Models>, Failure> {
    let (mut models, mut sum) = (Vec::new(), Amount::ZERO);
    for row in gateway.rows("ai-models", asked)? {
        let (Some(cost), Some(model)) = (row.cost()?, row.model()) else { return Ok(None) };
        let cost = units(cost, args)?;
        sum += cost;
        models.push((Some(bare(model).to_owned()), cost));
    }
    let (less, more) = (sum.min(whole), sum.max(whole));
    Ok((more - less <= args.tolerance).then_some(models))
}

/// USD in units of the meter.
fn units(usd: Amount, args: &ReconcileArgs) -> Result<Amount, Failure> {
    let worth = args.money.unit_worth.billionths();
    let scaled = usd.billionths().checked_mul(Amount::from_whole(1).billionths());
    let rounded = scaled.and_then(|scaled| scaled.checked_add(worth / 2)).map(|scaled| scaled / worth);
    rounded
        .map(Amount::from_billionths)
        .ok_or_else(|| Failure::Other("Portkey says a cost that is too large".to_owned()))
}

/// Both sides, put together: by user where Portkey says no more of one.
fn compared(portkey: BTreeMap<Whose, Amount>, recorded: BTreeMap<Whose, Amount>) -> BTreeMap<Whose, Sums> {
    let whole: BTreeSet<Option<String>> =
        portkey.keys().filter(|(_, model)| model.is_none()).map(|(user, _)| user.clone()).collect();
    let mut sums = BTreeMap::<Whose, Sums>::new();
    for ((user, model), cost) in portkey {
        let model = model.filter(|_| !whole.contains(&user));
        sums.entry((user, model)).or_default().portkey += cost;
    }
    for ((user, model), amount) in recorded {
        let model = model.filter(|_| user.is_some() && !whole.contains(&user));
        sums.entry((user, model)).or_default().recorded += amount;
    }
    sums
}

/// What is missing, as usage in the last second of the range. Its key stands for what it brings the sum to, so that the same
/// difference is recorded once however often it is sent.
fn usage(args: &ReconcileArgs, (user, model): &Whose, sums: Sums) -> Value {
    let content = json!([
        args.money.meter,
        args.from.to_string(),
        args.to.to_string(),
        user,
        model,
        sums.portkey.to_string()
    ]);
    given(json!({
        "org": args.org, "user": user, "meter": args.money.meter, "quantity": Decimal(sums.portkey - sums.recorded),
        "key": format!("portkey:{:032x}", xxh3_128(content.to_string().as_bytes())),
        "time": args.to.checked_sub(SignedDuration::from_secs(1)).unwrap_or(args.from).to_string(),
        "properties": model.as_ref().map(|model| json!({"model": model})),
    }))
}

/// Records what is missing.
fn apply(session: &mut Session, missing: &[Value]) -> Result<BatchReply, Failure> {
    let mut done = BatchReply { counted: 0, duplicates: 0, rejected: 0, results: Vec::new() };
    for batch in missing.chunks(RECONCILE_BATCH_RECORDS) {
        let sent = Sent::Json(Value::Array(batch.to_vec()));
        let reply: BatchReply =
            read_reply(&session.ask(Method::POST, &Route::v1(&["usage", "batch"]), &sent)?)?;
        done.counted += reply.counted;
        done.duplicates += reply.duplicates;
        done.rejected += reply.rejected;
        done.results.extend(reply.results);
    }
    Ok(done)
}

fn show(
    session: &mut Session,
    args: &ReconcileArgs,
    sums: &BTreeMap<Whose, Sums>,
    differences: &[(Whose, Sums)],
    done: Option<&BatchReply>,
) -> Result<(), Failure> {
    let total = |side: fn(&Sums) -> Amount| Decimal(sums.values().map(side).sum::<Amount>());
    let (portkey, recorded) = (total(|sums| sums.portkey), total(|sums| sums.recorded));
    if session.output.is_json() {
        let lines: Vec<Value> = differences
            .iter()
            .map(|((user, model), sums)| {
                json!({"user": user, "model": model, "portkey": Decimal(sums.portkey), "recorded": Decimal(sums.recorded),
                    "difference": Decimal(sums.portkey - sums.recorded)})
            })
            .collect();
        let told = json!({
            "org": args.org, "meter": args.money.meter, "from": args.from.to_string(), "to": args.to.to_string(),
            "portkey": portkey, "recorded": recorded, "differences": lines,
            "applied": done.map(|done| json!({"counted": done.counted, "duplicates": done.duplicates, "rejected": done.rejected})),
        });
        return session.output.text(&told.to_string());
    }
    let lines = differences.iter().map(|((user, model), sums)| {
        let says = if sums.portkey > sums.recorded { "not recorded" } else { "not known to Portkey" };
        vec![
            Field::from(user),
            model.as_deref().unwrap_or("all").into(),
            Decimal(sums.portkey).into(),
            Decimal(sums.recorded).into(),
            Decimal(sums.portkey - sums.recorded).into(),
            says.into(),
        ]
    });
    let headings = ["user", "model", "portkey", "recorded", "difference", "what"];
    let table = rows(&headings, lines.collect(), "no differences");
    let sum = format!("{} of {} by Portkey, {} recorded\n", portkey.0, args.money.meter, recorded.0);
    let missing = differences.iter().any(|(_, sums)| sums.portkey > sums.recorded);
    let then = match done {
        Some(done) => format!("{} were recorded now, {} before\n", done.counted, done.duplicates),
        None if missing => "nothing was changed: --apply records what is missing\n".to_owned(),
        None => String::new(),
    };
    session.output.text(&parts(vec![table, sum, then]))
}
