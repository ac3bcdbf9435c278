//! Who caused an entry.

use std::fmt;
use std::sync::Arc;

use crate::ApiKeyId;
use crate::limits::PERSON_CHARS_MAX;

/// Who caused an entry: kept with it, and no part of what makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A caller without a key, from the server's own machine.
    Local,
    /// The API key of the settings. It has no public id.
    Configured,
    /// A stored API key.
    Key(ApiKeyId),
    /// Somebody who signed in by a provider of identities.
    Person(PersonId),
    /// The server, closing months that are over.
    Closing,
    /// The server, shipping aggregates.
    Shipper,
    /// The server, for anything else: its first catalog, the demo.
    System,
}

impl Actor {
    /// The text on the wire. No id of an API key is one of the words, nor that of a person: ids of keys are hexadecimal.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Configured => "configured",
            Self::Key(id) => &id.0,
            Self::Person(id) => id.as_str(),
            Self::Closing => "closing",
            Self::Shipper => "shipper",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

/// Somebody whom a provider of identities knows: `person:`, and what it knows them by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersonId(Arc<str>);

impl PersonId {
    const PREFIX: &str = "person:";

    /// Somebody of a name, if it is one that people can tell from others: not empty, not too long, without blanks around it
    /// and without characters that are not seen or that turn the text around them.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is_short = (1..=PERSON_CHARS_MAX).contains(&name.chars().count());
        let is_plain = name.trim() == name && !name.chars().any(is_hidden);
        (is_short && is_plain).then(|| Self(format!("{}{name}", Self::PREFIX).into()))
    }

    /// What the provider knows them by.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.strip_prefix(Self::PREFIX).unwrap_or(&self.0)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character shows nothing, or changes how others show.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_a_name_that_can_be_told_from_others() {
        let long = "\u{5bec}".repeat(PERSON_CHARS_MAX);
        for name in ["ann@example.com", "00u1a2b3", "auth0|65 x", "<b>&\"", "Зоя", &long] {
            let person = PersonId::named(name).expect(name);
            assert_eq!((person.name(), person.as_str()), (name, format!("person:{name}").as_str()));
        }
        let longer = "a".repeat(PERSON_CHARS_MAX + 1);
        for name in ["", " ann", "ann ", "a\nb", "a\0", "\u{202e}nna", "an\u{200b}n", "\u{2067}x", &longer] {
            assert_eq!(PersonId::named(name), None, "{name:?}");
        }
    }
}
