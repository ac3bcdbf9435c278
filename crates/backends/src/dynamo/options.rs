//! How a table is named, and what may be set.

use crate::packs::Opening;

/// What a URL looks like.
const SHAPE: &str = "expected dynamodb://TABLE, with settings after `?`";

/// A table, and how it is used.
#[derive(Clone)]
pub struct DynamoOptions {
    pub(crate) table: String,
    /// Who asks, where the URL says so; otherwise the usual chain of credentials is looked through.
    pub(crate) credentials: Option<(String, String)>,
    /// Where, if not where the environment or the profile says.
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// The units a second of reads and writes that a table is made with; `None`: it is made on demand.
    pub(crate) capacity: Option<(u32, u32)>,
    /// How it is opened.
    pub opening: Opening,
}

impl std::fmt::Debug for DynamoOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DynamoOptions").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DynamoOptions {
    /// Reads `dynamodb://table?setting=value&…`.
    ///
    /// Settings are `region`, `endpoint` (a URL), `capacity` (`READ/WRITE` units a second of a table that is made; on demand
    /// without), `patience` (seconds) and `migrate` (`on` or `off`). Credentials come from the environment, the profile, a web identity or the machine,
    /// or stand before the table as `KEY:SECRET@`.
    ///
    /// # Errors
    /// What is wrong with it, without any secret that it holds.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let place = url.strip_prefix("dynamodb://").ok_or(SHAPE)?;
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (credentials, table) = match place.rsplit_once('@') {
            Some((credentials, table)) => (Some(credentials_in(credentials)?), table),
            None => (None, place),
        };
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        if !(3..=255).contains(&table.len()) || !table.chars().all(fits) {
            return Err("a table has 3 to 255 letters, digits, and `_`, `-` or `.`".to_owned());
        }
        let mut options = Self {
            table: table.to_owned(),
            credentials,
            region: None,
            endpoint: None,
            capacity: None,
            opening: Opening::default(),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "region" => options.region = Some(value.into_owned()),
                "endpoint" => options.endpoint = Some(endpoint(&value)?),
                "capacity" => options.capacity = Some(capacity(&value)?),
                other if options.opening.take(other, &value)? => {}
                other => return Err(format!("{other} is no setting of a table")),
            }
        }
        Ok(options)
    }
}

fn credentials_in(text: &str) -> Result<(String, String), String> {
    let (key, secret) = text.split_once(':').ok_or("credentials are KEY:SECRET, each percent-encoded")?;
    let decoded = |text: &str| {
        let text = text.replace('+', "%2B");
        form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned())
    };
    match (decoded(key), decoded(secret)) {
        (Some(key), Some(secret)) => Ok((key, secret)),
        _ => Err("credentials are KEY:SECRET, each percent-encoded".to_owned()),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let place = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = place.map(|place| place.split('/').next().unwrap_or_default());
    let port = host.and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    // The colons of an address of IPv6 are within brackets.
    let has_port =
        port.is_none_or(|port| port.ends_with(']') || port.parse::<u16>().is_ok_and(|port| port > 0));
    let fits = host.is_some_and(|host| !host.is_empty()) && has_port;
    fits.then(|| text.to_owned())
        .ok_or_else(|| "endpoint is a URL of http or https, its port from 1 to 65535".to_owned())
}

fn capacity(text: &str) -> Result<(u32, u32), String> {
    let units =
        text.split_once('/').and_then(|(read, write)| Some((read.parse().ok()?, write.parse().ok()?)));
    units
        .filter(|(read, write)| *read > 0 && *write > 0)
        .ok_or_else(|| "capacity is READ/WRITE, in units a second".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn urls_are_read_and_wrong_ones_refused_without_secrets() {
        let read = DynamoOptions::from_url(
            "dynamodb://me:s%2Fe+c@metering?endpoint=http://h:1&region=eu-west-1&capacity=5/10&patience=3&migrate=off",
        );
        let read = read.expect("a URL");
        assert_eq!(read.credentials, Some(("me".to_owned(), "s/e+c".to_owned())));
        assert_eq!((read.table.as_str(), read.endpoint.as_deref()), ("metering", Some("http://h:1")));
        assert_eq!((read.region.as_deref(), read.capacity), (Some("eu-west-1"), Some((5, 10))));
        assert_eq!((read.opening.patience, read.opening.migrate), (Duration::from_secs(3), false));
        assert!(!format!("{read:?}").contains("s/e+c"));
        for (url, wrong) in [
            ("dynamodb://", "3 to 255"),
            ("dynamodb://a b", "3 to 255"),
            ("dynamodb://hush@table", "KEY:SECRET"),
            ("dynamodb://table?capacity=0/1", "READ/WRITE"),
            ("dynamodb://table?endpoint=h", "http"),
            ("dynamodb://table?endpoint=http://h:99999/", "65535"),
            ("dynamodb://table?patience=0", "patience"),
            ("dynamodb://table?tabel=1", "tabel"),
        ] {
            let error = DynamoOptions::from_url(url).expect_err(url);
            assert!(error.contains(wrong) && !error.contains("hush"), "{url}: {error}");
        }
    }
}
