//! The settings, a row each: name, environment names, help, how a value is read and shown.

use tollgate_server::{Reach, Secret, StoreUrl};

use super::values::{
    address, api_key, endpoint, host, name, or, path, seconds, segment_bytes, told, truth, unless, whole,
};
use super::{Chosen, ROLE_CLAIM};

/// Reads a text into the settings; `Err` says what is wrong with it and what is allowed.
pub(crate) type Take = fn(&mut Chosen, &str) -> Result<(), String>;

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name; the flag is `--name`.
    pub(crate) name: &'static str,
    /// What stands for the value in the help; empty for a switch.
    pub(crate) value: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    /// The environment names it had in the systems that Tollgate replaces, the weakest first.
    pub(crate) seeds: &'static [(&'static str, Take)],
    /// Whether its value is shown nowhere.
    pub(crate) secret: bool,
    /// Reads a value.
    pub(crate) take: Take,
    /// The value in force.
    pub(crate) show: fn(&Chosen) -> Option<String>,
}

impl Setting {
    /// Its name in the file.
    pub(crate) fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Its name in the environment.
    pub(crate) fn env(&self) -> String {
        format!("TOLLGATE_{}", self.file_key().to_uppercase())
    }

    /// The value in force, as people may see it.
    pub(crate) fn shown(&self, chosen: &Chosen) -> Option<String> {
        (self.show)(chosen).map(|value| if self.secret { "***".to_owned() } else { value })
    }
}

/// Every setting of `serve`.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        value: "HOST:PORT",
        help: "Address to listen on; port 0 picks a free port. Addresses other than loopback need an API key. PORT alone \
               means all addresses where a key is set, else loopback",
        seeds: &[("SERVER_PORT", take_port), ("PORT", take_port)],
        secret: false,
        take: |chosen, text| address(text).map(|address| chosen.server.listen = address),
        show: |chosen| Some(chosen.server.listen.to_string()),
    },
    Setting {
        name: "trusted-network",
        value: "",
        help: "Listen beyond loopback without any API key: everybody who can reach the address may do everything",
        seeds: &[],
        secret: false,
        take: |chosen, text| truth(text).map(|trusted| chosen.server.trusted_network = trusted),
        show: |chosen| Some(chosen.server.trusted_network.to_string()),
    },
    Setting {
        name: "store",
        value: "STORE",
        help: "Where data is stored: `embedded:PATH`; `postgres://USER:PASSWORD@HOST/DATABASE`, the same as \
               `redis+postgres://…?redis=redis://HOST` with the newest entries in a Redis, `dynamodb://TABLE`, or \
               `mongodb://HOST/DATABASE`, for any number of servers; or `memory:`, which keeps nothing after exit",
        seeds: &[
            ("DYNAMODB_TABLE_NAME", take_table),
            ("MONGO_URL", take_mongo),
            ("DATABASE_URL", take_database),
        ],
        secret: false,
        take: |chosen, text| text.parse().map(|store| chosen.server.store = store),
        show: |chosen| Some(chosen.server.store.to_string()),
    },
    Setting {
        name: "catalog",
        value: "FILE",
        help: "Catalog to put into force at start, unless it is already in force",
        seeds: &[],
        secret: false,
        take: |chosen, text| path(text).map(|path| chosen.server.catalog = Some(path)),
        show: |chosen| chosen.server.catalog.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "api-key",
        value: "KEY",
        help: "Admin key in addition to the stored keys; prefer the environment variable",
        seeds: &[("X_API_KEY", take_api_key)],
        secret: true,
        take: take_api_key,
        show: |chosen| chosen.server.api_key.as_ref().map(|key| key.0.clone()),
    },
    Setting {
        name: "cors-origins",
        value: "ORIGINS",
        help: "Origins whose web pages may use the server, such as https://app.example.com, separated by commas",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|origins| chosen.server.cors_origins = origins),
        show: |chosen| Some(chosen.server.cors_origins.to_string()).filter(|origins| !origins.is_empty()),
    },
    Setting {
        name: "portal-frames",
        value: "ORIGINS",
        help: "Origins whose pages may show the customer portal in a frame, separated by commas; none unless given",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|origins| chosen.server.portal_frames = origins),
        show: |chosen| Some(chosen.server.portal_frames.to_string()).filter(|origins| !origins.is_empty()),
    },
    Setting {
        name: "tls-cert",
        value: "FILE",
        help: "TLS certificate chain (PEM); without it the server speaks plain HTTP",
        seeds: &[],
        secret: false,
        take: |chosen, text| path(text).map(|path| chosen.tls_cert = Some(path)),
        show: |chosen| chosen.tls_cert.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "tls-key",
        value: "FILE",
        help: "Private key of the TLS certificate (PEM)",
        seeds: &[],
        secret: false,
        take: |chosen, text| path(text).map(|path| chosen.tls_key = Some(path)),
        show: |chosen| chosen.tls_key.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "demo",
        value: "",
        help: "Serve made-up data from a temporary folder, deleted at exit",
        seeds: &[],
        secret: false,
        take: |chosen, text| truth(text).map(|demo| chosen.demo = demo),
        show: |chosen| Some(chosen.demo.to_string()),
    },
    Setting {
        name: "environment",
        value: "NAME",
        help: "Name of this environment, shown by /health",
        seeds: &[("ENV", take_environment), ("ENVIRONMENT", take_environment)],
        secret: false,
        take: take_environment,
        show: |chosen| Some(chosen.server.environment.clone()),
    },
    Setting {
        name: "provider",
        value: "NAME",
        help: "Seller name shown in bill exports",
        seeds: &[],
        secret: false,
        take: |chosen, text| name(text).map(|name| chosen.server.provider = name),
        show: |chosen| Some(chosen.server.provider.clone()),
    },
    Setting {
        name: "log-level",
        value: "LEVEL",
        help: "Log level: error, warn, info, debug, trace or off; or by module: info,tollgate_engine=debug",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|level| chosen.log_level = level),
        show: |chosen| Some(chosen.log_level.text().to_owned()),
    },
    Setting {
        name: "log-json",
        value: "",
        help: "Write the log as JSON lines",
        seeds: &[],
        secret: false,
        take: |chosen, text| truth(text).map(|json| chosen.log_json = json),
        show: |chosen| Some(chosen.log_json.to_string()),
    },
    Setting {
        name: "queue",
        value: "N",
        help: "Maximum number of queued requests; further ones are refused with 503",
        seeds: &[],
        secret: false,
        take: |chosen, text| {
            whole(text, 1..=1_000_000).map(|number| chosen.server.queue_requests_max = number)
        },
        show: |chosen| Some(chosen.server.queue_requests_max.to_string()),
    },
    Setting {
        name: "key-keep-days",
        value: "N",
        help: "Days for which the key of a usage is remembered",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 1..=3_650).map(|number| chosen.server.key_keep_days = number),
        show: |chosen| Some(chosen.server.key_keep_days.to_string()),
    },
    Setting {
        name: "late-days",
        value: "N",
        help: "How many days in the past the time of a usage may be",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 0..=3_650).map(|number| chosen.server.late_days = number),
        show: |chosen| Some(chosen.server.late_days.to_string()),
    },
    Setting {
        name: "ahead-secs",
        value: "N",
        help: "How many seconds in the future the time of a usage may be",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 0..=86_400).map(|number| chosen.server.ahead_secs = number),
        show: |chosen| Some(chosen.server.ahead_secs.to_string()),
    },
    Setting {
        name: "counter-keep-months",
        value: "N",
        help: "Months for which counters are kept after their window ends",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 1..=1_200).map(|number| chosen.server.counter_keep_months = number),
        show: |chosen| Some(chosen.server.counter_keep_months.to_string()),
    },
    Setting {
        name: "close-after",
        value: "DAYS",
        help: "Days after its end at which a month closes automatically; 'never' turns this off",
        seeds: &[],
        secret: false,
        take: |chosen, text| unless(text, "never", 0..=365).map(|days| chosen.server.close_after_days = days),
        show: |chosen| Some(or(chosen.server.close_after_days, "never")),
    },
    Setting {
        name: "sink",
        value: "URL",
        help: "Where aggregates are delivered: http(s)://…, nats://HOST:PORT/SUBJECT or folder:PATH",
        seeds: &[],
        secret: false,
        take: |chosen, text| told(text.parse()).map(|sink| chosen.server.sink = Some(sink)),
        show: |chosen| chosen.server.sink.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "sink-secret",
        value: "SECRET",
        help: "Signing secret of requests to the sink: whsec_ and base64; prefer the environment variable",
        seeds: &[],
        secret: true,
        take: |chosen, text| told(text.parse()).map(|key| chosen.server.sink_secret = Some(key)),
        show: |chosen| chosen.server.sink_secret.as_ref().map(|key| format!("{key:?}")),
    },
    Setting {
        name: "otlp-endpoint",
        value: "URL",
        help: "Where traces and metrics are sent by OTLP over HTTP, such as http://127.0.0.1:4318; needs a build with the \
               feature otlp",
        seeds: &[("OTEL_EXPORTER_OTLP_ENDPOINT", take_otlp)],
        secret: false,
        take: take_otlp,
        show: |chosen| chosen.server.otlp.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "portkey-url",
        value: "URL",
        help: "The AI gateway that prices calls of the credits API, such as https://api.portkey.ai; without it each call says \
               its own cost",
        seeds: &[("PORTKEY_URL", take_portkey_url)],
        secret: false,
        take: take_portkey_url,
        show: |chosen| chosen.server.portkey.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "portkey-api-key",
        value: "KEY",
        help: "API key of the AI gateway; prefer the environment variable",
        seeds: &[("PORTKEY_API_KEY", take_portkey_api_key)],
        secret: true,
        take: take_portkey_api_key,
        show: |chosen| chosen.server.portkey_api_key.as_ref().map(|key| key.0.clone()),
    },
    Setting {
        name: "portkey-workspace",
        value: "SLUG",
        help: "Workspace of the AI gateway whose calls are priced",
        seeds: &[("PORTKEY_WORKSPACE_SLUG", take_portkey_workspace)],
        secret: false,
        take: take_portkey_workspace,
        show: |chosen| chosen.server.portkey_workspace.clone(),
    },
    Setting {
        name: "portkey-timeout",
        value: "SECS",
        help: "Seconds that the AI gateway has to price a call",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.portkey_timeout = time),
        show: |chosen| Some(chosen.server.portkey_timeout.as_secs().to_string()),
    },
    Setting {
        name: "commit-interval",
        value: "SECS",
        help: "Seconds between automatic deliveries to the sink",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.commit_interval = time),
        show: |chosen| Some(chosen.server.commit_interval.as_secs().to_string()),
    },
    Setting {
        name: "flush-interval",
        value: "SECS",
        help: "Seconds after which entries in Redis are moved to PostgreSQL, where the store is in both",
        seeds: &[("METERING_FLUSH_INTERVAL", take_flush_interval)],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.flush_interval = time),
        show: |chosen| Some(chosen.server.flush_interval.as_secs().to_string()),
    },
    Setting {
        name: "commit-patience",
        value: "SECS",
        help: "Seconds that a requested delivery is retried before it fails",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.commit_patience = time),
        show: |chosen| Some(chosen.server.commit_patience.as_secs().to_string()),
    },
    Setting {
        name: "segment-bytes",
        value: "BYTES",
        help: "Size of new ledger files; at least two exist at any time",
        seeds: &[],
        secret: false,
        take: |chosen, text| segment_bytes(text).map(|bytes| chosen.server.segment_bytes = bytes),
        show: |chosen| Some(chosen.server.segment_bytes.to_string()),
    },
    Setting {
        name: "rate-per-address",
        value: "N",
        help: "Maximum requests per second from one address; 'none' is unlimited",
        seeds: &[],
        secret: false,
        take: |chosen, text| {
            unless(text, "none", 1..=u32::MAX).map(|number| chosen.server.rate_per_address = number)
        },
        show: |chosen| Some(or(chosen.server.rate_per_address, "none")),
    },
    Setting {
        name: "body-max",
        value: "BYTES",
        help: "Maximum size of a request body",
        seeds: &[],
        secret: false,
        take: |chosen, text| {
            whole(text, 1_024..=64 * 1024 * 1024).map(|number| chosen.server.body_bytes_max = number)
        },
        show: |chosen| Some(chosen.server.body_bytes_max.to_string()),
    },
    Setting {
        name: "header-max",
        value: "BYTES",
        help: "Maximum size of request headers",
        seeds: &[],
        secret: false,
        take: |chosen, text| {
            whole(text, 8_192..=1024 * 1024).map(|number| chosen.server.header_bytes_max = number)
        },
        show: |chosen| Some(chosen.server.header_bytes_max.to_string()),
    },
    Setting {
        name: "connections-max",
        value: "N",
        help: "Maximum number of open connections; further ones wait",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 1..=1_000_000).map(|number| chosen.server.connections_max = number),
        show: |chosen| Some(chosen.server.connections_max.to_string()),
    },
    Setting {
        name: "request-timeout",
        value: "SECS",
        help: "Seconds for the headers and body of a request to arrive, and for a client to take more of an answer",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.request_timeout = time),
        show: |chosen| Some(chosen.server.request_timeout.as_secs().to_string()),
    },
    Setting {
        name: "shutdown-grace",
        value: "SECS",
        help: "Seconds to wait for open requests at shutdown",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.shutdown_grace = time),
        show: |chosen| Some(chosen.server.shutdown_grace.as_secs().to_string()),
    },
    Setting {
        name: "allow-private-webhooks",
        value: "",
        help: "Let channels reach this machine and its network, not only the public internet",
        seeds: &[],
        secret: false,
        take: |chosen, text| {
            truth(text).map(|all| {
                chosen.server.webhook_reach = if all { Reach::Anywhere } else { Reach::Public };
            })
        },
        show: |chosen| Some((chosen.server.webhook_reach == Reach::Anywhere).to_string()),
    },
    Setting {
        name: "aws-endpoint",
        value: "URL",
        help: "Where channels to SQS and SNS send to instead of AWS, such as an emulator (feature aws)",
        seeds: &[],
        secret: false,
        take: |chosen, text| endpoint(text).map(|url| chosen.server.aws_endpoint = Some(url)),
        show: |chosen| chosen.server.aws_endpoint.clone(),
    },
    Setting {
        name: "public-url",
        value: "URL",
        help: "Where people reach this server, such as https://tollgate.example.com; links in e-mail begin with it, and people come back to it from a sign-in",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|url| chosen.smtp.public_url = Some(url)),
        show: |chosen| chosen.smtp.public_url.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "oidc-issuer",
        value: "URL",
        help: "Provider of OpenID Connect by which people sign in to the console; needs oidc-client-id and public-url, and a \
               build with the feature oidc",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|issuer| chosen.oidc.issuer = Some(issuer)),
        show: |chosen| chosen.oidc.issuer.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "oidc-client-id",
        value: "ID",
        help: "What the provider knows this server by",
        seeds: &[],
        secret: false,
        take: |chosen, text| name(text).map(|id| chosen.oidc.client_id = Some(id)),
        show: |chosen| chosen.oidc.client_id.clone(),
    },
    Setting {
        name: "oidc-client-secret",
        value: "SECRET",
        help: "Secret of that client, if it has one; prefer the environment variable or the file",
        seeds: &[],
        secret: true,
        take: |chosen, text| api_key(text).map(|secret| chosen.oidc.client_secret = Some(secret)),
        show: |chosen| chosen.oidc.client_secret.as_ref().map(|secret| secret.0.clone()),
    },
    Setting {
        name: "oidc-scopes",
        value: "SCOPES",
        help: "What the provider is asked for, separated by spaces; openid always",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|scopes| chosen.oidc.scopes = scopes),
        show: |chosen| Some(chosen.oidc.scopes.to_string()),
    },
    Setting {
        name: "oidc-person-claim",
        value: "CLAIM",
        help: "Claim that names a person in the ledger, such as sub, email or preferred_username, with dots where it lies in another; \
               the verified address unless given, or else sub",
        seeds: &[],
        secret: false,
        take: |chosen, text| name(text).map(|claim| chosen.oidc.person_claim = Some(claim)),
        show: |chosen| chosen.oidc.person_claim.clone(),
    },
    Setting {
        name: "oidc-role-claim",
        value: "CLAIM",
        help: "Claim that says what a person may do, with dots where it lies in another",
        seeds: &[],
        secret: false,
        take: |chosen, text| name(text).map(|claim| chosen.oidc.role_claim = Some(claim)),
        show: |chosen| Some(chosen.oidc.role_claim.clone().unwrap_or_else(|| ROLE_CLAIM.to_owned())),
    },
    Setting {
        name: "oidc-roles",
        value: "VALUE=ROLE,…",
        help: "Which value of the claim gives which role (read, manage or admin); the names of the roles unless given",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|roles| chosen.oidc.roles = roles),
        show: |chosen| Some(chosen.oidc.roles.to_string()).filter(|roles| !roles.is_empty()),
    },
    Setting {
        name: "oidc-ca",
        value: "FILE",
        help: "Certificates that the provider's must be signed by (PEM); the public authorities unless given",
        seeds: &[],
        secret: false,
        take: |chosen, text| path(text).map(|path| chosen.oidc.ca = Some(path)),
        show: |chosen| chosen.oidc.ca.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "smtp-host",
        value: "HOST",
        help: "SMTP server that sends e-mail; needs smtp-from and public-url",
        seeds: &[],
        secret: false,
        take: |chosen, text| host(text).map(|host| chosen.smtp.host = Some(host)),
        show: |chosen| chosen.smtp.host.clone(),
    },
    Setting {
        name: "smtp-port",
        value: "PORT",
        help: "Port of the SMTP server; 587 with STARTTLS, 465 with implicit TLS, 25 without TLS unless given",
        seeds: &[],
        secret: false,
        take: |chosen, text| whole(text, 1..=u16::MAX).map(|port| chosen.smtp.port = Some(port)),
        show: |chosen| chosen.smtp.port.map(|port| port.to_string()),
    },
    Setting {
        name: "smtp-tls",
        value: "HOW",
        help: "How connections to the SMTP server are encrypted: starttls (never without it), implicit or none",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|tls| chosen.smtp.tls = tls),
        show: |chosen| Some(chosen.smtp.tls.to_string()),
    },
    Setting {
        name: "smtp-ca",
        value: "FILE",
        help: "Certificates that the SMTP server's must be signed by (PEM); the public authorities unless given",
        seeds: &[],
        secret: false,
        take: |chosen, text| path(text).map(|path| chosen.smtp.ca = Some(path)),
        show: |chosen| chosen.smtp.ca.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "smtp-user",
        value: "USER",
        help: "User at the SMTP server",
        seeds: &[],
        secret: false,
        take: |chosen, text| name(text).map(|name| chosen.smtp.user = Some(name)),
        show: |chosen| chosen.smtp.user.clone(),
    },
    Setting {
        name: "smtp-password",
        value: "PASSWORD",
        help: "Password at the SMTP server; prefer the environment variable or the file",
        seeds: &[],
        secret: true,
        take: |chosen, text| {
            chosen.smtp.password = Some(Secret(text.to_owned()));
            Ok(())
        },
        show: |chosen| chosen.smtp.password.as_ref().map(|password| password.0.clone()),
    },
    Setting {
        name: "smtp-from",
        value: "ADDRESS",
        help: "Whom e-mail is from, such as Example <billing@example.com>",
        seeds: &[],
        secret: false,
        take: |chosen, text| text.parse().map(|from| chosen.smtp.from = Some(from)),
        show: |chosen| chosen.smtp.from.as_ref().map(ToString::to_string),
    },
    Setting {
        name: "notice-interval",
        value: "SECS",
        help: "Seconds between two looks for notices to deliver",
        seeds: &[],
        secret: false,
        take: |chosen, text| seconds(text).map(|time| chosen.server.notice_interval = time),
        show: |chosen| Some(chosen.server.notice_interval.as_secs().to_string()),
    },
    Setting {
        name: "threads",
        value: "N",
        help: "Threads that serve connections; 1 also decides; 'auto' is 1 on up to two cores, else one per core",
        seeds: &[],
        secret: false,
        take: |chosen, text| unless(text, "auto", 1..=1_024).map(|number| chosen.server.threads = number),
        show: |chosen| Some(or(chosen.server.threads, "auto")),
    },
];

fn take_port(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    let port =
        text.parse().map_err(|_| format!("'{text}' is not a port; expected a number from 0 to 65535"))?;
    chosen.server.listen.set_port(port);
    Ok(())
}

/// The database of a system that Tollgate replaces: a store of any other kind would not be what the name says.
fn take_database(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    match text.parse()? {
        store @ StoreUrl::Postgres(_) => chosen.server.store = store,
        _ => return Err("not a database; expected postgres://USER:PASSWORD@HOST/DATABASE".to_owned()),
    }
    Ok(())
}

fn take_table(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    format!("dynamodb://{text}").parse().map(|store| chosen.server.store = store)
}

fn take_mongo(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    match text.parse()? {
        store @ StoreUrl::Mongo(_) => chosen.server.store = store,
        _ => return Err("not a MongoDB; expected mongodb://HOST/DATABASE".to_owned()),
    }
    Ok(())
}

fn take_api_key(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    api_key(text).map(|key| chosen.server.api_key = Some(key))
}

/// A variable that is there and empty is none, as OpenTelemetry has it.
fn take_otlp(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    chosen.server.otlp = if text.is_empty() { None } else { Some(told(text.parse())?) };
    Ok(())
}

fn take_portkey_url(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    text.parse().map(|url| chosen.server.portkey = Some(url))
}

fn take_portkey_api_key(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    api_key(text).map(|key| chosen.server.portkey_api_key = Some(key))
}

fn take_portkey_workspace(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("not a workspace; expected its slug".to_owned());
    }
    chosen.server.portkey_workspace = Some(text.to_owned());
    Ok(())
}

/// Seconds, or as Go writes a time: `60s`, `1m`.
fn take_flush_interval(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    let text = match text.strip_suffix('m') {
        Some(minutes) => whole(minutes, 1..=60).map(|minutes| (60 * minutes).to_string())?,
        None => text.strip_suffix('s').unwrap_or(text).to_owned(),
    };
    seconds(&text).map(|time| chosen.server.flush_interval = time)
}

fn take_environment(chosen: &mut Chosen, text: &str) -> Result<(), String> {
    name(text).map(|name| chosen.server.environment = name)
}
