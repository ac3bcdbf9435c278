//! Commands that open a store themselves: backup, verify and rebuild its folder, migrate its database.

use std::path::{Path, PathBuf};

use clap::Args;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, VerifyReport};
use tollgate_server::{Settings, StoreUrl, embedded_options};
use tollgate_storage::{StoreError, StoreErrorKind};

use crate::config::{self, Flags};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::{pairs, parts};

/// Which store.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// The store, as `serve` takes it; by default the one that 'tollgate config' shows.
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// A TOML file with the settings of serve.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where a store is, and how it is opened.
struct Folder {
    path: PathBuf,
    options: EmbeddedOptions,
}

impl StoreArgs {
    fn settings(&self) -> Result<Settings, Failure> {
        let values = self.store.iter().map(|store| ("store", store.clone())).collect();
        let flags = Flags { file: self.config.clone(), values };
        Ok(config::resolve(&flags, &config::environment())?.chosen.server)
    }

    fn folder(&self) -> Result<Folder, Failure> {
        let settings = self.settings()?;
        let StoreUrl::Embedded(path) = &settings.store else {
            return Err(Failure::Usage(
                "store: only an embedded:PATH store has a folder to work on".to_owned(),
            ));
        };
        // Opening would make an empty store where there is none: a typing error must not pass for one.
        if !path.join("ledger").is_dir() {
            return Err(Failure::Other(format!("there is no store at {}", path.display())));
        }
        Ok(Folder { path: path.clone(), options: embedded_options(&settings) })
    }
}

fn failed(error: &StoreError) -> Failure {
    let hint = if error.kind() == StoreErrorKind::Locked { "\n  hint: stop the server first" } else { "" };
    Failure::Other(format!("{error}{hint}"))
}

/// Runs `tollgate backup`, beside a running server too.
pub(crate) fn backup(store: &StoreArgs, dir: &Path) -> Result<(), Failure> {
    let folder = store.folder()?;
    EmbeddedStore::backup_folder(&folder.path, dir, &folder.options).map_err(|error| failed(&error))?;
    Output::stdout(false).text(&format!(
        "{} is copied to {}; 'tollgate serve --store embedded:{}' serves the copy",
        folder.path.display(),
        dir.display(),
        dir.display()
    ))
}

/// Runs `tollgate verify`: exit code 1 when it finds something.
pub(crate) fn verify(store: &StoreArgs) -> Result<(), Failure> {
    let folder = store.folder()?;
    let report = EmbeddedStore::verify(&folder.path, &folder.options).map_err(|error| failed(&error))?;
    Output::stdout(false).text(&report_text(&report))?;
    if report.is_clean() { Ok(()) } else { Err(Failure::Said(Exit::No)) }
}

/// Runs `tollgate rebuild`.
pub(crate) fn rebuild(store: &StoreArgs) -> Result<(), Failure> {
    let folder = store.folder()?;
    EmbeddedStore::rebuild(&folder.path, &folder.options).map_err(|error| failed(&error))?;
    Output::stdout(false)
        .text(&format!("the tables of {} are made anew from its ledger", folder.path.display()))
}

/// Runs `tollgate migrate`.
pub(crate) fn migrate(store: &StoreArgs) -> Result<(), Failure> {
    let settings = store.settings()?;
    match tollgate_server::migrate(&settings).map_err(|error| failed(&error))? {
        Some(()) => Output::stdout(false).text(&format!("the schema of {} is up to date", settings.store)),
        None => Err(Failure::Usage(format!("store: {} has no schema to migrate", settings.store))),
    }
}

fn report_text(report: &VerifyReport) -> String {
    let counts = pairs(vec![
        ("segments", report.segments.into()),
        ("frames", report.frames.into()),
        ("entries", report.entries.into()),
        ("organizations", report.orgs.into()),
        ("keys", report.keys.into()),
        ("tallies", report.tallies.into()),
        ("counters", report.counters.into()),
        ("differences", report.differences_count.into()),
    ]);
    let differences =
        report.differences.iter().map(|line| format!("{}\n", crate::table::printable(line))).collect();
    let unsaid = report.differences_count > u64::try_from(report.differences.len()).unwrap_or(u64::MAX);
    let verdict = match (report.is_clean(), unsaid) {
        (true, _) => "all is well\n".to_owned(),
        (false, false) => {
            "'tollgate rebuild' makes the tables anew where the ledger itself is whole\n".to_owned()
        }
        (false, true) => {
            "… and more; 'tollgate rebuild' makes the tables anew where the ledger itself is whole\n"
                .to_owned()
        }
    };
    parts(vec![counts, differences, verdict])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_found() {
        let clean = VerifyReport { segments: 1, frames: 2, entries: 3, ..VerifyReport::default() };
        assert!(
            report_text(&clean).ends_with("differences    0\n\nall is well\n"),
            "{}",
            report_text(&clean)
        );
        let found =
            VerifyReport { differences_count: 1, differences: vec!["table orgs: x".to_owned()], ..clean };
        let text = report_text(&found);
        assert!(text.contains("\n\ntable orgs: x\n\n'tollgate rebuild' makes"), "{text}");
    }

    #[test]
    fn a_folder_without_a_store_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Some(format!("embedded:{}", folder.path().display()));
        let refused = StoreArgs { store, config: None }.folder().err().expect("no store");
        assert!(refused.to_string().starts_with("there is no store at "), "{refused}");
    }
}
