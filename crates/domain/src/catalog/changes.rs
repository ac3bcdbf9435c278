//! What another catalog changes, field by field, as the two are written.

use std::collections::{BTreeSet, HashMap};

use toml::{Table, Value};

use crate::Amount;

/// What tells the items of a list apart, where they have it.
const IDENTITY: [&str; 8] = ["id", "type", "meter", "scope", "path", "window", "where", "from"];

/// What changes from one catalog to another, a line each, for people: `+` is added, `-` is removed, `~` is changed.
/// Texts that are no TOML have no changes.
#[must_use]
pub fn changes(old: &str, new: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (old.parse::<Table>(), new.parse::<Table>()) else { return Vec::new() };
    let mut lines = Vec::new();
    compare_tables("", &old, &new, &mut lines);
    lines
}

fn compare_tables(place: &str, old: &Table, new: &Table, lines: &mut Vec<String>) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (items(old.get(name)), items(new.get(name))) {
            (None, None) => compare_values(&within(place, name), old.get(name), new.get(name), lines),
            (old, new) => compare_lists(place, name, old.unwrap_or_default(), new.unwrap_or_default(), lines),
        }
    }
}

fn compare_values(place: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    let none = Table::new();
    match (old, new) {
        (Some(Value::Table(old)), Some(Value::Table(new))) => compare_tables(place, old, new, lines),
        (None, Some(Value::Table(new))) => compare_tables(place, &none, new, lines),
        (Some(Value::Table(old)), None) => compare_tables(place, old, &none, lines),
        (Some(old), Some(new)) if is_same(old, new) => {}
        (Some(old), Some(new)) => lines.push(format!("~ {place}: {} → {}", text(old), text(new))),
        (None, Some(new)) => lines.push(format!("+ {place}: {}", text(new))),
        (Some(old), None) => lines.push(format!("- {place}: {}", text(old))),
        (None, None) => {}
    }
}

/// An item that came or went. Of a whole meter, plan or event its name says enough.
fn whole(sign: char, place: &str, name: &str, item: &Value) -> String {
    match place {
        "" => format!("{sign} {name}"),
        place => format!("{sign} {place}: {name}: {}", text(item)),
    }
}

fn compare_lists(place: &str, name: &str, old: &[Value], new: &[Value], lines: &mut Vec<String>) {
    let (old_names, new_names) = match (identities(old), identities(new)) {
        (Some(old), Some(new)) => (old, new),
        _ => (numbers(old), numbers(new)),
    };
    let named = |id: &str| format!("{} {id}", name.strip_suffix('s').unwrap_or(name));
    let kept: BTreeSet<&String> = new_names.iter().collect();
    for (id, gone) in old_names.iter().zip(old).filter(|(id, _)| !kept.contains(id)) {
        lines.push(whole('-', place, &named(id), gone));
    }
    let known: HashMap<&String, &Value> = old_names.iter().zip(old).collect();
    for (id, new) in new_names.iter().zip(new) {
        match known.get(id) {
            Some(old) => compare_values(&within(place, &named(id)), Some(old), Some(new), lines),
            None => lines.push(whole('+', place, &named(id), new)),
        }
    }
}

/// The items of a list of tables.
fn items(value: Option<&Value>) -> Option<&[Value]> {
    let items = value?.as_array()?;
    items.iter().all(Value::is_table).then_some(items.as_slice())
}

/// What tells each item from the others; `None` where two are the same by it.
fn identities(items: &[Value]) -> Option<Vec<String>> {
    let names: Vec<String> = items.iter().map(identity).collect();
    let all_differ = names.iter().collect::<BTreeSet<_>>().len() == names.len();
    (all_differ && !names.iter().any(String::is_empty)).then_some(names)
}

fn identity(item: &Value) -> String {
    let values = IDENTITY.iter().filter_map(|name| item.get(*name)).map(text);
    values.collect::<Vec<_>>().join(" ")
}

fn numbers(items: &[Value]) -> Vec<String> {
    (1..=items.len()).map(|number| number.to_string()).collect()
}

fn within(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}: {name}") }
}

/// Whether two values mean the same: a number may be written as text.
fn is_same(old: &Value, new: &Value) -> bool {
    let number = |value| Amount::parse(&text(value)).ok();
    old == new || number(old).is_some_and(|old| number(new) == Some(old))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Table(table) if table.values().all(Value::is_str) && table.len() <= 2 => {
            let pairs: Vec<_> = table.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
            pairs.join(" ")
        }
        other => other.to_string(),
    }
}
