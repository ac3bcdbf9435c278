//! A provider: people are sent to it, and what it says of them when they come back is verified.
//!
//! The authorization code flow of OpenID Connect, with PKCE, a state and a nonce. What the provider says of itself, its keys among
//! it, is believed for a while, and asked for again when a token is signed with a key that is not among them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
    CoreTokenType,
};
use openidconnect::{
    AccessToken, AdditionalClaims, AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError,
    Client, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    StandardErrorResponse, StandardTokenResponse, SubjectIdentifier, TokenResponse, UserInfoClaims,
    UserInfoError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tollgate_domain::{PersonId, Timestamp};
use tollgate_notifier::{AskError, Asker, Reach};

use super::visits::{Visit, Visits};
use super::{OidcSettings, Person};
use crate::limits::{
    OIDC_ANSWER_BYTES_MAX, OIDC_AT_ONCE_MAX, OIDC_BELIEVED_FOR, OIDC_ERROR_CHARS_MAX, OIDC_LEFT_ALONE_FOR,
    OIDC_PATIENCE,
};

/// The path that a provider sends people back to.
pub(crate) const CALLBACK: &str = "/console/sign-in/oidc/callback";

/// The claims that the standard does not know, among them, most of the time, the one with the role.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
struct OtherClaims(BTreeMap<String, Value>);

impl AdditionalClaims for OtherClaims {}

type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type Tokens = StandardTokenResponse<Fields, CoreTokenType>;

type Relying = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// How a token may be signed: with a key that the provider alone has.
const SIGNED_BY: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why somebody is not signed in. The texts are for the log, and hold no token, code or name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// The provider does not answer as one does.
    #[error("the provider cannot be asked: {0}")]
    Provider(String),
    /// What the provider says of a person is not to be believed.
    #[error("what the provider says is not valid: {0}")]
    Invalid(String),
    /// The claim names nobody.
    #[error("the claim '{0}' names nobody")]
    NoName(String),
    /// The claim gives no role.
    #[error("the claim '{0}' gives no role")]
    NoRole(String),
    /// Others are signing in.
    #[error("too many people sign in at the moment")]
    Busy,
}

/// A provider of sign-ins.
pub(crate) struct Provider {
    settings: OidcSettings,
    caller: Caller,
    known: Mutex<Known>,
    visits: Visits,
    at_once: Semaphore,
}

/// What is known of a provider.
#[derive(Default)]
struct Known {
    /// What it says of itself, and when it did.
    metadata: Option<(Instant, CoreProviderMetadata)>,
    /// When it last could not be asked, and why.
    failed: Option<(Instant, String)>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Provider").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

impl Provider {
    /// Asks nothing yet.
    pub(crate) fn new(settings: OidcSettings, reach: Reach) -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| format!("no randomness for sign-ins: {error}"))?;
        let caller = Caller::new(&settings, reach)?;
        let at_once = Semaphore::new(OIDC_AT_ONCE_MAX);
        Ok(Self { settings, caller, known: Mutex::default(), visits: Visits::new(secret), at_once })
    }

    /// Begins a sign-in under a random id; gives it, and where its browser goes.
    pub(crate) async fn begin(
        &self,
        id: &str,
        page: &str,
        now: Timestamp,
    ) -> Result<(Visit, String), OidcError> {
        let client = self.client(self.metadata(None).await?.1)?;
        let visit = self.visits.begin(id, page, now);
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(visit.verifier.clone()));
        let (state, nonce) = (CsrfToken::new(visit.state.clone()), Nonce::new(visit.nonce.clone()));
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let scopes = self.settings.scopes.iter().map(|word| Scope::new(word.to_owned()));
        let (url, ..) = client
            .authorize_url(flow, move || state, move || nonce)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        if !self.caller.is_safe(url.scheme()) {
            return Err(OidcError::Provider("its authorization_endpoint is not over TLS".to_owned()));
        }
        Ok((visit, url.into()))
    }

    /// The sign-in that a browser with a cookie began and that comes back with a state; each comes back once.
    pub(crate) fn returned(&self, cookie: &str, state: &str, now: Timestamp) -> Option<Visit> {
        self.visits.end(cookie, state, now)
    }

    /// Whether an answer that names its issuer names this one.
    pub(crate) fn is_issuer(&self, named: Option<&str>) -> bool {
        named.is_none_or(|named| named == self.settings.issuer.as_str())
    }

    /// Who came back with a code.
    pub(crate) async fn person(
        &self,
        visit: Visit,
        code: String,
        now: Timestamp,
    ) -> Result<Person, OidcError> {
        let _place = self.at_once.try_acquire().map_err(|_| OidcError::Busy)?;
        let (since, metadata) = self.metadata(None).await?;
        let client = self.client(metadata)?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| OidcError::Provider(error.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(visit.verifier));
        let tokens = exchange.request_async(&self.caller).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(_) => OidcError::Invalid(whole(&error)),
            // What cannot be read may be a token.
            RequestTokenError::Parse(error, _) => unreadable(error.path()),
            other => OidcError::Provider(whole(&other)),
        })?;
        let nonce = Nonce::new(visit.nonce);
        let said = match verified(&client, &tokens, &nonce, now) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_),
            )) => verified(&self.client(self.metadata(Some(since)).await?.1)?, &tokens, &nonce, now),
            verified => verified,
        };
        let mut said = said.map_err(|error| OidcError::Invalid(whole(&error)))?;
        let OidcSettings { person_claim, role_claim, roles, .. } = &self.settings;
        let is_named = |said: &Said| match person_claim {
            Some(claim) => said.name(claim).is_some(),
            None => said.verified_email().is_some(),
        };
        if !is_named(&said) || said.values(role_claim).is_empty() {
            self.add_user_info(&client, tokens.access_token(), &mut said).await?;
        }
        let role = roles.widest(said.values(role_claim));
        let role = role.ok_or_else(|| OidcError::NoRole(role_claim.clone()))?;
        let name = match person_claim {
            Some(claim) => said.name(claim).ok_or_else(|| OidcError::NoName(claim.clone()))?,
            None => said.verified_email().unwrap_or(&said.subject),
        };
        let id = PersonId::named(name);
        let id =
            id.ok_or_else(|| OidcError::Invalid("the person has no name that can be written".to_owned()))?;
        Ok(Person { id, role })
    }

    /// Adds what a token does not say of a person and its provider tells who asks for it.
    async fn add_user_info(
        &self,
        client: &Relying,
        token: &AccessToken,
        said: &mut Said,
    ) -> Result<(), OidcError> {
        let subject = SubjectIdentifier::new(said.subject.clone());
        // Without such an endpoint the token says all there is.
        let Ok(asking) = client.user_info(token.clone(), Some(subject)) else { return Ok(()) };
        let told: UserInfoClaims<OtherClaims, CoreGenderClaim> =
            asking.request_async(&self.caller).await.map_err(|error| match error {
                UserInfoError::ClaimsVerification(ClaimsVerificationError::InvalidSubject(_)) => {
                    OidcError::Invalid("it tells of another person".to_owned())
                }
                UserInfoError::ClaimsVerification(_) => OidcError::Invalid(whole(&error)),
                UserInfoError::Parse(error) => unreadable(error.path()),
                other => OidcError::Provider(whole(&other)),
            })?;
        if said.verified_email().is_none() && told.email().is_some() {
            (said.email, said.is_verified) =
                (told.email().map(|email| email.to_string()), told.email_verified());
        }
        for (name, value) in all_claims(&told) {
            said.claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// What the provider says of itself, and when it did: not before, or at, a time.
    async fn metadata(&self, after: Option<Instant>) -> Result<(Instant, CoreProviderMetadata), OidcError> {
        let mut known = self.known.lock().await;
        let is_good = |since: &Instant| match after {
            Some(after) => *since > after,
            None => since.elapsed() < OIDC_BELIEVED_FOR,
        };
        if let Some((since, metadata)) = known.metadata.as_ref().filter(|(since, _)| is_good(since)) {
            return Ok((*since, metadata.clone()));
        }
        // Those who waited for an answer need not ask again where there is none.
        if let Some((_, why)) = known.failed.as_ref().filter(|(at, _)| at.elapsed() < OIDC_LEFT_ALONE_FOR) {
            return Err(OidcError::Provider(why.clone()));
        }
        let issuer = IssuerUrl::new(self.settings.issuer.to_string());
        let issuer = issuer.map_err(|error| OidcError::Provider(error.to_string()))?;
        match CoreProviderMetadata::discover_async(issuer, &self.caller).await {
            Ok(metadata) => {
                let now = Instant::now();
                *known = Known { metadata: Some((now, metadata.clone())), failed: None };
                Ok((now, metadata))
            }
            Err(error) => {
                let why = whole(&error);
                known.failed = Some((Instant::now(), why.clone()));
                Err(OidcError::Provider(why))
            }
        }
    }

    /// What asks the provider, made of what it says of itself.
    fn client(&self, metadata: CoreProviderMetadata) -> Result<Relying, OidcError> {
        let OidcSettings { client_id, client_secret, public_url, .. } = &self.settings;
        let redirect = RedirectUrl::new(format!("{public_url}{CALLBACK}"));
        let redirect = redirect.map_err(|error| OidcError::Provider(error.to_string()))?;
        let takes = |method: CoreClientAuthMethod| {
            metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| methods.contains(&method))
        };
        // Basic is what a provider takes that does not say.
        let in_body =
            takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
        let auth = if in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        let secret = client_secret.as_ref().map(|secret| ClientSecret::new(secret.0.clone()));
        let client = Relying::from_provider_metadata(metadata, ClientId::new(client_id.clone()), secret);
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }
}

/// What a provider says of a person.
struct Said {
    subject: String,
    email: Option<String>,
    /// Whether the address is theirs, if it says so or not so.
    is_verified: Option<bool>,
    /// All that it says, by name.
    claims: BTreeMap<String, Value>,
}

impl Said {
    /// Their address, if it says that it is theirs.
    fn verified_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.is_verified == Some(true))
    }

    /// The one text of a claim that names people. An address may be one that nothing is said of, but none that is said not to
    /// be theirs.
    fn name(&self, claim: &str) -> Option<&str> {
        if claim == "email" {
            return self.email.as_deref().filter(|_| self.is_verified != Some(false));
        }
        match self.values(claim).as_slice() {
            [name] => Some(*name),
            _ => None,
        }
    }

    /// The texts of a claim that says what people may do; dots lead into it, unless it has that name. An address counts if it
    /// is said to be theirs.
    fn values(&self, claim: &str) -> Vec<&str> {
        let found = match claim {
            "email" => return self.verified_email().into_iter().collect(),
            name => self.claims.get(name).or_else(|| {
                let (first, rest) = name.split_once('.')?;
                rest.split('.').try_fold(self.claims.get(first)?, |value, part| value.get(part))
            }),
        };
        match found {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// What an ID token says, if it is one of the provider, for this server, for this sign-in, and not over.
fn verified(
    client: &Relying,
    tokens: &Tokens,
    nonce: &Nonce,
    now: Timestamp,
) -> Result<Said, ClaimsVerificationError> {
    let other = |text: &str| ClaimsVerificationError::Other(text.to_owned());
    let token = tokens.id_token().ok_or_else(|| other("there is no ID token"))?;
    let at = DateTime::<Utc>::from_timestamp(now.as_second(), 0).unwrap_or_default();
    let verifier = client.id_token_verifier().set_time_fn(move || at).set_allowed_algs(SIGNED_BY);
    let claims = token.claims(&verifier, nonce)?;
    if claims.authorized_party().is_some_and(|party| party != client.client_id()) {
        return Err(ClaimsVerificationError::InvalidAudience("the token is another client's".to_owned()));
    }
    Ok(Said {
        subject: claims.subject().to_string(),
        email: claims.email().map(|email| email.to_string()),
        is_verified: claims.email_verified(),
        claims: all_claims(claims),
    })
}

/// Claims by name, those of the standard among them.
fn all_claims(claims: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(claims) {
        Ok(Value::Object(claims)) => claims.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// An error with what caused it, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let visible = text.chars().map(|each| if each.is_control() { ' ' } else { each });
    visible.take(OIDC_ERROR_CHARS_MAX).collect()
}

/// An answer that cannot be read at a place.
fn unreadable(place: &impl std::fmt::Display) -> OidcError {
    OidcError::Provider(format!("its answer cannot be read at '{place}'"))
}

/// Asks a provider: itself wherever it is, and what it names elsewhere where requests may go.
struct Caller {
    /// Scheme, host and port.
    origin: (Option<String>, Option<String>, Option<u16>),
    own: Asker,
    elsewhere: Asker,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("it names an address that is not over TLS")]
    Plain,
}

impl Caller {
    fn new(settings: &OidcSettings, reach: Reach) -> Result<Self, String> {
        let issuer = settings.issuer.as_str().parse().map_err(|_| "the issuer is no URL".to_owned())?;
        let own = match &settings.ca {
            None => {
                Asker::new(Reach::Anywhere).map_err(|error| format!("no TLS for the provider: {error}"))?
            }
            Some(path) => std::fs::read(path)
                .map_err(|error| error.to_string())
                .and_then(|pem| Asker::trusting_pem(Reach::Anywhere, &pem))
                .map_err(|error| format!("oidc-ca: {}: {error}", path.display()))?,
        };
        Ok(Self { origin: origin(&issuer), elsewhere: own.reaching(reach), own })
    }

    /// Whether people and requests may go by a scheme.
    fn is_safe(&self, scheme: &str) -> bool {
        scheme == "https" || (scheme == "http" && self.origin.0.as_deref() == Some("http"))
    }
}

fn origin(url: &http::Uri) -> (Option<String>, Option<String>, Option<u16>) {
    let scheme = url.scheme_str().map(str::to_owned);
    let port = url.port_u16().or(match scheme.as_deref() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    });
    (scheme, url.host().map(str::to_ascii_lowercase), port)
}

impl<'c> AsyncHttpClient<'c> for Caller {
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, CallError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let asked = origin(request.uri());
            let asker = if asked == self.origin { &self.own } else { &self.elsewhere };
            if !self.is_safe(asked.0.as_deref().unwrap_or_default()) {
                return Err(CallError::Plain);
            }
            Ok(asker.ask(request, OIDC_PATIENCE, OIDC_ANSWER_BYTES_MAX).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(claims: Value, is_verified: Option<bool>) -> Said {
        let email = claims["email"].as_str().map(str::to_owned);
        let claims = serde_json::from_value(claims).expect("claims");
        Said { subject: "00u1".to_owned(), email, is_verified, claims }
    }

    #[test]
    fn one_text_names_a_person_and_an_address_if_it_is_not_said_to_be_anothers() {
        let claims = json!({
            "sub": "00u1", "email": "ann@example.com", "upn": "ann", "names": ["ann", "bob"], "empty": [], "at": {"work": "a.n"},
        });
        for (claim, is_verified, name) in [
            ("sub", None, Some("00u1")),
            ("upn", None, Some("ann")),
            ("at.work", None, Some("a.n")),
            ("names", None, None),
            ("empty", None, None),
            ("unheard", None, None),
            ("email", Some(true), Some("ann@example.com")),
            ("email", None, Some("ann@example.com")),
            ("email", Some(false), None),
        ] {
            assert_eq!(said(claims.clone(), is_verified).name(claim), name, "{claim} {is_verified:?}");
        }
        assert_eq!(said(claims, None).values("email"), Vec::<&str>::new(), "no role by such an address");
    }

    #[test]
    fn a_claim_is_a_text_or_a_list_of_them_and_may_lie_in_another() {
        let claims = json!({
            "sub": "00u1", "email": "ann@example.com", "roles": ["read", 7, null, "admin"], "groups": "ops", "realm_access": {"roles": ["manage"], "deep": {"x": "y"}},
            "https://example.com/roles": "named", "none": {"a": true},
        });
        let said = said(claims, Some(true));
        for (claim, values) in [
            ("roles", vec!["read", "admin"]),
            ("groups", vec!["ops"]),
            ("realm_access.roles", vec!["manage"]),
            ("realm_access.deep.x", vec!["y"]),
            ("https://example.com/roles", vec!["named"]),
            ("email", vec!["ann@example.com"]),
            ("sub", vec!["00u1"]),
            ("none", vec![]),
            ("none.a", vec![]),
            ("realm_access", vec![]),
            ("roles.0", vec![]),
            ("unheard", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(said.values(claim), values, "{claim}");
        }
    }
}
