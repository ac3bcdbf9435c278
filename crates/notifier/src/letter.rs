//! Letters: a message as people read it in their mail, as plain text and as HTML.

use askama::Template;
use tollgate_domain::{Channel, OrgId, Zone};

use crate::limits::SUBJECT_CHARS_MAX;
use crate::message::Message;
use crate::words::{notice_facts, time_at};

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// What happened, in a short line.
    pub(crate) subject: String,
    /// What happened.
    headline: String,
    /// What there is to know of it, each with what it is called.
    facts: Vec<(String, String)>,
    /// Where to read on.
    link: String,
    link_text: String,
    /// The name of the channel.
    channel: String,
    /// Where to say that no more of them are wanted.
    unsubscribe: String,
}

#[derive(Template)]
#[template(path = "letter.txt")]
struct Plain<'a> {
    letter: &'a Letter,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    letter: &'a Letter,
}

impl Letter {
    /// A message in words; links lead to a server that is reached under a URL.
    pub(crate) fn new(channel: &Channel, message: &Message, url: &str, unsubscribe: &str) -> Self {
        let (link, link_text) = match &message.org {
            Some(org) => (format!("{url}/console/orgs/{}", path_part(org)), "Open it in the console"),
            None if message.lines.is_empty() => (format!("{url}/console"), "Open the console"),
            None => (format!("{url}/console/notices"), "Open the notices in the console"),
        };
        let zone = channel.setup.hours.as_ref().map_or(Zone::UTC, |hours| hours.zone.clone());
        let facts = match (&message.notice, &message.home) {
            (Some(row), Some(home)) => {
                notice_facts(row, home).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }
            _ if message.lines.is_empty() => vec![("When".to_owned(), message.at.to_string())],
            _ => message.lines.iter().map(|line| (time_at(&zone, line.at), line.text.clone())).collect(),
        };
        Self {
            subject: subject(&message.text),
            headline: message.text.clone(),
            facts,
            link,
            link_text: link_text.to_owned(),
            channel: channel.setup.name.clone(),
            unsubscribe: format!("{url}{unsubscribe}"),
        }
    }

    /// As plain text.
    pub(crate) fn plain(&self) -> Result<String, askama::Error> {
        Plain { letter: self }.render()
    }

    /// As HTML.
    pub(crate) fn html(&self) -> Result<String, askama::Error> {
        Html { letter: self }.render()
    }
}

/// A text as the subject of a mail: in one line, shortened, and without what would turn the words of a reader's program
/// around or be decoded by it.
fn subject(text: &str) -> String {
    let turns = |each: char| matches!(each, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let plain: String = text
        .chars()
        .filter(|each| !turns(*each))
        .map(|each| if each.is_control() { ' ' } else { each })
        .collect();
    let plain = plain.replace("=?", "= ?");
    if plain.chars().count() <= SUBJECT_CHARS_MAX {
        return plain;
    }
    let short: String = plain.chars().take(SUBJECT_CHARS_MAX - 1).collect();
    format!("{short}…")
}

/// An id as a part of a path.
fn path_part(id: &OrgId) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    id.as_str()
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line_that_no_program_turns_around_or_decodes() {
        for (text, wanted) in [
            ("acme: 80 % of the tokens are used", "acme: 80 % of the tokens are used"),
            ("a\r\nBcc: evil@example.com", "a  Bcc: evil@example.com"),
            ("=?utf-8?q?=0D=0ABcc=3A?=", "= ?utf-8?q?=0D=0ABcc=3A?="),
            ("a\u{202E}cba\u{2066}", "acba"),
        ] {
            assert_eq!(subject(text), wanted);
        }
        let long = subject(&"界".repeat(1_000));
        assert!(long.chars().count() == SUBJECT_CHARS_MAX && long.ends_with('…'), "{long}");
    }

    #[test]
    fn a_link_holds_any_id() {
        assert_eq!(path_part(&OrgId::new("a/b ü<").expect("an id")), "a%2Fb%20%C3%BC%3C");
    }
}
