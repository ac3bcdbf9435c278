//! Deliberate bugs, each a patch of a few lines: built in a copy of the sources, to show that a test sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::process::{root, say, target_folder};

/// What of the repository is needed to build the crates.
const SOURCES: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "catalog.toml", "crates", "bench", "clients/rust", "xtask"];

/// Most characters of what a test says that are shown.
const SAYS_CHARS_MAX: usize = 110;

/// That a bug was found.
pub(crate) struct Found {
    /// After how much.
    pub(crate) after: String,
    /// What is wrong.
    pub(crate) says: String,
}

/// A search for deliberate bugs.
pub(crate) struct Hunt {
    /// Where the copy is built, below the folder of what is built.
    pub(crate) folder: &'static str,
    /// Where the patches are.
    pub(crate) bugs: &'static str,
    /// Builds and tests the patched sources: given a folder to build in and the sources.
    pub(crate) hunt: fn(&Path, &Path) -> Result<Option<Found>>,
}

impl Hunt {
    /// Puts each of the named bugs, or each, into the sources in turn, and tells after how much it was found.
    pub(crate) fn run(&self, names: &[&str]) -> Result<()> {
        let folder = target_folder()?.join(self.folder);
        let sources = folder.join("sources");
        let mut table = String::from("| bug | found after | what is said |\n| --- | --- | --- |\n");
        let mut missed = Vec::new();
        for patch in &self.patches(names)? {
            let began = Instant::now();
            let name = name_of(patch);
            for source in SOURCES {
                copy(&root()?.join(source), &sources.join(source))?;
            }
            let found = if applies(&sources, patch)? {
                (self.hunt)(&folder, &sources)?
            } else {
                say(&format!("{name}: the patch no longer applies"))?;
                None
            };
            let Found { after, says } = found.unwrap_or_else(|| {
                missed.push(name.clone());
                Found { after: "not found".to_owned(), says: String::new() }
            });
            let says = says.chars().take(SAYS_CHARS_MAX).collect::<String>().replace('|', "/");
            table.push_str(&format!("| {name} | {after} | {says} |\n"));
            say(&format!("{name}: {after} ({:.0} s)", began.elapsed().as_secs_f64()))?;
        }
        say(&format!("\n{table}"))?;
        if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join(", ")).into()) }
    }

    fn patches(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut patches: Vec<PathBuf> = fs::read_dir(root()?.join(self.bugs))?
            .map(|found| found.map(|found| found.path()))
            .collect::<std::io::Result<_>>()?;
        patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        patches.retain(|path| names.is_empty() || names.iter().any(|name| name_of(path).contains(name)));
        patches.sort();
        Ok(patches)
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Makes `to` what `from` is, leaving files alone that are the same: what is not touched is not built again.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let content = fs::read(from)?;
        if fs::read(to).ok().as_deref() != Some(&content) {
            fs::create_dir_all(to.parent().ok_or("a file lies in a folder")?)?;
            fs::write(to, content)?;
        }
        return Ok(());
    }
    let mut names = Vec::new();
    for found in fs::read_dir(from)? {
        let name = found?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
        names.push(name);
    }
    for found in fs::read_dir(to)? {
        let found = found?;
        if names.contains(&found.file_name()) {
            continue;
        }
        let path = found.path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
    }
    Ok(())
}

/// Applies a patch to the copied sources; false when it does not fit them any more.
fn applies(sources: &Path, patch: &Path) -> Result<bool> {
    let mut git = Command::new("git");
    // The copy lies inside the repository and is not part of it: git is not to look for one above.
    git.env("GIT_CEILING_DIRECTORIES", sources.parent().ok_or("the sources lie in a folder")?);
    git.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(sources);
    Ok(git.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_fits_the_sources() {
        for bugs in ["crates/testing/bugs", "crates/schedules/bugs"] {
            let hunt = Hunt { folder: "", bugs, hunt: |_, _| Ok(None) };
            for patch in hunt.patches(&[]).unwrap() {
                let mut git = Command::new("git");
                git.args(["apply", "--check", "--whitespace=nowarn"])
                    .arg(&patch)
                    .current_dir(root().unwrap());
                assert!(git.status().unwrap().success(), "{} no longer applies", patch.display());
            }
        }
    }

    #[test]
    fn a_copy_becomes_what_the_original_is() {
        let folder = std::env::temp_dir().join(format!("tollgate-xtask-copy-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir_all(to.join("old")).unwrap();
        fs::write(from.join("inner").join("a"), "1").unwrap();
        fs::write(to.join("gone"), "2").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("inner").join("a")).unwrap(), "1");
        assert!(!to.join("gone").exists() && !to.join("old").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
