//! Rules of `Cargo.toml` files: dependencies point one way, and each shared one has its reason.

use toml::{Table, Value};

use super::Finding;
use crate::Result;

/// Which of our crates each may build on. Tests may use more: `[dev-dependencies]` are not looked at.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("tollgate-domain", &[]),
    ("tollgate-storage", &["tollgate-domain"]),
    // Under the feature that puts them under the model checker.
    ("tollgate-schedules", &[]),
    // How threads share the cores.
    ("tollgate-threads", &[]),
    // Private servers of others for tests.
    ("tollgate-peers", &[]),
    // How services of AWS are asked.
    ("tollgate-aws", &[]),
    (
        "tollgate-backends",
        &["tollgate-domain", "tollgate-storage", "tollgate-aws", "tollgate-schedules", "tollgate-threads"],
    ),
    ("tollgate-engine", &["tollgate-domain", "tollgate-storage", "tollgate-schedules", "tollgate-threads"]),
    (
        "tollgate-notifier",
        &["tollgate-domain", "tollgate-storage", "tollgate-aws", "tollgate-engine", "tollgate-api"],
    ),
    ("tollgate-api", &["tollgate-domain"]),
    ("tollgate-console", &["tollgate-domain", "tollgate-api"]),
    (
        "tollgate-server",
        &[
            "tollgate-domain",
            "tollgate-storage",
            "tollgate-backends",
            "tollgate-engine",
            "tollgate-notifier",
            "tollgate-api",
            "tollgate-console",
            "tollgate-threads",
        ],
    ),
    (
        "tollgate",
        &[
            "tollgate-domain",
            "tollgate-storage",
            "tollgate-backends",
            "tollgate-api",
            "tollgate-server",
            "tollgate-threads",
        ],
    ),
    (
        "tollgate-testing",
        &[
            "tollgate-domain",
            "tollgate-storage",
            "tollgate-backends",
            "tollgate-engine",
            "tollgate-notifier",
            "tollgate-api",
            "tollgate-server",
        ],
    ),
    // Tests of the finished binary, over HTTP: what they need of ours they name as a dependency of tests.
    ("tollgate-e2e", &[]),
    // Published for others: it needs none of ours.
    ("tollgate-client", &[]),
    ("tollgate-bench", &["tollgate-peers"]),
    ("tollgate-fuzz", &["tollgate-domain", "tollgate-storage", "tollgate-backends", "tollgate-api"]),
    ("xtask", &[]),
];

/// Every rule on one manifest.
pub(super) fn check(path: &str, text: &str) -> Result<Vec<Finding>> {
    let manifest: Table = text.parse().map_err(|error| format!("{path}: {error}"))?;
    let mut findings = uncommented(path, text);
    if let Some(name) = manifest.get("package").and_then(|package| package.get("name")?.as_str()) {
        findings.extend(wrong_way(path, text, name, &manifest));
    }
    Ok(findings)
}

/// Dependencies on crates of ours that this crate may not build on.
fn wrong_way(path: &str, text: &str, name: &str, manifest: &Table) -> Vec<Finding> {
    let ours = dependencies(manifest);
    let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        let rule = format!(
            "`{name}` has no place in the order of crates: give it one in xtask/src/tidy/manifests.rs"
        );
        return vec![Finding::new(path, 1, rule)];
    };
    let wrong = ours.iter().filter(|dependency| !allowed.contains(&dependency.as_str()));
    wrong
        .map(|dependency| {
            let at = text.lines().position(|line| line.trim_start().starts_with(dependency.as_str()));
            let rule = format!("`{name}` may not build on `{dependency}`: dependencies point one way");
            Finding::new(path, at.map_or(1, |index| index + 1), rule)
        })
        .collect()
}

/// Our own crates among the dependencies, also the build's and those of one platform only.
fn dependencies(manifest: &Table) -> Vec<String> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(Value::as_table));
    let sections =
        tables.flat_map(|table| ["dependencies", "build-dependencies"].map(|name| table.get(name)));
    let names = sections.flatten().filter_map(Value::as_table).flat_map(Table::keys);
    names.filter(|name| *name == "tollgate" || name.starts_with("tollgate-")).cloned().collect()
}

/// Shared dependencies without a reason: a comment directly above, or above the first of an unbroken run.
fn uncommented(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut inside, mut explained, mut open_brackets) = (false, false, 0_usize);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') && open_brackets == 0 {
            inside = line == "[workspace.dependencies]";
            explained = false;
        } else if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if inside {
            if open_brackets == 0 && !explained {
                let name = line.split(['=', '.']).next().unwrap_or_default().trim();
                let rule = format!("`{name}`: a shared dependency has a comment above it that says why");
                findings.push(Finding::new(path, index + 1, rule));
            }
            let count = |bracket| line.matches(bracket).count();
            open_brackets = (open_brackets + count('[') + count('{')).saturating_sub(count(']') + count('}'));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(usize, String)> {
        check("Cargo.toml", text).unwrap().into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn dependencies_point_one_way() {
        let engine = |dependencies: &str| format!("[package]\nname = \"tollgate-engine\"\n{dependencies}\n");
        let fine = [
            "[dependencies]\ntollgate-domain.workspace = true\ntollgate-storage.workspace = true\ntokio = \"1\"",
            "[dev-dependencies]\ntollgate-backends.workspace = true",
        ];
        for dependencies in fine {
            assert_eq!(rules(&engine(dependencies)), [], "{dependencies}");
        }
        for wrong in [
            "[dependencies]\ntollgate-backends.workspace = true",
            "[dependencies]\ntollgate-backends = { path = \"../backends\", optional = true }",
            "[build-dependencies]\ntollgate-server.workspace = true",
            "[target.'cfg(unix)'.dependencies]\ntollgate-api.workspace = true",
        ] {
            let found = rules(&engine(wrong));
            assert_eq!(found.len(), 1, "{wrong}");
            assert_eq!(found[0].0, 4, "{wrong}");
        }
    }

    #[test]
    fn a_new_crate_is_given_its_place() {
        assert_eq!(rules("[package]\nname = \"tollgate-extra\"\n").len(), 1);
    }

    #[test]
    fn a_shared_dependency_has_a_reason() {
        let text = "\
[workspace.dependencies]
# Ours.
a = { path = \"a\" }
b = { path = \"b\" }

c = \"1\"
# Many
# words.
d = { version = \"1\", features = [
  \"x\",
] }
e = \"1\"

[profile.release]
f = 1
";
        let found = rules(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 6);
    }
}
