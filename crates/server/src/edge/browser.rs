//! What a web page may make its visitor's browser do with this server.
//!
//! A browser sends requests for any page to any server that it reaches, this machine's own among them. Whether a request
//! comes from a page of another origin is said by `Sec-Fetch-Site`, or by `Origin` in browsers and on connections that
//! lack it. Programs send neither and are not affected.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Request};
use tollgate_api::{Code, Problem};

use crate::reply::Failure;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What protects the server from strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// API keys.
    Keys,
    /// Nothing but that it listens on loopback.
    Loopback,
    /// Nothing but its network, which is said to be trusted.
    TrustedNetwork,
}

/// Refuses what only a page of another origin would send.
///
/// A server without API keys protects itself by listening to its own machine only. A page reaches it there, under any
/// name that resolves to loopback (DNS rebinding), so such a server answers to the names of loopback alone and lets
/// foreign pages read nothing. In a trusted network it has names that it does not know, and foreign pages read nothing, too. Where keys exist, reading needs one, and only requests that may change something
/// are refused. `allowed` are the origins, such as `https://app.example.com`, whose pages may do everything.
pub(crate) fn admit(request: &Request<Body>, access: Access, allowed: &[String]) -> Result<(), Failure> {
    let host = host(request);
    if access == Access::Loopback && !host.is_some_and(is_loopback) {
        let detail = "Host: a server without API keys answers to localhost, 127.0.0.1 and [::1] only; make an API key to \
                      serve other names";
        return Err(Problem::new(Code::UnknownHost, detail).on_field("Host").into());
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if (reads && access == Access::Keys) || !is_foreign(request.headers(), host, allowed) {
        return Ok(());
    }
    if reads && is_top_level_navigation(request.headers()) {
        return Ok(());
    }
    let detail =
        "Origin: this request comes from a web page of another origin, which the server does not allow";
    Err(Problem::new(Code::ForeignOrigin, detail).on_field("Origin").into())
}

/// The host and port that the request is for, as its caller names them.
fn host(request: &Request<Body>) -> Option<&str> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    authority.or_else(|| text(request.headers(), &HOST))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Whether a name, with or without a port, is one of loopback.
fn is_loopback(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_name = name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_name && is_port(port)
}

/// A host may end with a colon and no port.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a page of another origin makes the request. Another port of the same host is another origin.
fn is_foreign(headers: &HeaderMap, host: Option<&str>, allowed: &[String]) -> bool {
    let origin = text(headers, &ORIGIN);
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed == origin)) {
        return false;
    }
    match (text(headers, &SEC_FETCH_SITE), origin) {
        (Some("same-origin" | "none"), _) | (None, None) => false,
        (Some(_), _) => true,
        // The scheme is not compared: a proxy in front of this server may speak TLS in its place.
        (None, Some(origin)) => origin.split_once("://").map(|(_, own)| own) != host,
    }
}

/// Whether a person follows a link to this server: the page that holds the link sees nothing of the answer.
fn is_top_level_navigation(headers: &HeaderMap) -> bool {
    text(headers, &SEC_FETCH_MODE) == Some("navigate") && text(headers, &SEC_FETCH_DEST) == Some("document")
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example.com";

    fn answer(method: &str, headers: &[(&str, &str)], access: Access) -> Option<Code> {
        let mut request = Request::builder().method(method).uri("/v1/orgs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        admit(&request, access, &[APP.to_owned()]).err().map(|failure| failure.problem.code)
    }

    #[test]
    fn a_server_without_keys_answers_to_the_names_of_loopback() {
        for (host, fine) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("tollgate:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8080", false),
            ("user@evil.example", false),
            ("10.0.0.1:8080", false),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("", false),
            ("localhost:", true),
            ("localhost:80:80", false),
            ("localhost:evil.example", false),
            ("user@localhost", false),
            ("[::1]evil.example", false),
            ("[::1]:8080:", false),
        ] {
            let refused = (!fine).then_some(Code::UnknownHost);
            for method in ["GET", "POST"] {
                assert_eq!(answer(method, &[("host", host)], Access::Loopback), refused, "{method} {host}");
                for access in [Access::Keys, Access::TrustedNetwork] {
                    assert_eq!(
                        answer(method, &[("host", host)], access),
                        None,
                        "{method} {host}, {access:?}"
                    );
                }
            }
        }
        assert_eq!(answer("GET", &[], Access::Loopback), Some(Code::UnknownHost), "no host at all");
    }

    #[test]
    fn pages_of_other_origins_change_nothing_and_read_only_what_needs_a_key() {
        let foreign = Some(Code::ForeignOrigin);
        let site = |site| vec![("sec-fetch-site", site)];
        let origin = |origin| vec![("origin", origin)];
        for (headers, post, get_without_keys) in [
            (vec![], None, None),
            (site("none"), None, None),
            (site("same-origin"), None, None),
            (site("same-site"), foreign, foreign),
            (site("cross-site"), foreign, foreign),
            (site("of-the-future"), foreign, foreign),
            (origin("http://localhost:8080"), None, None),
            (origin("https://localhost:8080"), None, None),
            (origin("http://localhost:3000"), foreign, foreign),
            (origin("http://127.0.0.1:8080"), foreign, foreign),
            (origin("https://evil.example"), foreign, foreign),
            (origin("null"), foreign, foreign),
            (origin(APP), None, None),
            (vec![("origin", APP), ("sec-fetch-site", "cross-site")], None, None),
            (vec![("origin", "https://app.example.com.evil.example")], foreign, foreign),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                foreign,
                None,
            ),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                foreign,
                foreign,
            ),
        ] {
            let headers = [headers, vec![("host", "localhost:8080")]].concat();
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(answer(method, &headers, Access::Loopback), post, "{method} {headers:?}");
                assert_eq!(answer(method, &headers, Access::Keys), post, "{method} {headers:?}, with keys");
            }
            for access in [Access::Loopback, Access::TrustedNetwork] {
                assert_eq!(answer("GET", &headers, access), get_without_keys, "GET {headers:?}, {access:?}");
            }
            assert_eq!(answer("GET", &headers, Access::Keys), None, "GET {headers:?}, with keys");
        }
    }
}
