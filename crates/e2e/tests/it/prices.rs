//! The prices of models that LiteLLM publishes, as its package carries them: what it makes of a call is what we do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tollgate_e2e::{Result, Tollgate};

use crate::clients::{finish, tool};

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "open"
name = "Open"
"#;

/// Has LiteLLM price calls of models of its table, by its own arithmetic: a line of JSON for each that it can.
const LITELLM: &str = r#"
import json, sys
from decimal import Decimal
import litellm

# Models that LiteLLM itself does not price by the numbers of its table: cheaper hours, experiments that are free, and
# Perplexity's, whose prices by size it does not look at.
def by_its_numbers(model, entry):
    return "off_peak_pricing" not in entry and "-exp-" not in model and not model.startswith("perplexity/")

for model, entry in sorted(litellm.model_cost.items()):
    if not by_its_numbers(model, entry):
        continue
    if entry.get("mode") not in ("chat", "responses", "completion", "embedding"):
        continue
    outputs = (0,) if entry.get("mode") == "embedding" else (0, 777)
    for prompt in (1_000, 250_000):
        for output in outputs:
            try:
                costs = litellm.cost_per_token(
                    model=model, custom_llm_provider=entry["litellm_provider"], prompt_tokens=prompt, completion_tokens=output
                )
            except Exception:
                continue
            cost = sum(Decimal(repr(cost)) for cost in costs)
            print(json.dumps({"model": model, "input": prompt, "output": output, "usd": str(cost)}))
"#;

fn table() -> Result<PathBuf> {
    let pythons = fs::read_dir(tool("litellm")?.join("lib"))?.flatten().map(|python| python.path());
    let tables = pythons
        .map(|python| python.join("site-packages/litellm/model_prices_and_context_window_backup.json"));
    let table = tables.into_iter().find(|table| table.is_file());
    Ok(table.ok_or("the package of LiteLLM has no table of prices")?)
}

fn prices(verb: &str, catalog: &str, more: &[&str]) -> Result<String> {
    let table = table()?;
    let table = table.to_str().ok_or("a path that is text")?;
    let args = [&["prices", verb, table, "--catalog", catalog], more].concat();
    let ran = Tollgate::command(&args).run()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() {
        return Ok(said);
    }
    Err(format!("{args:?}: {said}{}", String::from_utf8_lossy(&ran.stderr)).into())
}

#[test]
fn every_model_of_litellm_costs_here_what_it_costs_there() -> Result<()> {
    let _machine = super::beside_others();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("catalog.toml");
    let catalog = file.to_str().ok_or("a path that is text")?;
    fs::write(&file, CATALOG)?;
    let said = prices("import", catalog, &[])?;
    println!("{said}");
    // Twice is once, and only a choice of models would change it.
    assert_eq!(prices("diff", catalog, &[])?, "nothing changes\n");
    assert!(prices("diff", catalog, &["--model", "gpt-4o"])?.contains("- model gpt-4o-mini\n"));
    let text = fs::read_to_string(&file)?;
    assert!(text.contains("source = \"litellm 1.106.12\"\ndate = \"20"), "{}", &text[..1_000]);
    let server = Tollgate::serve_small(&folder.path().join("data"), 1 << 20).start()?;
    let mut client = server.client();
    let url = format!("http://{}", server.address());
    let applied = Tollgate::command(&["catalog", "apply", catalog, "--url", &url]).run()?;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    client.expect_ok("PUT", "/v1/orgs/acme/plan", Some(&json!({"plan": "open"})))?;
    let mut there = Command::new(tool("litellm")?.join("bin/python"));
    there
        .args(["-c", LITELLM])
        .env_clear()
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .current_dir(folder.path());
    let (mut same, mut unknown, mut different) = (0_u32, 0_u32, BTreeMap::new());
    // It says more, of models that it cannot price.
    for line in finish(&mut there)?.lines().filter(|line| line.starts_with('{')) {
        let call: Value = serde_json::from_str(line)?;
        let asked = json!({"org": "acme", "meter": "usd", "call": {
            "model": call["model"], "input_tokens": call["input"], "output_tokens": call["output"],
        }});
        let reply = client.call("POST", "/v1/usage/check", Some(&asked))?;
        let body = reply.json()?;
        let theirs: f64 = call["usd"].as_str().ok_or("a text")?.parse()?;
        match body["quantity"].as_f64() {
            Some(ours) if (ours - theirs).abs() <= 1e-9 => same += 1,
            // What costs nothing there, or has no price for tokens, is no model here.
            None if body["code"] == "no_price" => unknown += 1,
            ours => {
                different.insert(call.to_string(), ours);
            }
        }
    }
    println!("{same} calls cost the same, {unknown} have no price here");
    assert!(same > 5_000, "only {same} calls were compared");
    let shown: Vec<_> = different.iter().take(40).collect();
    assert!(different.is_empty(), "{} calls differ: {shown:#?}", different.len());
    server.stop()
}
