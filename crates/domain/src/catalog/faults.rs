//! Everything that is wrong with a catalog at once, each with its line.
//!
//! What cannot be read is looked for first, item by item, as one item that cannot be read must not hide the others. What
//! can be read is then checked as a whole ([`Catalog::check`](super::Catalog)).

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::{Allowance, Catalog, CatalogError, EventMapping, Meter, ModelPrice, Plan, PlanLimit, Price};
use crate::limits::CATALOG_FAULTS_MAX;

/// The place of a fault among the items of the catalog, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The catalog as a whole.
    Whole,
    /// A meter.
    Meter(usize),
    /// A plan.
    Plan(usize),
    /// A price of a plan.
    Price(usize, usize),
    /// An event.
    Event(usize),
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) error: CatalogError,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Keeps what is wrong with a place, if anything is, until there is more than is told.
    pub(super) fn note(&mut self, place: Place, checked: Result<(), CatalogError>) {
        if !self.is_full() {
            self.0.extend(checked.err().map(|error| Fault { place, error }));
        }
    }

    /// Whether there is more than is reported: nothing further need be looked for.
    pub(super) fn is_full(&self) -> bool {
        is_full(&self.0)
    }

    /// All of it as one error, with the lines of the text; `Ok` if nothing is wrong.
    pub(super) fn told(self, text: &str) -> Result<(), CatalogError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (document, _) = DeTable::parse_recoverable(text);
        let lines = self.0.into_iter().map(|Fault { place, error }| {
            let start = span(document.get_ref(), place).map(|span| span.start);
            (start, error.0)
        });
        Err(joined(text, lines.collect()))
    }
}

const fn is_full<T>(faults: &[T]) -> bool {
    faults.len() > CATALOG_FAULTS_MAX
}

type Span = std::ops::Range<usize>;

/// Where a fault begins, and what it is.
type Unread = (Option<usize>, String);

/// The fault of an error; one that names no place is that of the table.
fn unread(error: &Error, table: Option<Span>) -> Unread {
    let start = error.span().or(table).map(|span| span.start);
    (start, error.message().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Where the item of a place stands.
fn span(document: &DeTable<'_>, place: Place) -> Option<Span> {
    let item = |list: &str, index: usize| document.get(list)?.get_ref().as_array()?.get(index);
    match place {
        Place::Whole => None,
        Place::Meter(index) => Some(item("meters", index)?.span()),
        Place::Plan(index) => Some(item("plans", index)?.span()),
        Place::Price(plan, price) => {
            let plan = item("plans", plan)?.get_ref().as_table()?;
            Some(plan.get("prices")?.get_ref().as_array()?.get(price)?.span())
        }
        Place::Event(index) => Some(item("events", index)?.span()),
    }
}

/// One error of many, in the order of their lines; those of no line come first.
fn joined(text: &str, mut faults: Vec<Unread>) -> CatalogError {
    let is_full = is_full(&faults);
    faults.sort_by_key(|(start, _)| *start);
    faults.truncate(CATALOG_FAULTS_MAX);
    let mut lines: Vec<_> = faults
        .into_iter()
        .map(|(start, message)| match start.and_then(|start| text.get(..start)) {
            Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
            None => message,
        })
        .collect();
    lines.extend(
        is_full.then(|| format!("there is more; at most {CATALOG_FAULTS_MAX} faults are told at once")),
    );
    CatalogError(lines.join("\n"))
}

/// Everything in a text that cannot be read as a catalog.
pub(super) fn unreadable(text: &str, first: &Error) -> CatalogError {
    let (mut document, syntax) = DeTable::parse_recoverable(text);
    let mut errors: Vec<Unread> =
        syntax.iter().take(CATALOG_FAULTS_MAX + 1).map(|error| unread(error, None)).collect();
    if errors.is_empty() {
        let root = document.get_mut();
        for mut item in tables(root, "plans") {
            read_list::<Allowance>(item.get_mut(), "allowances", &mut errors);
            read_list::<PlanLimit>(item.get_mut(), "limits", &mut errors);
            read_list::<Price>(item.get_mut(), "prices", &mut errors);
            read::<Plan>(item, &mut errors);
        }
        read_list::<Meter>(root, "meters", &mut errors);
        read_list::<EventMapping>(root, "events", &mut errors);
        read_list::<ModelPrice>(root, "models", &mut errors);
        read::<Catalog>(document, &mut errors);
    }
    // Whatever the first reading stumbled over, it is told.
    if errors.is_empty() {
        errors.push(unread(first, None));
    }
    joined(text, errors)
}

/// Takes the tables out of a list. What is no table, or no list at all, is left for the whole to complain of.
fn tables<'i>(owner: &mut DeTable<'i>, list: &str) -> Vec<Spanned<DeTable<'i>>> {
    let Some(DeValue::Array(items)) = owner.get_mut(list).map(Spanned::get_mut) else { return Vec::new() };
    let (mut taken, mut left) = (Vec::new(), DeArray::new());
    for item in std::mem::replace(items, DeArray::new()) {
        let span = item.span();
        match item.into_inner() {
            DeValue::Table(table) => taken.push(Spanned::new(span, table)),
            other => left.push(Spanned::new(span, other)),
        }
    }
    *items = left;
    taken
}

fn read_list<'i, T: Deserialize<'i>>(owner: &mut DeTable<'i>, list: &str, errors: &mut Vec<Unread>) {
    tables(owner, list).into_iter().for_each(|item| read::<T>(item, errors));
}

/// Tries to read a table, again without each field that is unknown: one of them must not hide the next. Each time takes as
/// long as the table is large, so it ends where there is more than is told.
fn read<'i, T: Deserialize<'i>>(mut table: Spanned<DeTable<'i>>, errors: &mut Vec<Unread>) {
    while !is_full(errors)
        && let Err(error) = T::deserialize(Deserializer::from(table.clone()))
    {
        let is_unknown = error.message().starts_with("unknown field");
        let field =
            table.get_ref().keys().find(|key| is_unknown && Some(key.span()) == error.span()).cloned();
        errors.push(unread(&error, Some(table.span())));
        let Some(field) = field else { return };
        table.get_mut().remove(&field);
    }
}
