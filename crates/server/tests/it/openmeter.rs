//! The published client of OpenMeter against the events API.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::Ask;
use crate::events::{MAPPINGS, counted};
use crate::server::TestServer;
use crate::tools::{run, tool};
use tollgate_server::Secret;

#[test]
fn the_client_of_openmeter_is_served() {
    let key = "openmeter-admin";
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(key.to_owned())));
    let mut client = server.client().with_key(key);
    let catalog = format!("{}\n{MAPPINGS}", tollgate_domain::catalog::DEFAULT);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    // The client dates what has no time by its own clock, which is not the server's here.
    #[expect(clippy::disallowed_methods, reason = "the client's clock is the machine's")]
    let now = tollgate_domain::Timestamp::now();
    server.at(&now.to_string());
    let mut node = Command::new("node");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join("openmeter.cjs");
    node.arg(script).args([format!("http://{}", server.address()), key.to_owned()]);
    node.current_dir(tool("openmeter"));
    let said = run(node);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ended: Vec<_> =
        told.iter().map(|told| (told["call"].as_str().expect("a name"), &told["ok"])).collect();
    let [yes, no] = [&json!(true), &json!(false)];
    let wanted = [
        ("single", yes),
        ("batch", yes),
        ("retry", yes),
        ("own id, source and time", yes),
        ("wrong", no),
        ("stranger", no),
    ];
    assert_eq!(ended, wanted, "{said}");
    assert!(told[4].to_string().contains("[1].data.usage.tokens"), "{said}");
    assert!(told[5].to_string().contains("401"), "{said}");
    // 120 + 0.5 + 7 + 1, each once, and nothing of the request that was wrong.
    assert_eq!(counted(&mut client, "tokens"), json!(128.5));
    assert_eq!(counted(&mut client, "prompts"), json!(5));
}
