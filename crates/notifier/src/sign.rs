//! Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 of `id.timestamp.body`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::{SIGNING_KEY_BYTES, SIGNING_KEY_BYTES_MAX, SIGNING_KEY_BYTES_MIN};

const PREFIX: &str = "whsec_";

/// A key that requests are signed with; no log and no error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// A text that is not a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a signing secret; expected whsec_ and {SIGNING_KEY_BYTES_MIN} to {SIGNING_KEY_BYTES_MAX} bytes in base64"
)]
pub struct SigningKeyError;

impl FromStr for SigningKey {
    type Err = SigningKeyError;

    fn from_str(text: &str) -> Result<Self, SigningKeyError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SigningKeyError)?;
        let key = BASE64_STANDARD.decode(encoded).map_err(|_| SigningKeyError)?;
        let long_enough = (SIGNING_KEY_BYTES_MIN..=SIGNING_KEY_BYTES_MAX).contains(&key.len());
        if long_enough { Ok(Self(key)) } else { Err(SigningKeyError) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl SigningKey {
    /// A new one, as text.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn draw() -> Result<String, getrandom::Error> {
        let mut bytes = [0_u8; SIGNING_KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
    }

    /// The value of the header `webhook-signature`, at a time in seconds since 1970.
    pub(crate) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        // A key of any length will do.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_standard_says() {
        // The test vector of the standard's own libraries.
        let key = SigningKey(BASE64_STANDARD.decode("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("base64"));
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = key.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
        assert_eq!("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse(), Ok(key));
    }

    #[test]
    fn a_key_is_long_enough_and_shown_nowhere() {
        for text in [
            "",
            "whsec_",
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "whsec_C2FV",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o*",
        ] {
            assert_eq!(text.parse::<SigningKey>(), Err(SigningKeyError), "{text}");
        }
        let key: SigningKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().expect("a key");
        assert_eq!(format!("{key:?}"), "***");
        let drawn = [SigningKey::draw(), SigningKey::draw()].map(|drawn| drawn.expect("randomness"));
        assert!(drawn.iter().all(|drawn| drawn.parse::<SigningKey>().is_ok()) && drawn[0] != drawn[1]);
    }
}
