//! Whatever is sent is answered with a problem that names it, changes nothing, and leaves the server well.

mod bodies;
mod edge;
mod encoded;
mod routes;
mod usage;

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Ask;
use crate::server::TestServer;

/// How long headers and bodies may take in these tests.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A server with an org that has used something, and what is told of it.
struct Scene {
    server: TestServer,
    before: (Value, Value),
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::with(|settings| settings.request_timeout = REQUEST_TIMEOUT);
        let mut client = server.client();
        client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
        let usage = json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 3, "key": "taken"});
        client.post("/v1/usage", usage).ok();
        let top_up = json!({"meter": "reports", "amount": 5, "key": "taken"});
        client.post("/v1/orgs/acme/top-ups", top_up).ok();
        let before = Self::seen(&server);
        Self { server, before }
    }

    fn seen(server: &TestServer) -> (Value, Value) {
        let mut client = server.client();
        (client.get("/v1/orgs/acme").ok(), client.get("/v1/orgs/acme/balance").ok())
    }

    /// The server is alive and the org as it was.
    #[track_caller]
    fn is_unchanged(&self, after: &str) {
        assert_eq!(Self::seen(&self.server), self.before, "after {after}");
    }
}

type Case = (&'static str, Ask, u16, &'static str, Option<&'static str>);

fn check(cases: Vec<Case>) {
    let scene = Scene::new();
    for (name, ask, status, code, field) in cases {
        println!("{name}");
        let mut client = scene.server.client();
        client.ask(&ask).is_problem(status, code, field);
        scene.is_unchanged(name);
        // The connection is good for the next request too.
        assert_eq!(client.get("/health").ok()["status"], "healthy", "after {name}");
    }
}

fn usage(members: &str) -> Ask {
    Ask::new("POST", "/v1/usage")
        .header("content-type", "application/json")
        .body(format!(r#"{{"org":"acme","meter":"reports","key":"k"{members}}}"#))
}

fn body(method: &str, path: &str, body: &str) -> Ask {
    Ask::new(method, path).header("content-type", "application/json").body(body)
}
