//! `tollgate copy`: everything of one store into another one.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use tollgate_api::counted;
use tollgate_server::{Copied, CopyError, CopyStep, Progress, Settings, Side, StoreUrl};
use tollgate_storage::{StoreError, StoreErrorKind};

use crate::config::{self, Flags};
use crate::failure::{Exit, Failure};
use crate::limits::COPY_TOLD_EVERY;
use crate::output::Output;
use crate::table::printable;

/// `tollgate copy`
///
/// What was killed goes on when it is run again; what is in both is compared in the end.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store to copy, as `serve` takes it; it is not changed.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The store to copy it to: an empty one, or one that a copy of the same store was made to before.
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Copy although servers use the store; what changes meanwhile is copied by running it again after they were stopped.
    #[arg(long)]
    live: bool,
    /// A TOML file with the settings of serve.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `tollgate copy`: exit code 1 when the two are not the same in the end.
pub(crate) fn copy(args: &CopyArgs) -> Result<(), Failure> {
    let from = args.settings("from", &args.from)?;
    let to = args.settings("to", &args.to)?;
    if from.store == to.store {
        return Err(Failure::Usage("to: it is the store that is copied; expected another one".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(format!("nothing can be run: {error}")))?;
    let mut teller = Teller { told: None };
    let mut tell = |progress| teller.tell(progress);
    let copied = tollgate_server::copy(&from, &to, args.live, &mut tell);
    let copied = runtime.block_on(copied).map_err(|error| failed(&error))?;
    Output::stdout(false).text(&said(&copied, &from.store, &to.store))?;
    match copied.differences_count + copied.moved {
        0 => Ok(()),
        _ => Err(Failure::Said(Exit::No)),
    }
}

impl CopyArgs {
    fn settings(&self, name: &str, store: &str) -> Result<Settings, Failure> {
        let store = store.parse().map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        if store == StoreUrl::Memory {
            let text = format!("{name}: a store in memory ends with its process; expected one that stays");
            return Err(Failure::Usage(text));
        }
        let flags = Flags { file: self.config.clone(), values: [].into() };
        let settings = config::resolve(&flags, &config::environment())?.chosen.server;
        Ok(Settings { store, ..settings })
    }
}

/// Says on standard error how far it has come, now and then.
struct Teller {
    told: Option<(CopyStep, Instant)>,
}

impl Teller {
    fn tell(&mut self, progress: Progress) {
        let is_over = progress.orgs == progress.of;
        let is_new = self
            .told
            .is_none_or(|(step, at)| step != progress.step || at.elapsed() >= COPY_TOLD_EVERY || is_over);
        if is_new {
            self.told = Some((progress.step, Instant::now()));
            // When standard error is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", line(progress));
        }
    }
}

fn line(Progress { step, orgs, of, entries }: Progress) -> String {
    let (all, entries) = (counted(of, "organization"), counted(entries, "entry"));
    match step {
        CopyStep::Looking => format!("looking at what is there: {}", counted(orgs, "organization")),
        CopyStep::Notices => format!("copying what has notices: {entries}"),
        CopyStep::Orgs => format!("copying: {orgs} of {all}, {entries}"),
        CopyStep::Comparing => format!("comparing: {orgs} of {all}"),
    }
}

fn said(copied: &Copied, from: &StoreUrl, to: &StoreUrl) -> String {
    let Copied { orgs, entries, differences, differences_count, moved } = copied;
    let are = if *entries == 1 { "is" } else { "are" };
    let (entries, orgs) = (counted(*entries, "entry"), counted(*orgs, "organization"));
    let mut text = format!("{entries} {are} copied from {from} to {to}, which has {orgs}\n");
    if *differences_count > 0 {
        text.push_str(&format!("{differences_count} are not the same:\n"));
        differences.iter().for_each(|line| text.push_str(&format!("  {}\n", printable(line))));
        if *differences_count > differences.len() {
            text.push_str("  … and more\n");
        }
    } else {
        text.push_str(
            "all that is in it is the same in both, by the hashes of ledgers and of what they come to\n",
        );
    }
    if *moved > 0 {
        text.push_str(&format!(
            "{moved} ledgers went on meanwhile: stop what uses {from} and run this again, it copies the rest\n"
        ));
    }
    text
}

fn failed(error: &CopyError) -> Failure {
    let is_locked = |error: &StoreError| error.kind() == StoreErrorKind::Locked;
    let hint = match error {
        CopyError::Source(error) | CopyError::Target(error) if is_locked(error) => "stop the server first",
        CopyError::InUse(Side::Source) => {
            "stop the servers first; or copy what there is with --live, and the rest after they were stopped"
        }
        CopyError::InUse(Side::Target) | CopyError::Overtaken(_) => "stop the servers that use it",
        CopyError::SomethingElse(_) => "copy to a store that is empty",
        _ => "what was copied stays; run it again to go on",
    };
    Failure::Other(format!("{error}\n  hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_same_is_said() {
        let [from, to] = ["embedded:a", "embedded:b"].map(|url| url.parse::<StoreUrl>().expect("a store"));
        let same = Copied { orgs: 2, entries: 9, ..Copied::default() };
        assert_eq!(
            said(&same, &from, &to),
            "9 entries are copied from embedded:a to embedded:b, which has 2 organizations\nall that is in it is the same in \
             both, by the hashes of ledgers and of what they come to\n"
        );
        let other = Copied {
            differences: vec!["the ledger of x".to_owned()],
            differences_count: 2,
            moved: 3,
            ..same
        };
        let text = said(&other, &from, &to);
        assert!(
            text.contains("\n2 are not the same:\n  the ledger of x\n  … and more\n3 ledgers went on"),
            "{text}"
        );
    }

    #[test]
    fn progress_can_be_read() {
        let progress = Progress { step: CopyStep::Orgs, orgs: 256, of: 1_000, entries: 5_120 };
        assert_eq!(line(progress), "copying: 256 of 1000 organizations, 5120 entries");
    }
}
