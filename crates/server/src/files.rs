//! Open files: each connection is one, and so are the files of the store, for which there must be room.
//!
//! A store that may open no file stops, and the server with it. So whoever opens connections must not take the last one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::OTHER_FILES_MAX;

/// How many connections may be open so that there is room for all other files. The limit of the process is raised for them as
/// far as the system lets it.
pub(crate) fn connections_beside(connections_max: usize) -> usize {
    let wanted = u64::try_from(connections_max.saturating_add(OTHER_FILES_MAX)).unwrap_or(u64::MAX);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < raised)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum })
    {
        tracing::warn!(%error, files = current, "the limit on open files cannot be raised");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return connections_max };
    let connections = connections_of(files).min(connections_max);
    if connections < connections_max {
        tracing::warn!(
            files,
            connections,
            "fewer connections than connections-max are accepted at a time: the limit on open files leaves no room for more"
        );
    }
    connections
}

/// How many of so many files may be connections: all but those of the store and the like, of which there are fewer where there
/// is little.
fn connections_of(files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    (files - OTHER_FILES_MAX.min(files / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        for (files, connections) in [(0, 1), (1, 1), (64, 32), (1_024, 512), (1_025, 513), (12_512, 12_000)] {
            assert_eq!(connections_of(files), connections, "{files}");
        }
    }
}
