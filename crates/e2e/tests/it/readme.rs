//! The README, word for word: every block of commands is pasted into a shell beside a real server, and what the README
//! shows as its answer must be in what is printed. Only the address, dates,
//! waiting times and request ids may differ.

use std::process::{Command, Stdio};

use tollgate_e2e::{Result, Tollgate, tollgate};

const README: &str = include_str!("../../../../README.md");

/// The address in the README.
const ADDRESS: &str = "127.0.0.1:8080";

/// A block of commands, and the lines that are shown as its answer.
#[derive(Debug, Default)]
struct Block {
    commands: String,
    answers: Vec<String>,
}

/// The blocks that can be pasted while a server runs: all but those of cargo.
fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut parts = README.split("```");
    // Before the first fence and between a closing and an opening one there is prose.
    parts.next();
    while let (Some(fenced), Some(prose)) = (parts.next(), parts.next()) {
        let (language, text) = fenced.split_once('\n').unwrap_or_default();
        match language {
            "sh" if !text.contains("cargo ") => {
                blocks.push(Block { commands: text.to_owned(), answers: Vec::new() });
            }
            "json" | "text" if text.contains('{') => {
                let block = blocks.last_mut().expect("an answer follows its commands");
                block.answers.extend(text.lines().map(str::to_owned));
            }
            _ => {}
        }
        assert!(!prose.contains("\n    "), "code is in fences");
    }
    blocks
}

/// A text with what changes from day to day taken out.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let is_time = |character: char| character.is_ascii_digit() || "-:.TZ".contains(character);
        let run: usize = rest.chars().take_while(|character| is_time(*character)).map(char::len_utf8).sum();
        if run >= 7 && rest.starts_with("20") && rest[..run].contains('-') {
            out.push_str("DATE");
            rest = &rest[run..];
        } else if let Some(after) = rest.strip_prefix(";t=") {
            out.push_str(";t=");
            rest = after.trim_start_matches(|character: char| character.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("\"request_id\":\"") {
            out.push_str("ID");
            rest = after.split_once('"').map_or("", |(_, after)| after);
        } else {
            out.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    out
}

#[test]
fn the_readme_can_be_pasted_word_for_word() -> Result<()> {
    let _machine = super::beside_others();
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve(&folder.path().join("data")).start()?;
    let address = server.address().to_string();
    let mut pasted = 0;
    for block in blocks() {
        // The binary is wherever it was built, not only in target/release.
        let commands =
            block.commands.replace("PATH=\"$PWD/target/release:$PATH\"\n", "").replace(ADDRESS, &address);
        let folder_of_binary = tollgate()?.parent().expect("a folder").to_owned();
        let path = std::env::join_paths(
            std::iter::once(folder_of_binary)
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )?;
        let run = Command::new("bash")
            .args(["-e", "-c", &commands])
            .env("PATH", path)
            .env("TOLLGATE_URL", format!("http://{address}"))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("the README is pasted into bash, with curl 7.82 or newer: {error}"))?;
        let printed = String::from_utf8(run.stdout)?;
        let complaints = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{commands}\nended with {}:\n{printed}\n{complaints}", run.status);
        let told = timeless(&printed);
        for answer in &block.answers {
            assert!(
                told.contains(timeless(answer).trim_end()),
                "{commands}\nshould print\n{answer}\nbut printed\n{printed}"
            );
        }
        pasted += 1;
    }
    assert!(pasted >= 8, "only {pasted} blocks were found");
    server.stop()?;
    super::assert_verified(&folder.path().join("data"));
    Ok(())
}
