//! `tollgate serve`: settings, log, runtime, server.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZero;

use tollgate_server::{RunningServer, Settings, StoreUrl};

use crate::config::{self, Chosen, Config, Flags, Origin};
use crate::failure::Failure;
use crate::logging;

/// Serves until a signal.
///
/// # Errors
/// A wrong setting, or what stopped the server.
pub(crate) fn run(flags: &Flags) -> Result<(), Failure> {
    let config = config::resolve(flags, &config::environment())?;
    if config.chosen.demo {
        tell_demo(&config)?;
    }
    let Config { chosen, warnings, .. } = config;
    let Chosen { server: settings, demo, log_level, log_json, .. } = chosen;
    // Dropped last: the log's last lines are those of the shutdown.
    let _log = logging::start(&log_level, log_json)
        .map_err(|error| Failure::Other(format!("the log cannot be set up: {error}")))?;
    for warning in &warnings {
        if log_json {
            tracing::warn!("{warning}");
        } else {
            tell_warning(warning);
        }
    }
    let mut runtime = match settings.threads.unwrap_or_else(threads_by_cores) {
        1 => {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            // The threads of this runtime are those on which something blocks.
            runtime.on_thread_start(tollgate_threads::work_beside);
            runtime
        }
        threads => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads).on_thread_start(tollgate_threads::answer_first);
            runtime
        }
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("the threads cannot be started: {error}")))?;
    let told = Told { settings: settings.clone(), demo, log_json };
    let on_ready = move |server: &RunningServer| told.listening(server.address, server.open);
    let served = if demo {
        runtime.block_on(tollgate_server::serve_demo(settings, on_ready))
    } else {
        runtime.block_on(tollgate_server::serve(settings, on_ready))
    };
    served.map_err(|error| Failure::Other(error.to_string()))
}

/// As many threads as there are cores to serve connections and decide. Up to two, one does both: it takes less of the machine
/// than two threads that wake each other, and the other core is left to the kernel, to readers and to images.
fn threads_by_cores() -> usize {
    match std::thread::available_parallelism().map_or(1, NonZero::get) {
        1 | 2 => 1,
        cores => cores,
    }
}

/// Says on standard error what should be known of the settings.
pub(crate) fn tell_warnings(config: &Config) {
    config.warnings.iter().for_each(|warning| tell_warning(warning));
}

fn tell_warning(warning: &str) {
    tell(&format!("warning: {warning}"));
}

/// Says at once what a demo does, as filling its store takes a moment; refuses it for a store of the caller's.
fn tell_demo(config: &Config) -> Result<(), Failure> {
    match config.origin("store") {
        Origin::Default => {}
        origin @ Origin::Flag(_) => {
            return Err(Failure::Usage(format!(
                "demo: a demo has a store of its own; leave out --demo or the store (from {origin})"
            )));
        }
        origin => tell(&format!("warning: the store of {origin} is left alone: a demo has one of its own")),
    }
    tell("making two months of demo data in a temporary folder, which is deleted at the end");
    Ok(())
}

/// What the line at start is made of.
struct Told {
    settings: Settings,
    demo: bool,
    log_json: bool,
}

impl Told {
    fn listening(&self, address: SocketAddr, open: bool) {
        let line = self.line(address, open);
        if self.log_json {
            tracing::info!(%address, "{line}");
        } else {
            tell(&line);
        }
    }

    fn line(&self, address: SocketAddr, open: bool) -> String {
        let scheme = if self.settings.tls.is_some() { "https" } else { "http" };
        let data = match (&self.settings.store, self.demo) {
            (_, true) => "demo data in a temporary folder".to_owned(),
            (StoreUrl::Embedded(path), false) => format!("data in {}", path.display()),
            (
                StoreUrl::Postgres(url) | StoreUrl::Redis(url) | StoreUrl::Dynamo(url) | StoreUrl::Mongo(url),
                false,
            ) => {
                format!("data in {url}")
            }
            (StoreUrl::Memory, false) => "data in memory only".to_owned(),
        };
        let key = match (open, address.ip().is_loopback()) {
            (false, _) => "",
            (true, true) => ", no API key: loopback only",
            (true, false) => ", no API key: everybody who can reach it may do everything",
        };
        format!("tollgate {} listening on {scheme}://{address}, {data}{key}", env!("CARGO_PKG_VERSION"))
    }
}

fn tell(line: &str) {
    // When standard error is gone there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tollgate_server::{Secret, TlsFiles};

    use super::*;

    #[test]
    fn the_line_at_start_says_where_and_what() {
        let version = env!("CARGO_PKG_VERSION");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 8080));
        let told = |settings, demo| Told { settings, demo, log_json: false };
        assert_eq!(
            told(Settings::default(), false).line(loopback, true),
            format!(
                "tollgate {version} listening on http://127.0.0.1:8080, data in ./tollgate-data, no API key: loopback \
                 only"
            )
        );
        let files = TlsFiles { certificate: PathBuf::from("c"), key: PathBuf::from("k") };
        let settings = Settings {
            tls: Some(files),
            store: StoreUrl::Memory,
            api_key: Some(Secret("k".to_owned())),
            ..Settings::default()
        };
        assert_eq!(
            told(settings.clone(), false).line(loopback, false),
            format!("tollgate {version} listening on https://127.0.0.1:8080, data in memory only")
        );
        assert_eq!(
            told(Settings { tls: None, ..settings }, true).line(SocketAddr::from(([0, 0, 0, 0], 1)), false),
            format!("tollgate {version} listening on http://0.0.0.0:1, demo data in a temporary folder")
        );
    }
}
