//! Descriptors as usage: who uses what, and how much.

use std::collections::BTreeMap;

use tollgate_api::{Code, Problem, PropertyValue};
use tollgate_domain::{Catalog, MeterId, OrgId, Quantity, Role, UsageKey, Use, UserId};

use super::messages::{Descriptor, RateLimitRequest};
use crate::auth::Caller;
use crate::compat::keys::new_key;
use crate::limits::ENVOY_DESCRIPTORS_MAX;
use crate::native::usage::properties;
use crate::reply::Failure;

/// What is to be done with a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Check and consume.
    Use,
    /// Say whether one more would pass: nothing is counted.
    Look,
    /// Count what was used already.
    Record,
}

/// A descriptor, as it was read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) org: OrgId,
    pub(super) usage: Use,
    pub(super) mode: Mode,
}

/// The entries of a descriptor that say what it is.
#[derive(Default)]
struct Entries<'a> {
    org: Option<&'a str>,
    user: Option<&'a str>,
    meter: Option<&'a str>,
    key: Option<&'a str>,
    mode: Option<&'a str>,
    others: Vec<(&'a str, &'a str)>,
}

fn wrong(field: &str, text: &str) -> Failure {
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field).into()
}

/// What a request asks for, descriptor by descriptor.
pub(super) fn read(
    request: &RateLimitRequest,
    caller: &Caller,
    catalog: &Catalog,
) -> Result<Vec<Asked>, Failure> {
    if request.descriptors.is_empty() {
        let detail = "the field 'descriptors' is empty: it must say who uses what";
        return Err(Problem::new(Code::MissingField, detail).on_field("descriptors").into());
    }
    if request.descriptors.len() > ENVOY_DESCRIPTORS_MAX {
        return Err(wrong("descriptors", &format!("there may be at most {ENVOY_DESCRIPTORS_MAX}")));
    }
    let reader = Reader { request, caller, catalog };
    request
        .descriptors
        .iter()
        .enumerate()
        .map(|(place, descriptor)| reader.asked(place, descriptor))
        .collect()
}

struct Reader<'a> {
    request: &'a RateLimitRequest,
    caller: &'a Caller,
    catalog: &'a Catalog,
}

impl Reader<'_> {
    fn asked(&self, place: usize, descriptor: &Descriptor) -> Result<Asked, Failure> {
        let field = |name: &str| format!("descriptors[{place}].{name}");
        if descriptor.limit.is_some() {
            return Err(wrong(
                &field("limit"),
                "must not be set: limits are those of the catalog and of organizations",
            ));
        }
        if descriptor.is_negative_hits {
            return Err(wrong(&field("is_negative_hits"), "must not be set: usage is taken back by its key"));
        }
        let entries = Entries::of(descriptor).map_err(|name| wrong(&field(name), "is given twice"))?;
        let org = self.org(entries.org, &field("org"))?;
        self.caller.require(Role::Ingest, Some(&org))?;
        let user = entries.user.map(|user| id(user, &field("user"), UserId::new)).transpose()?;
        let meter = self.meter(entries.meter, &field("meter"))?;
        let key = entries.key.map(|key| id(key, &field("key"), UsageKey::new));
        let key = key.unwrap_or_else(new_key)?;
        let hits = descriptor.hits_addend.unwrap_or_else(|| self.request.hits_addend.max(1).into());
        let mode = match (entries.mode, hits) {
            (None | Some("use" | "record"), 0) => Mode::Look,
            (None | Some("use"), _) => Mode::Use,
            (Some("record"), _) => Mode::Record,
            (Some(_), _) => return Err(wrong(&field("mode"), "must be 'use' or 'record'")),
        };
        let quantity = Quantity::parse(&hits.max(1).to_string())
            .map_err(|error| wrong(&field("hits_addend"), &error.to_string()))?;
        let properties = self.properties(&meter, entries.others)?;
        let usage = Use { user, path: None, meter, quantity, key, occurred_at: None, properties };
        Ok(Asked { org, usage, mode })
    }

    /// Who pays: who is named, or whose API key it is.
    fn org(&self, named: Option<&str>, field: &str) -> Result<OrgId, Failure> {
        match (named, &self.caller.org) {
            (Some(named), _) => id(named, field, OrgId::new),
            (None, Some(bound)) => Ok(bound.clone()),
            (None, None) => {
                let detail = format!(
                    "the field '{field}' is missing: a descriptor needs an entry 'org', or an API key that is bound to an \
                     organization"
                );
                Err(Problem::new(Code::MissingField, detail).on_field(field).into())
            }
        }
    }

    /// What is used: what is named, or what the domain is.
    fn meter(&self, named: Option<&str>, field: &str) -> Result<MeterId, Failure> {
        match named {
            Some(named) => id(named, field, MeterId::new),
            None => id(&self.request.domain, "domain", MeterId::new),
        }
    }

    /// The other entries, where the meter takes them.
    fn properties(
        &self,
        meter: &MeterId,
        entries: Vec<(&str, &str)>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let meter = self.catalog.meter(meter);
        let taken =
            entries.into_iter().filter(|(name, _)| meter.is_some_and(|meter| meter.takes_property(name)));
        properties(taken.map(|(name, value)| (name.to_owned(), PropertyValue(value.to_owned()))).collect())
    }
}

impl<'a> Entries<'a> {
    /// Sorts the entries of a descriptor; the error is the name of one that is given twice.
    fn of(descriptor: &'a Descriptor) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for entry in &descriptor.entries {
            let (name, place) = match entry.key.as_str() {
                "org" => ("org", &mut found.org),
                "user" => ("user", &mut found.user),
                "meter" => ("meter", &mut found.meter),
                "key" => ("key", &mut found.key),
                "mode" => ("mode", &mut found.mode),
                other => {
                    found.others.push((other, &entry.value));
                    continue;
                }
            };
            if place.replace(&entry.value).is_some() {
                return Err(name);
            }
        }
        Ok(found)
    }
}

fn id<T, E: ToString>(
    text: &str,
    field: &str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Failure> {
    read(text).map_err(|error| wrong(field, &error.to_string()))
}
