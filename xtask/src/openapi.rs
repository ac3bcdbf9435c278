//! `openapi`: the API's description in the root is what the code says, reviewed like code.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::process::{cargo, output, root};

const FILE: &str = "openapi.json";

/// Writes the description.
pub(crate) fn write() -> Result<()> {
    fs::write(root()?.join(FILE), generate(from_source()?)?)?;
    Ok(())
}

/// The binary, built if need be.
pub(crate) fn from_source() -> Result<Command> {
    cargo(&["run", "--quiet", "--locked", "-p", "tollgate", "--"])
}

/// Compares the description with what a binary says.
pub(crate) fn check(binary: Command) -> Result<()> {
    let written = fs::read_to_string(root()?.join(FILE)).unwrap_or_default();
    match first_difference(&written, &generate(binary)?) {
        None => Ok(()),
        Some((line, written, generated)) => Err(format!(
            "{FILE}:{line}: not what the code says; run `cargo xtask openapi`\n  is      {written}\n  must be {generated}"
        )
        .into()),
    }
}

fn generate(mut binary: Command) -> Result<String> {
    binary.arg("openapi");
    let text = output(binary)?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The first line that differs, counted from one, and what it says on both sides.
fn first_difference<'a>(left: &'a str, right: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let (mut lefts, mut rights) = (left.lines(), right.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (lefts.next(), rights.next()) {
            (None, None) => return None,
            (left, right) if left == right => {}
            (left, right) => return Some((line, left.unwrap_or("(nothing)"), right.unwrap_or("(nothing)"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
        assert_eq!(first_difference("", "a\n"), Some((1, "(nothing)", "a")));
    }
}
