//! Programs of others that tests run: what `cargo xtask tools` put into `target/tools/`.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of `target/tools/`.
pub(crate) fn tool(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    // The test program is target/PROFILE/deps/it-HASH, whatever the profile is called.
    let folder = test.ancestors().nth(3).expect("a target folder").join("tools").join(name);
    assert!(
        folder.join("made-for").is_file(),
        "{} is not there: `cargo xtask tools` installs it, and `cargo xtask test` does so by itself",
        folder.display()
    );
    folder
}

/// A program of the operating system that `cargo xtask test` installs.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("`{name}` is needed: `cargo xtask test` installs it, on Debian `apt-get install {name}`")
    })
}

/// Runs a program to its end; what it said on both outputs is shown when it fails.
pub(crate) fn run(mut command: Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?} ended with {status}:\n{said}{}", String::from_utf8_lossy(&stderr));
    said
}
