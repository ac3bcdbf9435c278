//! `keys`: Tollgate alone, with a month's worth of keys, all of which it must still know: what they take in memory.
//!
//! The keys come as usages do, in batches over HTTP, each new. Then the first of them are sent again, before a restart and
//! after it, and each must be known as counted before.

use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::client::Crew;
use crate::load::{Keys, PARTS, Spread, Template};
use crate::machine::{self, MIB};
use crate::pace::Pace;
use crate::report::{self, at_most, thousands};
use crate::scale::{Restart, restart};
use crate::servers::{Ask, Daemon, make_orgs, measured, start_tollgate, tollgate_template};
use crate::stats::{Figures, float};
use crate::wire::Wire;

/// Batches of the first keys that are sent again.
const AGAIN: u64 = 100;

/// Fills a server with keys and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.folder)?;
    machine::require_disk(folder.path())?;
    let path = folder.path().canonicalize()?;
    eprintln!("seed {}", options.seed);
    let text = measure(options, &path)?.tables(options);
    folder.close()?;
    Ok(text)
}

/// All that was measured; sizes are in MiB.
struct Measured {
    parts: Vec<Part>,
    highest: f64,
    folder: f64,
    restart: Restart,
    /// Batches sent again that were not known in full.
    unknown: u64,
}

struct Part {
    what: String,
    figures: Figures,
    resident: f64,
}

fn measure(options: &Options, path: &Path) -> Result<Measured> {
    let server = start_tollgate(&options.server, path, None)?;
    make_orgs(server.address, options.orgs, true)?;
    let template = tollgate_template(Ask::Count(options.batch))?;
    let parts = fill(&server, options, &template)?;
    let mut unknown = send_again(&server, options, &template)?;
    let (_, filled) = machine::resident_mib(server.pid())?;
    let folder = machine::folder_mib(&path.join("data"))?;
    server.stop()?;
    let (server, restart) = restart("after a clean stop", options, path)?;
    unknown += send_again(&server, options, &template)?;
    let (_, restarted) = machine::resident_mib(server.pid())?;
    Ok(Measured { parts, highest: filled.max(restarted), folder, restart, unknown })
}

fn fill(server: &Daemon, options: &Options, template: &Template) -> Result<Vec<Part>> {
    let wire = Wire::HttpBatch(options.batch);
    let mut crew = Crew::connect(server.address, wire, options.connections, |_| Ok(()))?;
    let mut keys = Keys::new(options.seed);
    let batch = u64::try_from(options.batch)?;
    let each = options.usages / u64::from(PARTS);
    let mut parts = Vec::new();
    for part in 1..=u64::from(PARTS) {
        let streams = crew.usages(&mut keys, template, Spread::even(options.orgs), Some(each / batch))?;
        let (tally, cpu) = measured(server, &[], &mut crew, streams, Pace::All { depth: 1 })?;
        for (text, count) in &tally.errors {
            eprintln!("  {count} × {text}");
        }
        let figures = Figures::new(&tally, cpu).by_usage(float(batch));
        let (resident, _) = machine::resident_mib(server.pid())?;
        let what = format!("to {} keys", thousands(float(each * part)));
        eprintln!(
            "{what}: {}/s, {:.2} µs of CPU each, {resident:.0} MiB resident, {} errors",
            thousands(figures.rate),
            figures.server_cpu_us,
            figures.errors
        );
        parts.push(Part { what, figures, resident });
    }
    Ok(parts)
}

/// Sends the first batches once more; says how many were not known as counted before, each record of them.
fn send_again(server: &Daemon, options: &Options, template: &Template) -> Result<u64> {
    let wire = Wire::HttpDuplicates(options.batch);
    let mut crew = Crew::connect(server.address, wire, options.connections, |_| Ok(()))?;
    // The same seed gives the same requests.
    let mut keys = Keys::new(options.seed);
    let batches = AGAIN.min(options.usages / u64::from(PARTS) / u64::try_from(options.batch)?);
    let streams = crew.usages(&mut keys, template, Spread::even(options.orgs), Some(batches))?;
    let tally = crew.run(streams, Pace::All { depth: 1 })?;
    for (text, count) in &tally.errors {
        eprintln!("  sent again: {count} × {text}");
    }
    Ok(tally.error_count())
}

impl Measured {
    fn tables(self, options: &Options) -> String {
        let mut text = format!("Machine: {}.\n", machine::describe());
        let all = thousands(float(options.usages));
        text.push_str(&format!(
            "{all} usages, each with a key never sent before, {} a request over {} connections; {} orgs of 10 users; \
             every key within its 35 days.\n",
            options.batch,
            options.connections,
            thousands(f64::from(options.orgs))
        ));
        text.push_str(&report::others(self.parts.iter().map(|part| &part.figures)));
        let resident: Vec<String> = self.parts.iter().map(|part| format!("{:.0}", part.resident)).collect();
        let errors = self.parts.iter().map(|part| part.figures.errors).sum::<u64>() + self.unknown;
        let rows: Vec<_> = self.parts.into_iter().map(|part| (part.what, part.figures)).collect();
        text.push_str(&format!("\n{}", report::figures_table("usage", &rows)));
        text.push_str(&format!(
            "\nResident after each tenth: {} MiB; {:.0} MiB at the highest. Data folder {:.0} MiB, {:.0} bytes a usage.\n",
            resident.join(", "),
            self.highest,
            self.folder,
            self.folder * MIB / float(options.usages)
        ));
        text.push_str(&self.restart.line());
        text.push_str("The first keys sent again, before the restart and after it, were ");
        text.push_str(if self.unknown == 0 { "all known.\n\n" } else { "**not all known**.\n\n" });
        let what = format!("resident with {all} keys, at the highest");
        text.push_str(&report::targets(&[at_most(&what, 2048.0, self.highest, " MiB", errors)]));
        text
    }
}
