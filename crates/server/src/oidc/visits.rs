//! Sign-ins that are under way.
//!
//! Nothing is kept of them here, so that nobody can fill a table with them. The browser has a cookie with a random id, an end and
//! a page, and all else (the state, the nonce, the verifier of PKCE) is made of the cookie and a secret of the process:
//! another cookie has another state. What came back is remembered until its end, so that each comes back once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tollgate_domain::Timestamp;

use crate::auth::hash;
use crate::console::sign;
use crate::limits::{OIDC_ENDED_MAX, OIDC_PAGE_BYTES_MAX, OIDC_VISIT_SECS};

pub(super) struct Visits {
    /// What all is made with.
    secret: [u8; 32],
    /// The hashes of those that came back, and when their time is over.
    ended: Mutex<HashMap<[u8; 32], Timestamp>>,
}

/// A sign-in that is under way.
pub(crate) struct Visit {
    /// What the browser keeps.
    pub(crate) cookie: String,
    /// What the provider sends back with the browser.
    pub(super) state: String,
    /// What the token must name.
    pub(super) nonce: String,
    /// What the code is exchanged with.
    pub(super) verifier: String,
    /// The page that is to be seen then.
    pub(crate) page: String,
}

impl Visits {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret, ended: Mutex::default() }
    }

    /// Begins one, under a random id.
    pub(super) fn begin(&self, id: &str, page: &str, now: Timestamp) -> Visit {
        let until = now.as_second().saturating_add(OIDC_VISIT_SECS);
        let page = if page.len() > OIDC_PAGE_BYTES_MAX { "" } else { page };
        self.made_of(format!("{id}.{until}.{}", BASE64_URL_SAFE_NO_PAD.encode(page)), page.to_owned())
    }

    /// Ends the one whose browser has a cookie, if the state is its own, its time is not over, and it has not ended before.
    pub(super) fn end(&self, cookie: &str, state: &str, now: Timestamp) -> Option<Visit> {
        let mut parts = cookie.splitn(3, '.').skip(1);
        let until = Timestamp::from_second(parts.next()?.parse().ok()?).ok()?;
        let page = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let visit = self.made_of(cookie.to_owned(), page);
        // Compared by their hashes, so that the time it takes tells nothing.
        if hash(&visit.state) != hash(state) || now >= until {
            return None;
        }
        let mut ended = self.ended();
        ended.retain(|_, until| now < *until);
        if ended.len() >= OIDC_ENDED_MAX
            && let Some(oldest) = ended.iter().min_by_key(|(_, until)| **until).map(|(visit, _)| *visit)
        {
            ended.remove(&oldest);
        }
        ended.insert(hash(cookie), until).is_none().then_some(visit)
    }

    fn made_of(&self, cookie: String, page: String) -> Visit {
        let made =
            |what: &str| BASE64_URL_SAFE_NO_PAD.encode(sign(&self.secret, &format!("{what}:{cookie}")));
        let (state, nonce, verifier) = (made("state"), made("nonce"), made("verifier"));
        Visit { cookie, state, nonce, verifier, page }
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<[u8; 32], Timestamp>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_visit_ends_once_in_its_browser_and_in_its_time() {
        let visits = Visits::new([7; 32]);
        let visit = visits.begin("id", "/console/orgs?a=ü", at(0));
        let (cookie, state) = (visit.cookie.as_str(), visit.state.as_str());
        let other = visits.begin("other", "/console/orgs?a=ü", at(0));
        assert!(visit.state != other.state && visit.state != visit.nonce && visit.nonce != visit.verifier);
        let later = cookie.replace(".600.", ".9999.");
        let elsewhere = format!("id.600.{}", BASE64_URL_SAFE_NO_PAD.encode("/console/keys"));
        for (cookie, state, now) in [
            (cookie, other.state.as_str(), at(1)),
            (other.cookie.as_str(), state, at(1)),
            (later.as_str(), state, at(601)),
            (elsewhere.as_str(), state, at(1)),
            (cookie, state, at(OIDC_VISIT_SECS)),
            (cookie, "", at(1)),
            ("", "", at(1)),
            ("..", state, at(1)),
        ] {
            assert!(visits.end(cookie, state, now).is_none(), "{cookie} {state}");
        }
        assert!(
            Visits::new([8; 32]).end(cookie, state, at(1)).is_none(),
            "another process has another secret"
        );
        let ended = visits.end(cookie, state, at(OIDC_VISIT_SECS - 1)).expect("it is its own");
        assert_eq!((ended.page.as_str(), ended.nonce), ("/console/orgs?a=ü", visit.nonce));
        assert!(visits.end(cookie, state, at(2)).is_none(), "it has ended");
        assert!(visits.end(&other.cookie, &other.state, at(2)).is_some());
    }

    #[test]
    fn a_cookie_stays_small_and_what_is_remembered_is_bounded() {
        let visits = Visits::new([7; 32]);
        let long = format!("/console?{}", "a".repeat(OIDC_PAGE_BYTES_MAX));
        assert_eq!(visits.begin("id", &long, at(0)).page, "");
        for number in 0..OIDC_ENDED_MAX + 2 {
            let visit = visits.begin(&number.to_string(), "", at(0));
            assert!(visits.end(&visit.cookie, &visit.state, at(1)).is_some());
        }
        assert_eq!(visits.ended().len(), OIDC_ENDED_MAX);
        let visit = visits.begin("later", "", at(OIDC_VISIT_SECS));
        assert!(visits.end(&visit.cookie, &visit.state, at(OIDC_VISIT_SECS)).is_some());
        assert_eq!(visits.ended().len(), 1, "those whose time is over are forgotten");
    }
}
