//! `bench`: builds what is measured and what measures, runs it, and keeps its tables in the documentation.

use std::fs;

use crate::Result;
use crate::process::{cargo, output, root, run as run_command, say, target_folder};
use crate::tools::{ensure, ensure_stores};

const PAGE: &str = "docs/benchmarks.md";
/// The features with all stores.
const STORES: &str = "tollgate/aws,tollgate/mongodb,tollgate/redis";
/// The page, when there is none yet.
const PAGE_HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench gate --write`, and `ingest`, `holds`, `stores`, `scale`, `keys` and `pages` likewise. The load generator shares the cores with
the servers it measures: use the ratios, not the absolute figures.
";

/// Runs `gate`, `ingest`, `holds`, `stores`, `replicas`, `scale`, `keys` or `pages` with the remaining arguments.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (mode, rest) = match args {
        [
            mode @ ("gate" | "ingest" | "holds" | "stores" | "replicas" | "scale" | "keys" | "pages"),
            rest @ ..,
        ] => (*mode, rest),
        _ => {
            return Err(
                "say `bench gate`, `ingest`, `holds`, `stores`, `replicas`, `scale`, `keys` or `pages`"
                    .into(),
            );
        }
    };
    let writes = rest.contains(&"--write");
    if matches!(mode, "gate" | "stores" | "replicas") {
        ensure("redis-server", &["redis-server"])?;
    }
    if matches!(mode, "gate" | "ingest" | "stores" | "replicas") {
        ensure("initdb", &["postgresql-15"])?;
    }
    let mut build = cargo(&["build", "--release", "--locked", "-p", "tollgate", "-p", "tollgate-bench"])?;
    if matches!(mode, "stores" | "replicas") {
        ensure_stores()?;
        build.args(["--features", STORES]);
    }
    run_command(build)?;
    let target = target_folder()?;
    let built = target.join("release");
    let mut bench = std::process::Command::new(built.join("tollgate-bench"));
    bench.arg(mode).arg("--server").arg(built.join("tollgate")).arg("--folder").arg(&target);
    bench.args(rest.iter().filter(|arg| **arg != "--write")).current_dir(root()?);
    let tables = output(bench)?;
    say(&tables)?;
    if writes {
        let page = root()?.join(PAGE);
        let text = fs::read_to_string(&page).unwrap_or_else(|_| PAGE_HEAD.to_owned());
        fs::write(&page, placed(&text, mode, &tables)?)?;
    }
    Ok(())
}

/// The page with `tables` between the markers of `mode`, which are added at the end if it has none.
fn placed(page: &str, mode: &str, tables: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- bench:{mode}:begin -->"), format!("<!-- bench:{mode}:end -->"));
    let tables = tables.trim();
    match (page.split_once(&begin), page.split_once(&end)) {
        (Some((head, after)), Some((before, tail))) if after.contains(&end) && before.contains(&begin) => {
            Ok(format!("{head}{begin}\n{tables}\n{end}{tail}"))
        }
        (None, None) => Ok(format!("{}\n\n## {mode}\n\n{begin}\n{tables}\n{end}\n", page.trim_end())),
        _ => Err(format!("{PAGE}: the markers of `{mode}` are not a pair").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_go_between_their_markers() {
        let first = placed("# B\n", "gate", "one\n").unwrap();
        assert_eq!(first, "# B\n\n## gate\n\n<!-- bench:gate:begin -->\none\n<!-- bench:gate:end -->\n");
        let both = placed(&first, "scale", "s").unwrap();
        let again = placed(&both, "gate", "two").unwrap();
        assert_eq!(again, both.replace("one", "two"));
        assert!(placed("<!-- bench:gate:end -->\n<!-- bench:gate:begin -->", "gate", "x").is_err());
        assert!(placed("<!-- bench:gate:begin -->", "gate", "x").is_err());
    }
}
