use std::net::SocketAddr;
use std::time::Duration;

use tollgate_server::Reach;

use super::*;

/// What was said where; the file's text is TOML.
#[derive(Default)]
struct Said<'a> {
    flags: &'a [(&'static str, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
}

/// Resolves what was said, with the file as a real one in a folder of its own.
fn resolved(said: &Said<'_>) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.toml");
    std::fs::write(&path, said.file.unwrap_or_default()).expect("the file is written");
    let flags = Flags {
        file: Some(path.clone()),
        values: said.flags.iter().map(|&(name, value)| (name, value.to_owned())).collect(),
    };
    let environment =
        said.environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let in_force = resolve(&flags, &environment).map_err(|failure| failure.to_string());
    in_force.map_err(|text| text.replace(&path.display().to_string(), "t.toml"))
}

/// The value and the kind of origin of one setting.
fn one(config: &Config, name: &str) -> (String, String) {
    let (setting, origin) =
        config.origins.iter().find(|(setting, _)| setting.name == name).expect("a setting of this name");
    let origin = match origin {
        Origin::File(_) => "file".to_owned(),
        other => other.to_string(),
    };
    (setting.shown(&config.chosen).unwrap_or_else(|| "-".to_owned()), origin)
}

#[test]
fn the_strongest_source_wins_and_is_named() {
    const FILE: &str = "listen = '127.0.0.3:3'\nthreads = 3\nlog_json = true\nenvironment = 'file'\n";
    for (setting, flags, environment, file, value, origin) in [
        ("listen", &[][..], &[][..], None, "127.0.0.1:8080", "default"),
        ("listen", &[], &[], Some(FILE), "127.0.0.3:3", "file"),
        ("listen", &[], &[("SERVER_PORT", "5")], None, "127.0.0.1:5", "environment SERVER_PORT"),
        ("listen", &[], &[("SERVER_PORT", "5"), ("PORT", "6")], None, "127.0.0.1:6", "environment PORT"),
        ("listen", &[], &[("PORT", "6")], Some(FILE), "127.0.0.3:6", "environment PORT"),
        (
            "listen",
            &[],
            &[("PORT", "6"), ("TOLLGATE_LISTEN", "127.0.0.2:7")],
            Some(FILE),
            "127.0.0.2:7",
            "environment TOLLGATE_LISTEN",
        ),
        (
            "listen",
            &[("listen", "127.0.0.9:9")],
            &[("PORT", "6"), ("TOLLGATE_LISTEN", "127.0.0.2:7")],
            Some(FILE),
            "127.0.0.9:9",
            "flag --listen",
        ),
        ("listen", &[], &[("TOLLGATE_LISTEN", "")], None, "127.0.0.1:8080", "default"),
        ("threads", &[], &[], None, "auto", "default"),
        ("threads", &[], &[], Some(FILE), "3", "file"),
        ("threads", &[("threads", "auto")], &[], Some(FILE), "auto", "flag --threads"),
        ("log-json", &[], &[], Some(FILE), "true", "file"),
        (
            "log-json",
            &[],
            &[("TOLLGATE_LOG_JSON", "off")],
            Some(FILE),
            "false",
            "environment TOLLGATE_LOG_JSON",
        ),
        (
            "environment",
            &[],
            &[("ENV", "e"), ("ENVIRONMENT", "f")],
            Some(FILE),
            "f",
            "environment ENVIRONMENT",
        ),
        ("api-key", &[], &[], None, "-", "default"),
        ("api-key", &[], &[("X_API_KEY", "s")], None, "***", "environment X_API_KEY"),
        (
            "api-key",
            &[],
            &[("X_API_KEY", "s"), ("TOLLGATE_API_KEY", "t")],
            None,
            "***",
            "environment TOLLGATE_API_KEY",
        ),
        // A wrong value that a stronger one replaces does no harm: orchestrators set such names on their own.
        (
            "listen",
            &[("listen", "127.0.0.9:9")],
            &[("PORT", "tcp://x:1")],
            None,
            "127.0.0.9:9",
            "flag --listen",
        ),
    ] {
        let said = Said { flags, environment, file };
        let config = resolved(&said).expect(setting);
        assert_eq!(one(&config, setting), (value.to_owned(), origin.to_owned()), "{setting} {environment:?}");
    }
}

#[test]
fn values_reach_the_server() {
    let flags = &[
        ("listen", "0.0.0.0:1"),
        ("trusted-network", "true"),
        ("store", "embedded:/data"),
        ("catalog", "c.toml"),
        ("api-key", "k"),
        ("cors-origins", "https://app.example.com,http://localhost:3000"),
        ("portal-frames", "https://app.example.com"),
        ("tls-cert", "c.pem"),
        ("tls-key", "k.pem"),
        ("demo", "true"),
        ("environment", "test"),
        ("provider", "Acme Cloud"),
        ("log-level", "debug"),
        ("log-json", "true"),
        ("queue", "2"),
        ("key-keep-days", "3"),
        ("counter-keep-months", "4"),
        ("late-days", "14"),
        ("ahead-secs", "15"),
        ("close-after", "5"),
        ("segment-bytes", "8192"),
        ("rate-per-address", "5"),
        ("body-max", "6000"),
        ("header-max", "9000"),
        ("connections-max", "8"),
        ("request-timeout", "9"),
        ("shutdown-grace", "10"),
        ("threads", "11"),
        ("sink", "folder:/out"),
        ("sink-secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"),
        ("commit-interval", "12"),
        ("commit-patience", "13"),
        ("allow-private-webhooks", "true"),
        ("notice-interval", "16"),
        ("flush-interval", "17"),
        ("otlp-endpoint", "http://127.0.0.1:4318/"),
        ("portkey-url", "api.portkey.ai"),
        ("portkey-api-key", "pk"),
        ("portkey-workspace", "space"),
        ("portkey-timeout", "18"),
        ("aws-endpoint", "http://127.0.0.1:4566"),
        ("public-url", "https://tollgate.example.com/"),
        ("oidc-issuer", "https://login.example.com"),
        ("oidc-client-id", "tollgate"),
        ("oidc-client-secret", "hush"),
        ("oidc-scopes", "openid groups"),
        ("oidc-person-claim", "upn"),
        ("oidc-role-claim", "groups"),
        ("oidc-roles", "ops=admin,desk=read"),
        ("oidc-ca", "ca.pem"),
        ("smtp-host", "smtp.example.com"),
        ("smtp-port", "2525"),
        ("smtp-tls", "implicit"),
        ("smtp-ca", "ca.pem"),
        ("smtp-user", "ann"),
        ("smtp-password", "hush"),
        ("smtp-from", "Example <billing@example.com>"),
    ];
    assert_eq!(flags.len(), SETTINGS.len(), "every setting stands in this test");
    let chosen = resolved(&Said { flags, ..Said::default() }).expect("all is allowed").chosen;
    let server = &chosen.server;
    assert_eq!(server.listen, SocketAddr::from(([0, 0, 0, 0], 1)));
    assert!(server.trusted_network);
    assert_eq!(server.store, StoreUrl::Embedded(PathBuf::from("/data")));
    assert_eq!(server.catalog, Some(PathBuf::from("c.toml")));
    assert_eq!(server.cors_origins.as_slice(), ["https://app.example.com", "http://localhost:3000"]);
    assert_eq!(server.portal_frames.as_slice(), ["https://app.example.com"]);
    assert_eq!(server.api_key.as_ref().map(|key| key.0.as_str()), Some("k"));
    let tls = TlsFiles { certificate: PathBuf::from("c.pem"), key: PathBuf::from("k.pem") };
    assert_eq!(server.tls, Some(tls));
    assert_eq!((server.environment.as_str(), server.provider.as_str()), ("test", "Acme Cloud"));
    let portkey = server.portkey.as_ref().map(ToString::to_string);
    assert_eq!(portkey.as_deref(), Some("https://api.portkey.ai/"));
    assert_eq!(server.portkey_api_key.as_ref().map(|key| key.0.as_str()), Some("pk"));
    assert_eq!(server.portkey_workspace.as_deref(), Some("space"));
    assert_eq!(server.portkey_timeout, Duration::from_secs(18));
    assert_eq!((server.queue_requests_max, server.key_keep_days, server.counter_keep_months), (2, 3, 4));
    assert_eq!((server.late_days, server.ahead_secs), (14, 15));
    assert_eq!(
        (server.rate_per_address, server.body_bytes_max, server.header_bytes_max),
        (Some(5), 6000, 9000)
    );
    assert_eq!((server.close_after_days, server.segment_bytes), (Some(5), 8192));
    assert_eq!((server.connections_max, server.threads), (8, Some(11)));
    assert_eq!((server.request_timeout.as_secs(), server.shutdown_grace.as_secs()), (9, 10));
    assert_eq!(server.sink.as_ref().map(ToString::to_string).as_deref(), Some("folder:/out"));
    assert!(server.sink_secret.is_some());
    assert_eq!(server.otlp.as_ref().map(ToString::to_string).as_deref(), Some("http://127.0.0.1:4318"));
    assert_eq!((server.commit_interval.as_secs(), server.commit_patience.as_secs()), (12, 13));
    assert_eq!(server.aws_endpoint.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!((server.webhook_reach, server.notice_interval.as_secs()), (Reach::Anywhere, 16));
    let mail = MailSettings {
        host: "smtp.example.com".to_owned(),
        port: Some(2525),
        tls: SmtpTls::Implicit,
        ca: Some(PathBuf::from("ca.pem")),
        login: Some(SmtpLogin { user: "ann".to_owned(), password: "hush".to_owned() }),
        from: "Example <billing@example.com>".parse().expect("an address"),
        public_url: "https://tollgate.example.com".parse().expect("a URL"),
    };
    assert_eq!(server.mail, Some(mail));
    let oidc = OidcSettings {
        issuer: "https://login.example.com".parse().expect("a provider"),
        client_id: "tollgate".to_owned(),
        client_secret: Some(Secret("hush".to_owned())),
        scopes: "groups".parse().expect("scopes"),
        person_claim: Some("upn".to_owned()),
        role_claim: "groups".to_owned(),
        roles: "ops=admin,desk=read".parse().expect("roles"),
        ca: Some(PathBuf::from("ca.pem")),
        public_url: "https://tollgate.example.com".parse().expect("a URL"),
    };
    assert_eq!(server.oidc, Some(oidc));
    assert!(chosen.demo && chosen.log_json);
    assert_eq!(chosen.log_level.text(), "debug");
}

#[test]
fn wrong_values_name_the_setting_the_source_and_what_is_allowed() {
    let environment = |environment| Said { environment, ..Said::default() };
    let file = |text| Said { file: Some(text), ..Said::default() };
    for (said, wanted) in [
        (
            environment(&[("TOLLGATE_LISTEN", "here")]),
            "listen: 'here' is not an address; expected HOST:PORT such as 127.0.0.1:8080 (from environment \
             TOLLGATE_LISTEN)",
        ),
        (
            environment(&[("PORT", "99999")]),
            "listen: '99999' is not a port; expected a number from 0 to 65535 (from environment PORT)",
        ),
        (
            environment(&[("TOLLGATE_API_KEY", "my secret")]),
            "api-key: not an API key; expected visible ASCII characters without spaces (from environment \
             TOLLGATE_API_KEY)",
        ),
        (
            file("cors_origins = '*'"),
            "cors-origins: '*' would let in the pages of anybody; expected origins such as https://app.example.com, \
             separated by commas (from file t.toml)",
        ),
        (
            file("store = 'mysql://u:hush@x'"),
            "store: mysql:// is not a store; expected embedded:PATH, postgres://USER:PASSWORD@HOST/DATABASE, \
             redis+postgres://USER:PASSWORD@HOST/DATABASE?redis=redis://HOST, dynamodb://TABLE, mongodb://HOST/DATABASE or memory: \
             (from file t.toml)",
        ),
        (
            file("threads = 0"),
            "threads: '0' is not allowed; expected a whole number from 1 to 1024, or auto (from file t.toml)",
        ),
        (
            file("log_level = 'loud'"),
            "log-level: 'loud' is not a log level; expected error, warn, info, debug, trace or off, or levels by part \
             such as info,tollgate_engine=debug (from file t.toml)",
        ),
        (
            file("segment_bytes = 4097"),
            "segment-bytes: '4097' is not allowed; expected a multiple of 8 (from file t.toml)",
        ),
        (
            environment(&[("TOLLGATE_SINK", "ftp://u:hush@h/x")]),
            "sink: not a sink; expected http://…, https://…, nats://HOST:PORT/SUBJECT or folder:PATH (from environment \
             TOLLGATE_SINK)",
        ),
        (
            environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hush@h")]),
            "otlp-endpoint: not the address of a collector; expected such as http://127.0.0.1:4318 (from environment \
             OTEL_EXPORTER_OTLP_ENDPOINT)",
        ),
        (
            environment(&[("TOLLGATE_SINK", "http://u:hush@h:99999/x")]),
            "sink: not a sink: its port must be from 1 to 65535 (from environment TOLLGATE_SINK)",
        ),
        (
            environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:0")]),
            "otlp-endpoint: its port must be from 1 to 65535 (from environment OTEL_EXPORTER_OTLP_ENDPOINT)",
        ),
        (
            file("public_url = 'https://h:99999'"),
            "public-url: its port must be from 1 to 65535 (from file t.toml)",
        ),
        (
            file("portkey_url = 'https://h:99999'"),
            "portkey-url: its port must be from 1 to 65535 (from file t.toml)",
        ),
        (
            file("aws_endpoint = 'http://h:99999'"),
            "aws-endpoint: not a URL; expected such as http://127.0.0.1:4566 (from file t.toml)",
        ),
        (
            environment(&[("TOLLGATE_SINK_SECRET", "hush")]),
            "sink-secret: not a signing secret; expected whsec_ and 24 to 64 bytes in base64 (from environment \
             TOLLGATE_SINK_SECRET)",
        ),
        (
            file("smtp_host = 'smtp.example.com'\nsmtp_tls = 'maybe'"),
            "smtp-tls: 'maybe' is not allowed; expected starttls, implicit or none (from file t.toml)",
        ),
        (
            environment(&[("TOLLGATE_SMTP_HOST", "smtp.example.com:25")]),
            "smtp-host: not a host; expected such as smtp.example.com (from environment TOLLGATE_SMTP_HOST)",
        ),
        (
            file("smtp_host = 'h'\nsmtp_from = 'billing'"),
            "smtp-from: not an address; expected such as Example <billing@example.com> (from file t.toml)",
        ),
        (file("smtp_host = 'h'"), "smtp-host is set and smtp-from is not: e-mail needs both"),
        (
            file("smtp_host = 'h'\nsmtp_from = 'a@example.com'"),
            "smtp-host is set and public-url is not: e-mail needs both",
        ),
        (file("smtp_host = 'h'\nsmtp_user = 'ann'"), "smtp-user is set and smtp-password is not"),
        (
            file("oidc_issuer = 'https://login.example.com'"),
            "oidc-issuer is set and oidc-client-id is not: signing in needs both",
        ),
        (
            file("oidc_issuer = 'https://login.example.com'\noidc_client_id = 'tollgate'"),
            "oidc-issuer is set and public-url is not: signing in needs both",
        ),
        (
            environment(&[("TOLLGATE_OIDC_ISSUER", "http://u:hush@login.example.com")]),
            "oidc-issuer: not the URL of a provider; expected such as https://login.example.com (http:// only on this \
             machine) (from environment TOLLGATE_OIDC_ISSUER)",
        ),
        (
            file("oidc_roles = 'ops=owner'"),
            "oidc-roles: not a map of roles; expected VALUE=ROLE,… with the roles read, manage and admin (from file t.toml)",
        ),
        (
            file("oidc_scopes = ''"),
            "oidc-scopes: not scopes; expected words such as 'email groups' (from file t.toml)",
        ),
        (file("queue = 1.5"), "t.toml: queue is float; expected text, a whole number, true or false"),
        (file("tls_cert = 'c.pem'"), "tls-cert is set and tls-key is not: TLS needs both"),
    ] {
        assert_eq!(resolved(&said).err().as_deref(), Some(wanted));
    }
}

#[test]
fn unknown_settings_in_the_file_are_named_with_the_allowed_ones() {
    let error =
        resolved(&Said { file: Some("listen-on = 1"), ..Said::default() }).expect_err("an unknown setting");
    assert!(
        error.starts_with(
            "t.toml: there is no setting 'listen-on'; expected one of listen, trusted_network, store, "
        ),
        "{error}"
    );
    assert!(error.contains("key_keep_days"), "{error}");
    let error = resolved(&Said { file: Some("listen = "), ..Said::default() }).expect_err("not TOML");
    assert!(error.starts_with("the configuration file t.toml is not TOML: line 1: "), "{error}");
}

#[test]
fn a_file_that_is_not_toml_is_told_of_without_what_it_says() {
    for (file, line) in [
        ("listen = '127.0.0.1:1'\napi_key = hush", 2),
        ("api_key = 'hush", 1),
        ("\n\nsmtp_password = \"hu\\sh\"", 3),
        ("api_key = 'hush' 'hush'", 1),
        ("api_key = 'hush'\napi_key = 'hush'", 2),
        ("oidc_client_secret = 12hush", 1),
        ("TOLLGATE_API_KEY=hush", 1),
        ("# ü\n[hush", 2),
    ] {
        let error = resolved(&Said { file: Some(file), ..Said::default() }).expect_err(file);
        let begins = format!("the configuration file t.toml is not TOML: line {line}: ");
        assert!(error.starts_with(&begins) && error.len() > begins.len(), "{file}: {error}");
        assert!(!error.contains("hu") && error.lines().count() == 1, "{file}: {error}");
    }
}

#[test]
fn a_named_file_must_be_there() {
    let flags = Flags { file: Some(PathBuf::from("/nowhere/t.toml")), ..Flags::default() };
    let error = resolve(&flags, &Environment::new()).expect_err("no file");
    assert!(
        matches!(&error, Failure::Other(text) if text.contains("/nowhere/t.toml cannot be read")),
        "{error}"
    );
}

#[test]
fn a_port_alone_is_reached_from_everywhere_where_that_is_safe() {
    const KEY: (&str, &str) = ("TOLLGATE_API_KEY", "k");
    const TRUSTED: (&str, &str) = ("TOLLGATE_TRUSTED_NETWORK", "true");
    for (environment, file, value) in [
        (&[("PORT", "6")][..], None, "127.0.0.1:6"),
        (&[("PORT", "6"), KEY], None, "0.0.0.0:6"),
        (&[("SERVER_PORT", "6"), ("X_API_KEY", "k")], None, "0.0.0.0:6"),
        (&[("PORT", "6"), TRUSTED], None, "0.0.0.0:6"),
        // The host is said elsewhere, or nothing is said of the port.
        (&[("PORT", "6"), KEY], Some("listen = '127.0.0.3:3'"), "127.0.0.3:6"),
        (&[("PORT", "6"), ("TOLLGATE_LISTEN", "127.0.0.2:7"), KEY], None, "127.0.0.2:7"),
        (&[KEY], None, "127.0.0.1:8080"),
    ] {
        let config = resolved(&Said { environment, file, ..Said::default() }).expect("all is allowed");
        assert_eq!(one(&config, "listen").0, value, "{environment:?} {file:?}");
    }
}

#[test]
fn names_that_change_nothing_are_warned_of() {
    let warnings = |environment, flags| {
        let config = resolved(&Said { environment, flags, ..Said::default() });
        config.expect("a warning is no error").warnings
    };
    // Those of the server, of the client commands and of the file are known, and others' names are not ours to judge.
    let known = &[
        ("TOLLGATE_LISTEN", "127.0.0.1:1"),
        ("TOLLGATE_URL", "http://h"),
        ("TOLLGATE_CA_FILE", "c"),
        ("TOLLGATE_NOTHING", ""),
        ("HOME", "/root"),
        ("REDIS_URL", ""),
    ];
    assert_eq!(warnings(known, &[]), Vec::<String>::new());
    let ignored = &[
        ("TOLLGATE_LISTN", "hush"),
        ("AWS_REGION", "hush"),
        ("MONGO_DB_NAME", "hush"),
        ("REDIS_URL", "hush"),
    ];
    for (flags, data) in [(&[][..], "embedded:./tollgate-data"), (&[("store", "memory:")], "memory:")] {
        let warnings = warnings(ignored, flags);
        assert_eq!(warnings.len(), ignored.len(), "{warnings:?}");
        for (name, _) in ignored {
            assert!(warnings.iter().any(|line| line.starts_with(&format!("{name} is set, but "))), "{name}");
        }
        let store = format!(
            "REDIS_URL is set, but only --store or DATABASE_URL beside it names the database behind a Redis: the data is in {data}"
        );
        assert!(warnings.contains(&store), "{warnings:?}");
        assert!(!warnings.concat().contains("hush"), "values may be secrets: {warnings:?}");
    }
}

#[test]
fn the_database_of_an_older_system_is_the_store_unless_another_is_chosen() {
    let environment = &[("DATABASE_URL", "postgres://u:hush@127.0.0.1/d")];
    for flags in [&[][..], &[("store", "memory:")]] {
        let resolved = resolved(&Said { environment, flags, ..Said::default() });
        if flags.is_empty() && !cfg!(feature = "postgres") {
            let refused = resolved.expect_err("not in this build").to_string();
            let advice = "cargo build --release -p tollgate --features postgres";
            assert!(
                refused.contains(advice) && refused.ends_with("(from environment DATABASE_URL)"),
                "{refused}"
            );
            continue;
        }
        let config = resolved.expect("a store");
        let (store, said) = match flags {
            [] => ("postgres://u:***@127.0.0.1/d", 1),
            _ => ("memory:", 0),
        };
        assert_eq!((config.chosen.server.store.to_string().as_str(), config.warnings.len()), (store, said));
        let line = format!("DATABASE_URL chose the store: the data is in {store}");
        assert!(config.warnings.iter().all(|warning| *warning == line), "{:?}", config.warnings);
    }
    let environment = &[("DATABASE_URL", "mysql://u:hush@h/d")];
    let refused = resolved(&Said { environment, ..Said::default() }).expect_err("no store of ours");
    let refused = refused.to_string();
    assert!(refused.contains("mysql:// is not a store") && !refused.contains("hush"), "{refused}");
}

/// Each older system names its database in its own way; a build without that store says how to get one with it.
#[test]
fn the_names_of_older_systems_choose_the_store() {
    for (environment, is_there, feature, store) in [
        (&[("DYNAMODB_TABLE_NAME", "metering")][..], cfg!(feature = "aws"), "aws", "dynamodb://metering"),
        (
            &[("MONGO_URL", "mongodb://u:hush@h:1/d?tls=true")],
            cfg!(feature = "mongodb"),
            "mongodb",
            "mongodb://u:***@h:1/d?tls=true",
        ),
        (
            &[("MONGO_URL", "mongodb://u:hush@h:1/d?tls=true"), ("MONGO_DB_NAME", "books")],
            cfg!(feature = "mongodb"),
            "mongodb",
            "mongodb://u:***@h:1/books?tls=true",
        ),
        (
            &[("MONGO_URL", "mongodb+srv://u:hush@h"), ("MONGO_DB_NAME", "books")],
            cfg!(feature = "mongodb"),
            "mongodb",
            "mongodb+srv://u:***@h/books",
        ),
        (
            &[("DATABASE_URL", "postgres://u:hush@h/d"), ("REDIS_URL", "redis://:hush@r:1/2")],
            cfg!(feature = "redis"),
            "",
            "redis+postgres://u:***@h/d?redis=***",
        ),
    ] {
        let resolved = resolved(&Said { environment, ..Said::default() });
        if !is_there {
            let refused = resolved.expect_err("not in this build").to_string();
            assert!(refused.contains(&format!("--features {feature}")), "{refused}");
            assert!(!refused.contains("hush"), "{refused}");
            continue;
        }
        let config = resolved.expect("a store");
        assert_eq!(config.chosen.server.store.to_string(), store);
        let says = format!("{} chose the store: the data is in {store}", environment[0].0);
        assert_eq!(config.warnings, [says]);
    }
    let environment = &[("MONGO_URL", "postgres://u:hush@h/d")];
    let refused = resolved(&Said { environment, ..Said::default() }).expect_err("no MongoDB").to_string();
    assert!(!refused.contains("hush"), "{refused}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let environment = &[
        ("TOLLGATE_API_KEY", "hush-hush"),
        ("TOLLGATE_SINK", "https://ann:hush@proc.example/in?token=hush"),
        ("TOLLGATE_SINK_SECRET", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNo"),
        ("TOLLGATE_SMTP_HOST", "smtp.example.com"),
        ("TOLLGATE_SMTP_FROM", "billing@example.com"),
        ("TOLLGATE_PUBLIC_URL", "https://tollgate.example.com"),
        ("TOLLGATE_SMTP_USER", "ann"),
        ("TOLLGATE_SMTP_PASSWORD", "hush hush"),
        ("TOLLGATE_OIDC_ISSUER", "https://login.example.com"),
        ("TOLLGATE_OIDC_CLIENT_ID", "tollgate"),
        ("TOLLGATE_OIDC_CLIENT_SECRET", "hush-hush"),
    ];
    let said = Said { environment, ..Said::default() };
    let config = resolved(&said).expect("a key");
    let (table, json) = (report::table(&config), report::json(&config).expect("JSON"));
    for text in [&table, &json, &format!("{config:?}")] {
        assert!(text.contains("***") && !text.contains("hush") && !text.contains("aHVz"), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let line = json["settings"].as_array().expect("settings").iter().find(|line| line["name"] == "api-key");
    assert_eq!(
        line.expect("the key"),
        &serde_json::json!({
            "name": "api-key", "value": "***", "origin": {"from": "environment", "name": "TOLLGATE_API_KEY"}
        })
    );
}
