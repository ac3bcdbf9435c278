//! A browser as far as it matters: it keeps cookies by host, follows redirects, and fills in the forms of the provider.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;
use crate::tools::{program, run, tool};

/// The server, as people reach it.
pub(super) const HOME: &str = "http://tollgate.test";

/// Redirects and forms between two pages of the server.
const STEPS_MAX: usize = 20;

pub(super) struct Browser {
    home: SocketAddr,
    /// By host, then by name.
    jar: BTreeMap<String, BTreeMap<String, String>>,
    /// Every cookie that the server gave, as it did.
    pub(super) cookies_set: Vec<String>,
    /// What the last page's form brings back.
    token: String,
}

impl Browser {
    pub(super) fn new(server: &TestServer) -> Self {
        Self { home: server.address(), jar: BTreeMap::new(), cookies_set: Vec::new(), token: String::new() }
    }

    /// Opens a page of the server, and follows no redirect.
    pub(super) fn get(&mut self, path: &str) -> Reply {
        self.visit(&format!("{HOME}{path}"))
    }

    /// A page of the server that must be there.
    #[track_caller]
    pub(super) fn page(&mut self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {} {:?}", reply.text(), reply.headers);
        reply.text()
    }

    /// Sends a form of the last page.
    pub(super) fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let token = self.token.clone();
        self.send_with(path, fields, &token)
    }

    pub(super) fn send_with(&mut self, path: &str, fields: &[(&str, &str)], token: &str) -> Reply {
        self.post(&format!("{HOME}{path}"), &[fields, &[("token", token)]].concat())
    }

    /// Signs in; gives the page that one sees then.
    #[track_caller]
    pub(super) fn sign_in(&mut self, login: &str) -> String {
        self.sign_in_at("/console/sign-in/oidc", login)
    }

    #[track_caller]
    pub(super) fn sign_in_at(&mut self, path: &str, login: &str) -> String {
        self.walk(path, login).text()
    }

    /// Goes from a page of the server to the provider, signs in there, and comes back.
    #[track_caller]
    pub(super) fn walk(&mut self, path: &str, login: &str) -> Reply {
        match self.steps(path, login, false) {
            Ok(reply) => reply,
            Err(url) => panic!("it ends at {url}"),
        }
    }

    /// The same up to the address that the provider sends one back to.
    #[track_caller]
    pub(super) fn until_back(&mut self, path: &str, login: &str) -> String {
        self.steps(path, login, true).expect_err("it comes back")
    }

    fn steps(&mut self, path: &str, login: &str, stops: bool) -> Result<Reply, String> {
        let mut url = format!("{HOME}{path}");
        let mut reply = self.visit(&url);
        for _ in 0..STEPS_MAX {
            let refresh = reply.header("refresh").and_then(|refresh| refresh.strip_prefix("0; url="));
            if let Some(to) = reply.header("location").or(refresh) {
                url = resolved(&url, to);
                if stops && url.starts_with(&format!("{HOME}/console/sign-in/oidc/callback")) {
                    return Err(url);
                }
                reply = self.visit(&url);
                continue;
            }
            if url.starts_with(HOME) {
                return Ok(reply);
            }
            let page = reply.text();
            let prompt = between(&page, "name=\"prompt\" value=\"", "\"");
            url = resolved(&url, between(&page, "action=\"", "\""));
            let fields = [("prompt", prompt), ("login", login), ("password", "any")];
            reply = self.post(&url, &fields);
        }
        panic!("it goes round in circles: {url}");
    }

    /// Opens any page, and follows no redirect.
    pub(super) fn visit(&mut self, url: &str) -> Reply {
        self.ask(url, Ask::new("GET", &path_of(url)))
    }

    fn post(&mut self, url: &str, fields: &[(&str, &str)]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let ask = Ask::new("POST", &path_of(url));
        self.ask(url, ask.header("content-type", "application/x-www-form-urlencoded").body(body))
    }

    fn ask(&mut self, url: &str, ask: Ask) -> Reply {
        let host = host_of(url).to_owned();
        let address = if url.starts_with(HOME) { self.home } else { host.parse().expect("an address") };
        let cookies = self.jar.entry(host.clone()).or_default();
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let reply = Client::new(address).ask(&ask.header("host", &host).header("cookie", &pairs.join("; ")));
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            if value.is_empty() {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
            if url.starts_with(HOME) {
                self.cookies_set.push(cookie.clone());
            }
        }
        if let Some((_, rest)) = reply.text().split_once("name=\"token\" value=\"") {
            self.token = rest.split('"').next().expect("a token").to_owned();
        }
        reply
    }

    /// A cookie of the server.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        self.jar.get(host_of(HOME))?.get(name).cloned()
    }

    /// Gives it a cookie of the server.
    pub(super) fn plant(&mut self, name: &str, value: &str) {
        self.jar.entry(host_of(HOME).to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }

    /// The values of all cookies of the server.
    pub(super) fn cookies(&self) -> Vec<String> {
        self.jar.get(host_of(HOME)).into_iter().flat_map(|jar| jar.values().cloned()).collect()
    }
}

fn host_of(url: &str) -> &str {
    url.split("//").nth(1).expect("a host").split(['/', '?']).next().expect("a host")
}

fn path_of(url: &str) -> String {
    let path = url.split("//").nth(1).expect("a host").split_once('/').map_or("", |(_, path)| path);
    format!("/{path}")
}

/// Where an address on a page leads.
fn resolved(url: &str, to: &str) -> String {
    if to.starts_with('/') {
        format!("{}//{}{to}", url.split("//").next().expect("a scheme"), host_of(url))
    } else {
        to.to_owned()
    }
}

#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before}: {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after}: {rest}")).0
}

/// The values of the query of an address.
pub(super) fn query(url: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(url.split_once('?').map_or("", |(_, query)| query).as_bytes())
        .into_owned()
        .collect()
}

/// Signs in with Chromium; gives what the console then says of who that is.
pub(super) fn chromium(server: &TestServer, login: &str) -> String {
    let mut node = Command::new(program("node"));
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc/browser.cjs"))
        .args([HOME, &server.address().to_string(), login])
        .env("NODE_PATH", tool("browser").join("node_modules"))
        .env("CHROMIUM", program("chromium"));
    run(node)
}
