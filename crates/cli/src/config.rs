//! The settings of the server: what they are, and where each value comes from.
//!
//! One row a setting ([`rows::SETTINGS`]); the flags, the environment, the file and the printed table are all made from
//! it. Later sources win over earlier ones: the default, the file, the environment names of the systems that Tollgate
//! replaces, `TOLLGATE_*`, the flag.

pub(crate) mod flags;
pub(crate) mod report;
pub(crate) mod rows;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tollgate_server::{
    Issuer, MailSettings, OidcSettings, PublicUrl, RoleMap, Scopes, Secret, Sender, Settings, SmtpLogin,
    SmtpTls, StoreUrl, TlsFiles,
};

use crate::failure::Failure;
use crate::logging::LogLevel;
use rows::{SETTINGS, Setting, Take};

/// The file that is read when none is named and it is there.
pub(crate) const DEFAULT_FILE: &str = "tollgate.toml";

/// Names the file.
pub(crate) const FILE_ENV: &str = "TOLLGATE_CONFIG";

/// Environment names that chose a store of the systems that Tollgate replaces and choose none here, and why not.
const CHOOSE_NO_STORE: [(&str, &str); 3] = [
    (REDIS_URL, "only --store or DATABASE_URL beside it names the database behind a Redis"),
    (AWS_REGION, "no store or sink here is in AWS"),
    (MONGO_DB_NAME, "no store here is in a MongoDB"),
];

/// Also says where a table is.
const AWS_REGION: &str = "AWS_REGION";

/// Also says which Redis is before a PostgreSQL.
const REDIS_URL: &str = "REDIS_URL";

/// Also says in which database of a MongoDB the data is.
const MONGO_DB_NAME: &str = "MONGO_DB_NAME";

/// How the environment names of our own settings begin.
const OWN_PREFIX: &str = "TOLLGATE_";

/// What the settings say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen {
    /// What the server is told.
    pub(crate) server: Settings,
    /// Whether to serve made-up data from a temporary folder.
    pub(crate) demo: bool,
    /// What is logged.
    pub(crate) log_level: LogLevel,
    /// Whether log lines are JSON.
    pub(crate) log_json: bool,
    /// The certificate file.
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key's file.
    pub(crate) tls_key: Option<PathBuf>,
    /// How e-mail leaves.
    pub(crate) smtp: Smtp,
    /// Who says who people are.
    pub(crate) oidc: Oidc,
}

/// What the settings say of sign-ins by a provider of OpenID Connect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oidc {
    pub(crate) issuer: Option<Issuer>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) scopes: Scopes,
    pub(crate) person_claim: Option<String>,
    pub(crate) role_claim: Option<String>,
    pub(crate) roles: RoleMap,
    pub(crate) ca: Option<PathBuf>,
}

impl Oidc {
    /// All of it together; `None` without a provider.
    fn whole(self, public_url: Option<PublicUrl>) -> Result<Option<OidcSettings>, Failure> {
        let Self { issuer, client_id, client_secret, scopes, person_claim, role_claim, roles, ca } = self;
        let Some(issuer) = issuer else { return Ok(None) };
        let missing = |name: &str| {
            Failure::Usage(format!("oidc-issuer is set and {name} is not: signing in needs both"))
        };
        let client_id = client_id.ok_or_else(|| missing("oidc-client-id"))?;
        let public_url = public_url.ok_or_else(|| missing("public-url"))?;
        let role_claim = role_claim.unwrap_or_else(|| ROLE_CLAIM.to_owned());
        Ok(Some(OidcSettings {
            issuer,
            client_id,
            client_secret,
            scopes,
            person_claim,
            role_claim,
            roles,
            ca,
            public_url,
        }))
    }
}

/// The claim that says what a person may do, unless another is named.
pub(crate) const ROLE_CLAIM: &str = "roles";

/// What the settings say of e-mail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Smtp {
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) tls: SmtpTls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) from: Option<Sender>,
}

impl Smtp {
    /// All of it together; `None` without a server.
    fn whole(self) -> Result<Option<MailSettings>, Failure> {
        let Self { public_url, host, port, tls, ca, user, password, from } = self;
        let Some(host) = host else { return Ok(None) };
        let missing =
            |name: &str| Failure::Usage(format!("smtp-host is set and {name} is not: e-mail needs both"));
        let login = match (user, password) {
            (Some(user), Some(Secret(password))) => Some(SmtpLogin { user, password }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Failure::Usage("smtp-user is set and smtp-password is not".to_owned()));
            }
            (None, Some(_)) => {
                return Err(Failure::Usage("smtp-password is set and smtp-user is not".to_owned()));
            }
        };
        let from = from.ok_or_else(|| missing("smtp-from"))?;
        let public_url = public_url.ok_or_else(|| missing("public-url"))?;
        Ok(Some(MailSettings { host, port, tls, ca, login, from, public_url }))
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The file, by its path.
    File(String),
    /// The environment, by the name.
    Environment(String),
    /// A flag, by its name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {path}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
        }
    }
}

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Config {
    /// What they say.
    pub(crate) chosen: Chosen,
    /// Where each comes from, in the order of [`SETTINGS`].
    pub(crate) origins: Vec<(&'static Setting, Origin)>,
    /// What should be known of them, a line each.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Where a setting comes from.
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        let found = self.origins.iter().find(|(setting, _)| setting.name == name);
        found.map_or(&Origin::Default, |(_, origin)| origin)
    }
}

/// What the command line says: the file, and settings by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    /// The settings given.
    pub(crate) values: BTreeMap<&'static str, String>,
}

/// The environment of a process, as a map.
pub(crate) type Environment = BTreeMap<String, String>;

/// The environment of this process.
pub(crate) fn environment() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Finds the settings in force.
///
/// # Errors
/// [`Failure::Usage`] naming the setting, where its value comes from, and what is allowed.
pub(crate) fn resolve(flags: &Flags, environment: &Environment) -> Result<Config, Failure> {
    let file = read_file(flags, environment)?;
    let mut chosen = Chosen::default();
    let mut origins = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        origins.push((setting, choose(setting, flags, environment, &file, &mut chosen)?));
    }
    chosen.server.tls = match (chosen.tls_cert.clone(), chosen.tls_key.clone()) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (Some(_), None) => return Err(half_tls("tls-cert", "tls-key")),
        (None, Some(_)) => return Err(half_tls("tls-key", "tls-cert")),
    };
    chosen.server.mail = chosen.smtp.clone().whole()?;
    chosen.server.oidc = chosen.oidc.clone().whole(chosen.smtp.public_url.clone())?;
    complete_store(&mut chosen, &origins, environment)?;
    listen_everywhere(&mut chosen, &origins, &file);
    let mut warnings = warnings(environment, &chosen);
    warnings.extend(store_chosen(&origins, &chosen));
    Ok(Config { chosen, origins, warnings })
}

fn half_tls(given: &str, missing: &str) -> Failure {
    Failure::Usage(format!("{given} is set and {missing} is not: TLS needs both"))
}

/// The stores of older systems that are named by two names in the environment.
fn complete_store(
    chosen: &mut Chosen,
    origins: &[(&'static Setting, Origin)],
    environment: &Environment,
) -> Result<(), Failure> {
    let Some((_, Origin::Environment(name))) = origins.iter().find(|(setting, _)| setting.name == "store")
    else {
        return Ok(());
    };
    let given = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    let (other, url) = match (name.as_str(), &chosen.server.store) {
        ("MONGO_URL", StoreUrl::Mongo(url)) => {
            (MONGO_DB_NAME, given(MONGO_DB_NAME).map(|database| with_database(url.reveal(), database)))
        }
        ("DATABASE_URL", StoreUrl::Postgres(url)) => {
            (REDIS_URL, given(REDIS_URL).map(|redis| with_redis(url.reveal(), redis)))
        }
        _ => return Ok(()),
    };
    if let Some(url) = url {
        let wrong = |reason| Failure::Usage(format!("store: {reason} (from environment {name} and {other})"));
        chosen.server.store = url.parse().map_err(wrong)?;
    }
    Ok(())
}

/// The URL of a MongoDB, leading to this database.
fn with_database(url: &str, database: &str) -> String {
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let (scheme, rest) = place.split_once("://").unwrap_or(("mongodb", place));
    let hosts = rest.split_once('/').map_or(rest, |(hosts, _)| hosts);
    format!("{scheme}://{hosts}/{database}{query}")
}

/// The URL of a PostgreSQL with this Redis before it.
fn with_redis(url: &str, redis: &str) -> String {
    let redis: String = form_urlencoded::byte_serialize(redis.as_bytes()).collect();
    format!("redis+{url}{}redis={redis}", if url.contains('?') { '&' } else { '?' })
}

/// A port without a host, as containers are told it, is to be reached from outside where that is safe: with a key, or in a
/// network that is said to be trusted.
fn listen_everywhere(chosen: &mut Chosen, origins: &[(&'static Setting, Origin)], file: &File) {
    let is_port_alone = origins.iter().any(|(setting, origin)| {
        let is_seed = matches!(origin, Origin::Environment(name) if *name != setting.env());
        setting.name == "listen" && is_seed && !file.values.contains_key(&setting.file_key())
    });
    if is_port_alone && (chosen.server.api_key.is_some() || chosen.server.trusted_network) {
        chosen.server.listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
}

/// Takes every value of a setting, the weakest source first. A wrong value matters only if no stronger one replaces it.
fn choose(
    setting: &'static Setting,
    flags: &Flags,
    environment: &Environment,
    file: &File,
    chosen: &mut Chosen,
) -> Result<Origin, Failure> {
    let mut origin = Origin::Default;
    let mut wrong = None;
    for (source, take, text) in sources(setting, flags, environment, file) {
        match take(chosen, text) {
            Ok(()) => wrong = None,
            Err(reason) => wrong = Some(format!("{}: {reason} (from {source})", setting.name)),
        }
        origin = source;
    }
    wrong.map_or(Ok(origin), |text| Err(Failure::Usage(text)))
}

/// The values of a setting, the weakest source first. An empty value in the environment is none.
fn sources<'a>(
    setting: &'static Setting,
    flags: &'a Flags,
    environment: &'a Environment,
    file: &'a File,
) -> Vec<(Origin, Take, &'a str)> {
    let mut sources = Vec::new();
    if let Some(text) = file.values.get(&setting.file_key()) {
        sources.push((Origin::File(file.path.clone()), setting.take, text.as_str()));
    }
    let own = (setting.env(), setting.take);
    let seeds = setting.seeds.iter().map(|&(name, take)| (name.to_owned(), take));
    for (name, take) in seeds.chain([own]) {
        if let Some(text) = environment.get(&name).filter(|text| !text.is_empty()) {
            sources.push((Origin::Environment(name), take, text.as_str()));
        }
    }
    if let Some(text) = flags.values.get(setting.name) {
        sources.push((Origin::Flag(format!("--{}", setting.name)), setting.take, text.as_str()));
    }
    sources
}

/// Says that the environment name of a system that Tollgate replaces chose the store, if one did.
fn store_chosen(origins: &[(&'static Setting, Origin)], chosen: &Chosen) -> Option<String> {
    let (setting, origin) = origins.iter().find(|(setting, _)| setting.name == "store")?;
    match origin {
        Origin::Environment(name) if *name != setting.env() => {
            Some(format!("{name} chose the store: the data is in {}", chosen.server.store))
        }
        _ => None,
    }
}

/// What is set in the environment and changes nothing, by name; values may be secrets.
fn warnings(environment: &Environment, chosen: &Chosen) -> Vec<String> {
    let is_set = |name: &str| environment.get(name).is_some_and(|text| !text.is_empty());
    let known = known_names();
    let unknown = environment.keys().filter(|name| name.starts_with(OWN_PREFIX) && is_set(name));
    let unknown = unknown.filter(|name| !known.contains(*name));
    let unknown = unknown
        .map(|name| format!("{name} is set, but there is no such setting; `tollgate config` lists them"));
    let data = chosen.server.store.to_string();
    let matters = |name: &str| match name {
        AWS_REGION => data.starts_with("dynamodb:"),
        MONGO_DB_NAME => data.starts_with("mongodb"),
        REDIS_URL => data.starts_with("redis+"),
        _ => false,
    };
    let stores = CHOOSE_NO_STORE.iter().filter(|(name, _)| is_set(name) && !matters(name));
    let stores = stores.map(|(name, why)| format!("{name} is set, but {why}: the data is in {data}"));
    unknown.chain(stores).collect()
}

/// The names in the environment that mean something to the server or to another command.
fn known_names() -> BTreeSet<String> {
    let settings = SETTINGS.iter().map(Setting::env).chain([FILE_ENV.to_owned()]);
    settings.chain(crate::args::environment_names()).collect()
}

/// What the file says.
#[derive(Default)]
struct File {
    path: String,
    values: BTreeMap<String, String>,
}

fn read_file(flags: &Flags, environment: &Environment) -> Result<File, Failure> {
    let named = environment.get(FILE_ENV).filter(|text| !text.is_empty()).map(PathBuf::from);
    let named = flags.file.clone().or(named);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    match std::fs::read_to_string(&path) {
        Ok(text) => parse_file(&path, &text),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => {
            Err(Failure::Other(format!("the configuration file {} cannot be read: {error}", path.display())))
        }
    }
}

fn parse_file(path: &Path, text: &str) -> Result<File, Failure> {
    let path = path.display().to_string();
    let table: toml::Table = text.parse().map_err(|error| not_toml(&path, text, &error))?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if !SETTINGS.iter().any(|setting| setting.file_key() == key) {
            let allowed: Vec<String> = SETTINGS.iter().map(Setting::file_key).collect();
            return Err(Failure::Usage(format!(
                "{path}: there is no setting '{key}'; expected one of {}",
                allowed.join(", ")
            )));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            other => {
                return Err(Failure::Usage(format!(
                    "{path}: {key} is {}; expected text, a whole number, true or false",
                    other.type_str()
                )));
            }
        };
        values.insert(key, value);
    }
    Ok(File { path, values })
}

/// What is wrong with a file and where. The line itself is not repeated: it may hold a secret.
fn not_toml(path: &str, text: &str, error: &toml::de::Error) -> Failure {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line =
        before.map(|before| format!("line {}: ", before.matches('\n').count() + 1)).unwrap_or_default();
    let message = error.message().replace('\n', "; ");
    Failure::Usage(format!("the configuration file {path} is not TOML: {line}{message}"))
}

#[cfg(test)]
mod tests;
