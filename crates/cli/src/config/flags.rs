//! The flags of `serve` and `config`, made from the table of settings.

use std::path::PathBuf;

use clap::builder::StringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::rows::{SETTINGS, Setting};
use super::{Chosen, DEFAULT_FILE, FILE_ENV, Flags};

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!(
                "A TOML file with settings [env: {FILE_ENV}] [default: ./{DEFAULT_FILE} if it exists]"
            ));
        let defaults = Chosen::default();
        command.arg(file).args(SETTINGS.iter().map(|setting| flag(setting, &defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(setting: &'static Setting, defaults: &Chosen) -> Arg {
    let mut envs = vec![setting.env()];
    envs.extend(setting.seeds.iter().rev().map(|(name, _)| (*name).to_owned()));
    let switch = setting.value.is_empty();
    let default = (setting.show)(defaults).filter(|_| !switch);
    let default = default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let help = format!("{} [env: {}]{default}", setting.help, envs.join(", "));
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .help(help)
        .action(ArgAction::Set)
        .value_parser(StringValueParser::new());
    if switch {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("true|false")
    } else {
        arg.value_name(setting.value)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.file = Some(file.clone());
        }
        for setting in SETTINGS {
            if let Some(value) = matches.get_one::<String>(setting.name) {
                self.values.insert(setting.name, value.clone());
            }
        }
        Ok(())
    }
}
