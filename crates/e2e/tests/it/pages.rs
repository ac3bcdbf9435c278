//! The README and the guides, word for word: every block of commands is pasted into a shell beside a real server, and what
//! the page shows as its answer must be in what is printed. Only the address, dates, waiting times, request ids and new
//! secrets may differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tollgate_e2e::{Result, Tollgate, tollgate};

/// Folders of pages that are followed step by step.
const GUIDES: [&str; 2] = ["docs/start", "docs/how-to"];

/// Ledger files of a size that is checked at once.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The address in all pages.
const ADDRESS: &str = "127.0.0.1:8080";

/// A block of commands, and the lines that are shown as its answer.
#[derive(Debug, Default)]
struct Block {
    commands: String,
    answers: Vec<String>,
}

/// The blocks that can be pasted while a server runs: all but those that build or start one.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut parts = page.split("```");
    // Before the first fence and between a closing and an opening one there is prose.
    parts.next();
    while let (Some(fenced), Some(prose)) = (parts.next(), parts.next()) {
        let (language, text) = fenced.split_once('\n').unwrap_or_default();
        match language {
            "sh" if !text.contains("cargo ") && !text.contains("tollgate serve") => {
                blocks.push(Block { commands: text.to_owned(), answers: Vec::new() });
            }
            "json" | "text" => {
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

/// Pastes all blocks of a page, one after the other, into a shell that has a server of its own; gives how many.
fn paste(page: &Path) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve_small(&folder.path().join("data"), SEGMENT_BYTES).start()?;
    let address = server.address().to_string();
    let folder_of_binary = tollgate()?.parent().expect("a folder").to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder_of_binary].into_iter().chain(std::env::split_paths(&inherited)))?;
    let name = page.display();
    let blocks = blocks(&fs::read_to_string(page)?);
    for block in &blocks {
        // The binary is wherever it was built, not only in target/release.
        let commands =
            block.commands.replace("PATH=\"$PWD/target/release:$PATH\"\n", "").replace(ADDRESS, &address);
        let run = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &commands])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("TOLLGATE_URL", format!("http://{address}"))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{name} is pasted into bash, with curl 7.82 or newer: {error}"))?;
        let printed = String::from_utf8(run.stdout)?;
        let complaints = String::from_utf8_lossy(&run.stderr);
        if !run.status.success() {
            let status = run.status;
            return Err(format!("{name}: {commands}\nended with {status}:\n{printed}\n{complaints}").into());
        }
        let told = timeless(&printed);
        if let Some(answer) = block.answers.iter().find(|answer| !told.contains(timeless(answer).trim_end()))
        {
            return Err(format!("{name}: {commands}\nshould print\n{answer}\nbut printed\n{printed}").into());
        }
    }
    server.stop()?;
    super::assert_verified(&folder.path().join("data"));
    Ok(blocks.len())
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_readme_can_be_pasted_word_for_word() -> Result<()> {
    let _machine = super::beside_others();
    let pasted = paste(&root().join("README.md"))?;
    assert!(pasted >= 5, "only {pasted} blocks were found");
    Ok(())
}

#[test]
fn the_guides_can_be_pasted_word_for_word() -> Result<()> {
    let _machine = super::beside_others();
    let (mut pages, mut faults) = (0, Vec::new());
    for folder in GUIDES {
        for entry in fs::read_dir(root().join(folder))? {
            let page = entry?.path();
            match paste(&page) {
                Ok(0) => faults.push(format!("{} has nothing to paste", page.display())),
                Ok(_) => pages += 1,
                Err(fault) => faults.push(fault.to_string()),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(pages >= 4, "only {pages} guides were found");
    Ok(())
}
