//! How the values of settings are read; an error says what is wrong with one and what is allowed.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tollgate_server::Secret;

use crate::client::is_url;

pub(super) fn api_key(text: &str) -> Result<Secret, String> {
    // A key travels in a header: it must be one word of visible characters. The text itself stays out of the message.
    if text.is_empty() || !text.chars().all(|character| character.is_ascii_graphic()) {
        return Err("not an API key; expected visible ASCII characters without spaces".to_owned());
    }
    Ok(Secret(text.to_owned()))
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("not a name; expected a word such as production".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("'{text}' is not an address; expected HOST:PORT such as 127.0.0.1:8080");
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|_| wrong())?.collect();
    // `localhost` is both: the IPv4 one is what other programs try first.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(wrong)
}

/// A URL that a service is asked at.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.contains(['@', ' ']) && is_url(text) => Ok(text.to_owned()),
        _ => Err("not a URL; expected such as http://127.0.0.1:4566".to_owned()),
    }
}

/// A name or an address of a host, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let fits = |each: char| each.is_ascii_alphanumeric() || "-._:".contains(each);
    let is_host =
        !text.is_empty() && text.chars().all(fits) && (!text.contains(':') || text.matches(':').count() > 1);
    if is_host {
        Ok(text.to_owned())
    } else {
        Err("not a host; expected such as smtp.example.com".to_owned())
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

pub(super) fn whole<N>(text: &str, allowed: RangeInclusive<N>) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + Display,
{
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
        format!(
            "'{text}' is not allowed; expected a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        )
    })
}

/// A number, or the word that stands for none.
pub(super) fn unless<N>(text: &str, word: &str, allowed: RangeInclusive<N>) -> Result<Option<N>, String>
where
    N: std::str::FromStr + PartialOrd + Display,
{
    if text == word {
        return Ok(None);
    }
    whole(text, allowed).map(Some).map_err(|reason| format!("{reason}, or {word}"))
}

pub(super) fn or<N: Display>(number: Option<N>, word: &str) -> String {
    number.map_or_else(|| word.to_owned(), |number| number.to_string())
}

pub(super) fn segment_bytes(text: &str) -> Result<u64, String> {
    const STEP: u64 = 8;
    let bytes: u64 = whole(text, 4 * 1024..=2 * 1024 * 1024 * 1024)?;
    if bytes.is_multiple_of(STEP) {
        Ok(bytes)
    } else {
        Err(format!("'{text}' is not allowed; expected a multiple of {STEP}"))
    }
}

pub(super) fn told<T, E: Display>(read: Result<T, E>) -> Result<T, String> {
    read.map_err(|error| error.to_string())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    whole(text, 1..=3_600).map(Duration::from_secs)
}
