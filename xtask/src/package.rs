//! `package`: a Debian package of a binary, linted, and installed into a folder, upgraded and removed again; `formula`: what
//! Homebrew needs of a release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::process::{build_published, output, root, run as run_command, say, target_folder};
use crate::tools::ensure;
use crate::unit;

/// Who answers for a package, unless `TOLLGATE_MAINTAINER` says so.
const MAINTAINER: &str = "Tollgate contributors <tollgate@users.noreply.github.com>";

/// Makes the package of a binary, or of the one that it builds for release.
pub(crate) fn run(binary: Option<&str>) -> Result<()> {
    ensure("dpkg-shlibdeps", &["dpkg-dev"])?;
    ensure("strip", &["binutils"])?;
    let binary = match binary {
        Some(binary) => root()?.join(binary),
        None => build_published(None)?,
    };
    let made = target_folder()?.join("packages");
    fs::create_dir_all(&made)?;
    let package = build(&binary, &made)?;
    ensure("lintian", &["lintian"])?;
    let mut lint = Command::new("lintian");
    lint.args(["--fail-on", "error,warning", "--tag-display-limit", "0", "--allow-root"]).arg(&package);
    run_command(lint)?;
    try_out(&package, &made.join("root"))?;
    say(&format!("package: {}", package.display()))
}

/// Lays out what is in the package, and packs it.
fn build(binary: &Path, made: &Path) -> Result<PathBuf> {
    let tree = made.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let source = root()?;
    let put = |to: &str, mode: u32, bytes: Vec<u8>| -> Result<()> {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().ok_or("a file lies in a folder")?)?;
        fs::write(&to, bytes)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    };
    put("usr/bin/tollgate", 0o755, fs::read(binary)?)?;
    let program = tree.join("usr/bin/tollgate");
    let mut strip = Command::new("strip");
    strip.args(["--strip-all", "--remove-section=.comment"]).arg(&program);
    run_command(strip)?;
    let unit = fs::read_to_string(source.join("deploy/systemd/tollgate.service"))?;
    // What comes before the first section says how to install it by hand.
    let unit = unit.get(unit.find("[Unit]").unwrap_or(0)..).unwrap_or_default();
    put(
        "usr/lib/systemd/system/tollgate.service",
        0o644,
        unit.replace("/usr/local/bin/", "/usr/bin/").into(),
    )?;
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/tollgate"),
        ("zsh", "usr/share/zsh/vendor-completions/_tollgate"),
        ("fish", "usr/share/fish/vendor_completions.d/tollgate.fish"),
    ] {
        let mut completions = Command::new(&program);
        completions.args(["completions", shell]);
        put(to, 0o644, output(completions)?.into())?;
    }
    let copyright = [
        "Upstream-Name: Tollgate\n\n".to_owned(),
        fs::read_to_string(source.join("LICENSE"))?,
        "\nThe Apache License, Version 2.0, is in /usr/share/common-licenses/Apache-2.0.\n\n".to_owned(),
        fs::read_to_string(source.join("LICENSE-MIT"))?,
    ];
    put("usr/share/doc/tollgate/copyright", 0o644, copyright.concat().into())?;
    put("usr/share/doc/tollgate/examples/catalog.toml", 0o644, fs::read(source.join("catalog.toml"))?)?;
    let (version, architecture) = (version()?, dpkg_architecture()?);
    let maintainer = std::env::var("TOLLGATE_MAINTAINER").unwrap_or_else(|_| MAINTAINER.to_owned());
    let mut date = Command::new("date");
    date.arg("--rfc-email");
    let changes = format!(
        "tollgate ({version}) unstable; urgency=medium\n\n  * Release {version}. NEWS.gz says what changed.\n\n \
         -- {maintainer}  {}",
        output(date)?
    );
    for (name, bytes) in [("changelog", changes.into()), ("NEWS", fs::read(source.join("CHANGELOG.md"))?)] {
        let file = format!("usr/share/doc/tollgate/{name}");
        put(&file, 0o644, bytes)?;
        let mut gzip = Command::new("gzip");
        gzip.args(["-9", "-n"]).arg(tree.join(file));
        run_command(gzip)?;
    }
    let from = |name: &str| fs::read(source.join("deploy/debian").join(name));
    put("usr/share/lintian/overrides/tollgate", 0o644, from("lintian-overrides")?)?;
    for script in ["postinst", "prerm", "postrm"] {
        put(&format!("DEBIAN/{script}"), 0o755, from(script)?)?;
    }
    // The key is made when the package is installed, and is nobody else's business.
    let settings = tree.join("etc/tollgate");
    fs::create_dir_all(&settings)?;
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o700))?;
    let fields = [
        ("@VERSION@", version.clone()),
        ("@ARCHITECTURE@", architecture.clone()),
        ("@MAINTAINER@", maintainer),
        ("@SIZE@", (fs::metadata(&program)?.len() / 1024).to_string()),
        ("@DEPENDS@", format!("{}, init-system-helpers (>= 1.54)", libraries(&program, made)?)),
    ];
    put("DEBIAN/control", 0o644, filled(&String::from_utf8(from("control")?)?, &fields).into())?;
    let package = made.join(format!("tollgate_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--build", "--root-owner-group", "-Zxz"]).arg(&tree).arg(&package);
    run_command(pack)?;
    Ok(package)
}

/// Packages with the libraries that a program is linked with.
fn libraries(program: &Path, made: &Path) -> Result<String> {
    let folder = made.join("shlibdeps");
    fs::create_dir_all(folder.join("debian"))?;
    // It asks for a source package, which there is none of.
    fs::write(folder.join("debian/control"), "Source: tollgate\n\nPackage: tollgate\nArchitecture: any\n")?;
    let mut find = Command::new("dpkg-shlibdeps");
    find.arg("-O").arg(format!("-e{}", program.display())).current_dir(&folder);
    let found = output(find)?;
    let found = found.trim().strip_prefix("shlibs:Depends=").ok_or("dpkg-shlibdeps names no package")?;
    Ok(found.to_owned())
}

fn version() -> Result<String> {
    let manifest = fs::read_to_string(root()?.join("Cargo.toml"))?;
    let found = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(found.ok_or("Cargo.toml says no version")?.to_owned())
}

fn dpkg_architecture() -> Result<String> {
    let mut ask = Command::new("dpkg");
    ask.arg("--print-architecture");
    Ok(output(ask)?.trim().to_owned())
}

fn filled(text: &str, fields: &[(&str, String)]) -> String {
    fields.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Installs the package into a folder of its own, installs it again, removes and purges it; looks each time what is there.
fn try_out(package: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.join("var/lib/dpkg/info"))?;
    fs::create_dir_all(folder.join("var/lib/dpkg/updates"))?;
    for file in ["status", "available"] {
        fs::write(folder.join("var/lib/dpkg").join(file), "")?;
    }
    let dpkg = |args: &[&str]| -> Result<()> {
        let mut dpkg = Command::new("dpkg");
        // Maintainer scripts run in place and are told the folder; what the package depends on is not in it.
        dpkg.arg(format!("--root={}", folder.display()));
        dpkg.args(["--force-not-root", "--force-script-chrootless", "--force-depends", "--log=/dev/null"]);
        run_command({
            dpkg.args(args);
            dpkg
        })
    };
    let package = package.display().to_string();
    let (program, settings) = (folder.join("usr/bin/tollgate"), folder.join("etc/tollgate/env"));
    dpkg(&["--install", &package])?;
    let mut says = Command::new(&program);
    says.arg("--version");
    let says = output(says)?;
    check(says.contains(&version()?), "the installed program says another version")?;
    let key = fs::read_to_string(&settings)?;
    let secret = key.trim().strip_prefix("TOLLGATE_API_KEY=").unwrap_or_default();
    check(secret.len() == 64, "no API key was made")?;
    check(fs::metadata(&settings)?.permissions().mode() & 0o077 == 0, "others may read the API key")?;
    let unit = fs::read_to_string(folder.join("usr/lib/systemd/system/tollgate.service"))?;
    check(unit.contains("\nExecStart=/usr/bin/tollgate serve\n"), "the unit starts another program")?;
    unit::verify(&unit)?;
    dpkg(&["--install", &package])?;
    check(fs::read_to_string(&settings)? == key, "an upgrade changed the API key")?;
    dpkg(&["--remove", "tollgate"])?;
    check(!program.exists() && settings.exists(), "removing leaves the settings and nothing else")?;
    dpkg(&["--purge", "tollgate"])?;
    check(!settings.exists(), "purging leaves no key")
}

fn check(holds: bool, fault: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

/// Writes `tollgate.rb` into a folder with the sums of a release; the repository is that of GitHub's runner.
pub(crate) fn formula(folder: &str) -> Result<()> {
    let repository = std::env::var("GITHUB_REPOSITORY")
        .map_err(|_| "GITHUB_REPOSITORY must say whose release it is: OWNER/NAME")?;
    let (folder, version) = (root()?.join(folder), version()?);
    let mut fields = vec![("@REPOSITORY@", repository), ("@VERSION@", version.clone())];
    for (field, target) in [
        ("@aarch64-apple-darwin@", "aarch64-apple-darwin"),
        ("@aarch64-unknown-linux-gnu@", "aarch64-unknown-linux-gnu"),
        ("@x86_64-unknown-linux-gnu@", "x86_64-unknown-linux-gnu"),
    ] {
        let path = folder.join(format!("tollgate-v{version}-{target}.tar.gz.sha256"));
        let sums = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let sum = sums.split_whitespace().next().filter(|sum| sum.len() == 64);
        fields.push((field, sum.ok_or_else(|| format!("{} has no SHA-256", path.display()))?.to_owned()));
    }
    let template = fs::read_to_string(root()?.join("deploy/homebrew/tollgate.rb"))?;
    let formula = filled(&template, &fields);
    check(!formula.contains('@'), "the formula has a field that nothing fills")?;
    let path = folder.join("tollgate.rb");
    fs::write(&path, formula)?;
    say(&path.display().to_string())
}

/// Fills the formula with made-up sums and has Ruby read it.
pub(crate) fn check_formula() -> Result<()> {
    ensure("ruby", &["ruby"])?;
    let template = fs::read_to_string(root()?.join("deploy/homebrew/tollgate.rb"))?;
    let names = template.split('@').skip(1).step_by(2).map(|name| (format!("@{name}@"), "0".repeat(64)));
    let fields: Vec<(String, String)> = names.collect();
    let fields: Vec<(&str, String)> = fields.iter().map(|(name, sum)| (name.as_str(), sum.clone())).collect();
    let file = target_folder()?.join("tollgate.rb");
    fs::write(&file, filled(&template, &fields))?;
    let mut ruby = Command::new("ruby");
    ruby.arg("-cw").arg(&file);
    output(ruby).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_wherever_they_stand() {
        let fields = [("@A@", "1".to_owned()), ("@B@", "2".to_owned())];
        assert_eq!(filled("@A@ and @B@, @A@", &fields), "1 and 2, 1");
    }
}
