//! Prices of language models: from LiteLLM's table into a catalog file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::value::RawValue;
use tollgate_domain::catalog::changes;
use tollgate_domain::{Amount, Catalog, Timestamp};
use toml::Table;

use super::catalog::read;
use crate::decimal::shifted;
use crate::failure::Failure;
use crate::output::Output;

/// What stands above the imported prices in a catalog file.
const MARK: &str = "# Prices of models: what follows was written by `tollgate prices import`, and is written anew by the next.";

/// The entry of the table that explains the others.
const EXPLANATION: &str = "sample_spec";

/// The service tiers: what LiteLLM adds to the names of their prices, and what they are called here.
const TIERS: [(&str, &str); 4] =
    [("", ""), ("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];

/// Kinds of tokens: LiteLLM's name of the price, before and after the size of the prompt, and the name here.
const KINDS: [(&str, &str); 7] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cached_input"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("input_cost_per_audio_token", "audio_input"),
    ("output_cost_per_reasoning_token", "reasoning"),
    ("output_cost_per_audio_token", "audio_output"),
];

/// `tollgate prices`
#[derive(Debug, Subcommand)]
pub(crate) enum PricesCommand {
    /// Write the prices of LiteLLM's table into a catalog file; needs no server.
    Import(PricesArgs),
    /// Show what that would change, and write nothing.
    Diff(PricesArgs),
}

/// A table, and a catalog to put it into.
#[derive(Debug, Args)]
pub(crate) struct PricesArgs {
    /// LiteLLM's table, `model_prices_and_context_window.json`; its package has it as `…_backup.json`.
    table: PathBuf,
    /// The catalog, a TOML file.
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// Only models like this, such as `gpt-4o` or `claude-*`; may be given several times.
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Where the table comes from; the version of LiteLLM's package that it lies in, or its name, unless given.
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// The day of the table; the day the file was changed unless given.
    #[arg(long, value_name = "DATE")]
    date: Option<String>,
}

/// Runs `tollgate prices`.
pub(crate) fn run(command: &PricesCommand) -> Result<(), Failure> {
    let mut output = Output::stdout(false);
    match command {
        PricesCommand::Import(args) => {
            let made = Made::of(args)?;
            std::fs::write(&args.catalog, &made.text).map_err(|error| {
                Failure::Other(format!("{} cannot be written: {error}", args.catalog.display()))
            })?;
            output.text(&made.summary)
        }
        PricesCommand::Diff(args) => {
            let made = Made::of(args)?;
            let lines = changes(&made.before, &made.text);
            let lines: String =
                lines.iter().map(|line| format!("{}\n", crate::table::printable(line))).collect();
            output.text(if lines.is_empty() { "nothing changes\n" } else { &lines })
        }
    }
}

/// A catalog with the prices of a table.
struct Made {
    before: String,
    text: String,
    summary: String,
}

impl Made {
    fn of(args: &PricesArgs) -> Result<Self, Failure> {
        let (table, before) = (read(&args.table)?, read(&args.catalog)?);
        let place = args.catalog.display();
        let old: Table =
            before.parse().map_err(|error| Failure::Other(format!("{place} is not TOML: {error}")))?;
        let own = before.split_once(MARK).map_or(before.as_str(), |(own, _)| own).trim_end();
        let theirs: Table =
            own.parse().map_err(|error| Failure::Other(format!("{place} is not TOML: {error}")))?;
        if theirs.contains_key("model_prices") {
            let detail =
                format!("{place}: move [model_prices] to the end of the file, below this line:\n{MARK}");
            return Err(Failure::Other(detail));
        }
        let kept = theirs.get("models").and_then(toml::Value::as_array).into_iter().flatten();
        let kept: BTreeSet<&str> = kept.filter_map(|model| model.get("id")?.as_str()).collect();
        let models = models(&table).map_err(|error| {
            Failure::Other(format!("{} is not a table of LiteLLM's prices: {error}", args.table.display()))
        })?;
        let chosen =
            |id: &str| args.models.is_empty() || args.models.iter().any(|pattern| is_like(id, pattern));
        let mut text = format!("{own}\n\n{MARK}\n{}", settings(args, &old)?);
        let (mut taken, mut without) = (0, 0);
        for (id, rates) in models.iter().filter(|(id, _)| chosen(id) && !kept.contains(id.as_str())) {
            if rates.is_empty() {
                without += 1;
                continue;
            }
            taken += 1;
            let rates: String = rates.iter().map(|rate| format!("  {{ {rate} }},\n")).collect();
            let _ = write!(text, "\n[[models]]\nid = {}\nrates = [\n{rates}]\n", quoted(id));
        }
        if taken == 0 {
            return Err(Failure::Other(
                "no model of the table is like that and has a price for tokens".to_owned(),
            ));
        }
        Catalog::from_toml(&text).map_err(|error| {
            Failure::Other(format!("{place} would not be valid; choose fewer models with --model?\n{error}"))
        })?;
        let summary = format!(
            "{place}: {taken} models, {without} left out that have no price for tokens or are free\n"
        );
        Ok(Self { before, text, summary })
    }
}

/// Where the prices come from; what becomes of models without one stays as it is.
fn settings(args: &PricesArgs, old: &Table) -> Result<String, Failure> {
    let source = args.source.clone().or_else(|| package(&args.table));
    let name = || args.table.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let date = match &args.date {
        Some(date) => date.clone(),
        None => changed_on(&args.table)
            .ok_or_else(|| Failure::Other("the day of the table is not known: give --date".to_owned()))?,
    };
    let mut text = format!(
        "[model_prices]\nsource = {}\ndate = {}\n",
        quoted(&source.unwrap_or_else(name)),
        quoted(&date)
    );
    let kept = old.get("model_prices").and_then(toml::Value::as_table);
    for (name, value) in kept.into_iter().flatten() {
        if !["source", "date"].contains(&name.as_str()) {
            let _ = writeln!(text, "{name} = {value}");
        }
    }
    Ok(text)
}

/// The version of the package that a table lies in, such as `litellm 1.106.12`.
fn package(table: &Path) -> Option<String> {
    let folders = table.parent()?.parent()?.read_dir().ok()?;
    let names = folders.flatten().filter_map(|folder| folder.file_name().into_string().ok());
    let version = |name: String| {
        let version = name.strip_prefix("litellm-")?.strip_suffix(".dist-info")?;
        Some(format!("litellm {version}"))
    };
    names.into_iter().find_map(version)
}

/// The day a file was changed, in UTC.
fn changed_on(file: &Path) -> Option<String> {
    let changed = Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()?;
    changed.to_string().split_once('T').map(|(day, _)| day.to_owned())
}

/// The models of a table with their rates, each as TOML; none where it has no price for tokens, or is free.
fn models(table: &str) -> Result<BTreeMap<String, Vec<String>>, serde_json::Error> {
    let entries: BTreeMap<String, Box<RawValue>> = serde_json::from_str(table)?;
    let models = entries.into_iter().filter(|(id, _)| id != EXPLANATION);
    models
        .map(|(id, entry)| {
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(entry.get())?;
            Ok((id, rates(&fields)))
        })
        .collect()
}

type Fields = BTreeMap<String, Box<RawValue>>;

fn rates(fields: &Fields) -> Vec<String> {
    let mut found: Vec<(String, BTreeMap<&str, Amount>)> = Vec::new();
    for (suffix, tier) in TIERS {
        for above in sizes(fields, suffix) {
            let size = if above == 0 { String::new() } else { format!("_above_{above}k_tokens") };
            let prices = prices(|name| fields.get(&format!("{name}{size}{suffix}")));
            found.push((place(tier, above * 1000), prices));
        }
    }
    let by_size: Vec<Fields> = fields
        .get("tiered_pricing")
        .and_then(|steps| serde_json::from_str(steps.get()).ok())
        .unwrap_or_default();
    for step in &by_size {
        let range: Option<Vec<&RawValue>> =
            step.get("range").and_then(|range| serde_json::from_str(range.get()).ok());
        // Written as `256000.0`.
        let from = range.and_then(|range| range.first()?.get().split('.').next()?.parse().ok());
        let Some(above) = from else { continue };
        let place = place("", above);
        if !found.iter().any(|(known, prices)| *known == place && prices.contains_key("input")) {
            found.push((place, prices(|name| step.get(name))));
        }
    }
    found.retain(|(_, prices)| prices.contains_key("input"));
    let is_free = found.iter().all(|(_, prices)| prices.values().all(|price| price.is_zero()));
    let has_base = found.iter().any(|(place, _)| place.is_empty());
    if is_free || !has_base {
        return Vec::new();
    }
    let shown = |(place, prices): (String, BTreeMap<&str, Amount>)| {
        let kinds = KINDS.iter().filter_map(|(_, kind)| Some(format!("{kind} = \"{}\"", prices.get(kind)?)));
        place + &kinds.collect::<Vec<_>>().join(", ")
    };
    found.into_iter().map(shown).collect()
}

/// The sizes of prompts, in thousands of tokens, above which a tier has prices of its own; zero is any.
fn sizes(fields: &Fields, suffix: &str) -> BTreeSet<u64> {
    let above = fields.keys().filter_map(|name| {
        name.strip_prefix("input_cost_per_token_above_")?
            .strip_suffix(suffix)?
            .strip_suffix("k_tokens")?
            .parse()
            .ok()
    });
    std::iter::once(0).chain(above).collect()
}

fn place(tier: &str, above: u64) -> String {
    let tier = if tier.is_empty() { String::new() } else { format!("tier = \"{tier}\", ") };
    if above == 0 { tier } else { format!("{tier}above = {above}, ") }
}

fn prices<'a>(field: impl Fn(&str) -> Option<&'a Box<RawValue>>) -> BTreeMap<&'static str, Amount> {
    let price = |(name, kind): (&str, &'static str)| Some((kind, per_million(field(name)?.get())?));
    KINDS.into_iter().filter_map(price).collect()
}

/// The price of a million tokens, of that of one as JSON writes it, such as `2.5e-06`; what is not zero stays so.
fn per_million(text: &str) -> Option<Amount> {
    let price = shifted(text, 6)?;
    let is_zero = || {
        text.split(['e', 'E'])
            .next()
            .is_some_and(|digits| !digits.contains(|digit| ('1'..='9').contains(&digit)))
    };
    Some(if price.is_zero() && !is_zero() { Amount::from_billionths(1) } else { price })
}

/// Whether a name is like a pattern, in which `*` stands for anything.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    true
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_of_a_million_tokens_exactly() {
        for (text, wanted) in [
            ("2.5e-06", Some("2.5")),
            ("1e-05", Some("10")),
            ("0.0000011", Some("1.1")),
            ("1.0000000000000001e-07", Some("0.1")),
            ("1e-18", Some("0.000000001")),
            ("1e-60", Some("0.000000001")),
            ("0", Some("0")),
            ("0.0", Some("0")),
            ("3", Some("3000000")),
            ("-1", None),
            ("null", None),
            ("\"x\"", None),
            ("1e99", None),
        ] {
            assert_eq!(per_million(text).map(|price| price.to_string()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn names_are_like_patterns() {
        for (name, pattern, wanted) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o-mini", "gpt-4o", false),
            ("gpt-4o-mini", "gpt-4o*", true),
            ("azure/gpt-4o", "*/gpt-4o", true),
            ("azure/gpt-4o-mini", "*/gpt-4o", false),
            ("azure/eu/gpt-4o", "azure/*/gpt-*", true),
            ("anything", "*", true),
        ] {
            assert_eq!(is_like(name, pattern), wanted, "{name} {pattern}");
        }
    }

    #[test]
    fn a_table_becomes_rates_by_tier_and_size() {
        let table = r#"{
            "sample_spec": {"input_cost_per_token": 1},
            "large": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
                "output_cost_per_reasoning_token": 1.2e-05, "input_cost_per_audio_token": 4e-05, "mode": "chat",
                "input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
                "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
                "input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_priority": 1.7e-05,
                "input_cost_per_token_above_200k_tokens_priority": 8.5e-06},
            "steps": {"tiered_pricing": [
                {"range": [0, 256000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
                {"range": [256000.0, 1000000.0], "input_cost_per_token": 2.5e-07, "output_cost_per_token": 2e-06}]},
            "free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0},
            "picture": {"output_cost_per_image": 0.04}
        }"#;
        let models = models(table).expect("a table");
        let rates = |id: &str| models[id].join("\n");
        assert!(!models.contains_key("sample_spec"));
        assert_eq!(
            rates("large"),
            "input = \"2.5\", output = \"10\", cached_input = \"1.25\", audio_input = \"40\", reasoning = \"12\"\n\
             above = 200000, input = \"5\", output = \"15\"\n\
             tier = \"batch\", input = \"1.25\", output = \"5\"\n\
             tier = \"priority\", input = \"4.25\", output = \"17\"\n\
             tier = \"priority\", above = 200000, input = \"8.5\""
        );
        assert_eq!(
            rates("steps"),
            "input = \"0.05\", output = \"0.4\"\nabove = 256000, input = \"0.25\", output = \"2\""
        );
        assert_eq!((rates("free"), rates("picture")), (String::new(), String::new()));
    }
}
