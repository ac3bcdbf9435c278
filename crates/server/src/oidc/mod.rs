//! Sign-in to the console by a provider of OpenID Connect: what is set, and what a person may do.

#[cfg(feature = "oidc")]
mod provider;
#[cfg(feature = "oidc")]
mod visits;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use tollgate_domain::{PersonId, Role};
use tollgate_notifier::{PublicUrl, check_port};

use crate::Secret;

#[cfg(feature = "oidc")]
pub(crate) use provider::{OidcError, Provider};

/// Somebody who a provider says is who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: PersonId,
    pub(crate) role: Role,
}

/// A provider, and who of its people may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// Where it is, as it names itself.
    pub issuer: Issuer,
    /// What it knows this server by.
    pub client_id: String,
    /// What this server shows that it is that client with, if it has such a thing.
    pub client_secret: Option<Secret>,
    /// What is asked for, besides `openid`.
    pub scopes: Scopes,
    /// The claim that names a person; unless one is set, the address that the provider says is theirs, or else the subject.
    pub person_claim: Option<String>,
    /// The claim that says what a person may do; dots lead into it.
    pub role_claim: String,
    /// What each value of it stands for.
    pub roles: RoleMap,
    /// Certificates that the provider's must be signed by; the public authorities unless given.
    pub ca: Option<PathBuf>,
    /// Where people reach this server.
    pub public_url: PublicUrl,
}

/// Where a provider is: a URL without a query, over TLS unless it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl Issuer {
    /// The URL, to the letter: that is what a token must name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "not the URL of a provider; expected such as https://login.example.com (http:// only on this machine)"
                .to_owned()
        };
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let authority = url.authority().ok_or_else(wrong)?;
        let is_safe = match url.scheme_str() {
            Some("https") => true,
            Some("http") => is_this_machine(authority.host()),
            _ => false,
        };
        if !is_safe || authority.as_str().contains('@') || url.query().is_some() || text.contains('#') {
            return Err(wrong());
        }
        check_port(&url)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is asked for, in words of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// The words.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self(vec!["email".to_owned(), "profile".to_owned()])
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_scope = |word: &&str| {
            word.chars().all(|character| character.is_ascii_graphic() && !matches!(character, '"' | '\\'))
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() || !words.iter().all(is_scope) {
            return Err("not scopes; expected words such as 'email groups'".to_owned());
        }
        // It is always asked for.
        Ok(Self(words.into_iter().filter(|word| *word != "openid").map(str::to_owned).collect()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("openid")?;
        self.0.iter().try_for_each(|word| write!(formatter, " {word}"))
    }
}

/// Which value of a claim gives which role: `billing-team=manage,everybody=read`. Where nothing is said, values are the names of
/// roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(Vec<(String, Role)>);

impl RoleMap {
    /// The widest role that some values of a claim give.
    #[must_use]
    pub fn widest<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Option<Role> {
        values.into_iter().filter_map(|value| self.role_of(value)).max()
    }

    fn role_of(&self, value: &str) -> Option<Role> {
        if self.0.is_empty() {
            return role(value);
        }
        self.0.iter().filter(|(known, _)| known == value).map(|(_, role)| *role).max()
    }
}

/// A role in which people see something in the console.
fn role(text: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.name() == text && role.covers(Role::Read))
}

impl FromStr for RoleMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| {
            let (value, name) = pair.rsplit_once('=')?;
            let value = Some(value.trim()).filter(|value| !value.is_empty())?;
            Some((value.to_owned(), role(name.trim())?))
        };
        let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
        pairs.map(Self).ok_or_else(|| {
            "not a map of roles; expected VALUE=ROLE,… with the roles read, manage and admin".to_owned()
        })
    }
}

impl fmt::Display for RoleMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> =
            self.0.iter().map(|(value, role)| format!("{value}={}", role.name())).collect();
        formatter.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_role_of_some_values_counts_and_no_other_text_gives_one() {
        let mapped: RoleMap =
            "ops=admin, billing team=manage,everybody=read,a=b=read".parse().expect("a map");
        let plain = RoleMap::default();
        for (map, values, role) in [
            (&mapped, vec!["ops"], Some(Role::Admin)),
            (&mapped, vec!["everybody", "billing team"], Some(Role::Manage)),
            (&mapped, vec!["a=b"], Some(Role::Read)),
            (&mapped, vec!["admin", "OPS", ""], None),
            (&plain, vec!["admin"], Some(Role::Admin)),
            (&plain, vec!["read", "manage"], Some(Role::Manage)),
            (&plain, vec!["ingest", "Admin"], None),
            (&plain, vec![], None),
        ] {
            assert_eq!(map.widest(values.iter().copied()), role, "{map}: {values:?}");
        }
        assert_eq!(mapped.to_string(), "ops=admin,billing team=manage,everybody=read,a=b=read");
        for wrong in ["", "ops", "ops=", "=admin", "ops=owner", "ops=ingest", "a=read,,b=read"] {
            assert!(wrong.parse::<RoleMap>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_provider_is_asked_over_tls_unless_it_is_on_this_machine() {
        for url in [
            "https://login.example.com",
            "https://a.example/realms/x/",
            "http://127.0.0.1:8080",
            "http://[::1]:1",
        ] {
            assert_eq!(url.parse::<Issuer>().expect(url).to_string(), url);
        }
        for url in [
            "http://login.example.com",
            "https://u:hush@login.example.com",
            "https://login.example.com/?a=b",
            "https://login.example.com/#x",
            "login.example.com",
            "ftp://127.0.0.1",
            "",
        ] {
            assert!(url.parse::<Issuer>().is_err(), "{url}");
        }
    }

    #[test]
    fn scopes_are_words() {
        let read = |text: &str| text.parse::<Scopes>().map(|scopes| scopes.to_string());
        assert_eq!(read(" openid  groups email ").as_deref(), Ok("openid groups email"));
        assert_eq!(Scopes::default().to_string(), "openid email profile");
        assert!(read("").is_err() && read("gröups").is_err() && read("a\"b").is_err());
    }
}
