//! What is in force and where it comes from, for people and for programs.

use serde::Serialize;

use super::{Config, Origin};
use crate::table;

/// The settings as a table.
pub(crate) fn table(config: &Config) -> String {
    let rows = config
        .origins
        .iter()
        .map(|(setting, origin)| {
            vec![setting.name.into(), (&setting.shown(&config.chosen)).into(), origin.to_string().into()]
        })
        .collect();
    table::rows(&["setting", "value", "from"], rows, "no settings")
}

#[derive(Serialize)]
struct Report<'a> {
    settings: Vec<Line>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    value: Option<String>,
    origin: Told,
}

#[derive(Serialize)]
struct Told {
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The settings as JSON.
pub(crate) fn json(config: &Config) -> Result<String, serde_json::Error> {
    let settings = config
        .origins
        .iter()
        .map(|(setting, origin)| {
            let (from, name) = match origin {
                Origin::Default => ("default", None),
                Origin::File(path) => ("file", Some(path)),
                Origin::Environment(name) => ("environment", Some(name)),
                Origin::Flag(name) => ("flag", Some(name)),
            };
            Line {
                name: setting.name,
                value: setting.shown(&config.chosen),
                origin: Told { from, name: name.cloned() },
            }
        })
        .collect();
    serde_json::to_string_pretty(&Report { settings, warnings: &config.warnings })
}
