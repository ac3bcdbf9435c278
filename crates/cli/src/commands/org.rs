//! Organizations: who they are, what they bought, their limits and top-ups.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tollgate_api::{
    LimitGiver, LimitItem, LimitReply, LimitsReply, OrgItem, OrgNoticesReply, OrgPage, ScopeName,
    ThresholdsGiver,
};
use tollgate_domain::{LimitPath, Window};
use ureq::http::Method;

use super::pages::more;
use super::{MeterArg, Paging, Session};
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time, time_or};

/// `tollgate org`
#[derive(Debug, Subcommand)]
pub(crate) enum OrgCommand {
    /// Create an organization, or change its name or time zone.
    Set {
        /// The organization.
        org: String,
        /// A display name.
        #[arg(long)]
        name: Option<String>,
        /// IANA time zone of its days and months, such as Europe/Berlin.
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
    },
    /// List organizations, sorted by id.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an organization.
    Show {
        /// The organization.
        org: String,
    },
    /// Show, or set, which shares of its credit its notices tell of.
    Notices {
        /// The organization.
        org: String,
        /// Shares in percent, such as 50,90,100.
        #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=100))]
        thresholds: Option<Vec<u8>>,
        /// Tell of no share of it.
        #[arg(long, conflicts_with = "thresholds")]
        no_thresholds: bool,
        /// Go by its plan again.
        #[arg(long, conflicts_with_all = ["thresholds", "no_thresholds"])]
        as_plan: bool,
    },
}

/// `tollgate limit`
#[derive(Debug, Subcommand)]
pub(crate) enum LimitCommand {
    /// List the limits of an organization: its own, and those of its plan.
    List {
        /// The organization.
        org: String,
    },
    /// Set a limit.
    Set {
        /// The organization.
        org: String,
        /// How much may be used per window, at least 1.
        #[arg(allow_negative_numbers = true)]
        amount: String,
        #[command(flatten)]
        which: LimitArgs,
    },
    /// Remove a limit.
    Remove {
        /// The organization.
        org: String,
        #[command(flatten)]
        which: LimitArgs,
    },
}

/// Which limit.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    meter: MeterArg,
    /// Limit the whole organization, each user separately, or a path [default: user, or path with --path]
    #[arg(long, value_enum)]
    scope: Option<ScopeArg>,
    /// Limit only this user.
    #[arg(long)]
    user: Option<String>,
    /// Limit all usage at and below this path together, such as research; with * as the last name each path separately.
    #[arg(long, conflicts_with = "user")]
    path: Option<String>,
    /// The time window: minute, hour, day, week, month, lifetime; week_from_sunday; plan_month (from the day the plan began),
    /// month_from_15; rolling_5h, rolling_7d (the last hours or days); first_use_5h, first_use_7d (from the first use).
    #[arg(long, value_parser = str::parse::<Window>, default_value = "month")]
    window: Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    Org,
    User,
    Path,
}

impl LimitArgs {
    const fn scope(&self) -> ScopeArg {
        match (self.scope, &self.path) {
            (Some(scope), _) => scope,
            (None, Some(_)) => ScopeArg::Path,
            (None, None) => ScopeArg::User,
        }
    }
}

impl ScopeArg {
    const fn name(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::User => "user",
            Self::Path => "path",
        }
    }
}

/// Runs `tollgate org`.
pub(crate) fn org(session: &mut Session, command: &OrgCommand) -> Result<(), Failure> {
    match command {
        OrgCommand::Set { org, name, time_zone } => {
            let body = given(json!({"name": name, "time_zone": time_zone}));
            session.show(Method::PUT, &Route::v1(&["orgs", org]), &Sent::Json(body), org_text)
        }
        OrgCommand::List { paging } => {
            let page = session.list(&Route::v1(&["orgs"]), paging, "orgs")?;
            session.show_list(&page, "orgs", orgs_text)
        }
        OrgCommand::Show { org } => {
            session.show(Method::GET, &Route::v1(&["orgs", org]), &Sent::Nothing, org_text)
        }
        OrgCommand::Notices { org, thresholds, no_thresholds, as_plan } => {
            let set = match (thresholds, no_thresholds, as_plan) {
                (Some(thresholds), ..) => Some(json!(thresholds)),
                (None, true, _) => Some(json!([])),
                (None, _, true) => Some(json!(null)),
                (None, false, false) => None,
            };
            let route = Route::v1(&["orgs", org, "notices"]);
            match set {
                None => session.show(Method::GET, &route, &Sent::Nothing, notices_text),
                Some(set) => {
                    let body = Sent::Json(json!({"thresholds": set}));
                    session.show(Method::PUT, &route, &body, notices_text)
                }
            }
        }
    }
}

/// Runs `tollgate limit`.
pub(crate) fn limit(session: &mut Session, command: &LimitCommand) -> Result<(), Failure> {
    match command {
        LimitCommand::List { org } => {
            let route = Route::v1(&["orgs", org, "limits"]);
            session.show(Method::GET, &route, &Sent::Nothing, given_text)
        }
        LimitCommand::Set { org, amount, which } => {
            let body = given(json!({
                "meter": which.meter.meter, "scope": which.scope().name(), "user": which.user,
                "path": which.path, "window": which.window, "amount": amount,
            }));
            session.show(Method::PUT, &Route::v1(&["orgs", org, "limits"]), &Sent::Json(body), limits_text)
        }
        LimitCommand::Remove { org, which } => {
            let route = Route::v1(&["orgs", org, "limits"])
                .with("meter", Some(&which.meter.meter))
                .with("scope", Some(which.scope().name()))
                .with("user", which.user.as_deref())
                .with("path", which.path.as_deref())
                .with("window", Some(&which.window.name()));
            session.show(Method::DELETE, &route, &Sent::Nothing, limits_text)
        }
    }
}

fn org_text(org: &OrgItem) -> String {
    let mut about = vec![
        ("org", Field::from(&org.org)),
        ("name", (&org.name).into()),
        ("plan", (&org.plan).into()),
        ("time zone", (&org.time_zone).into()),
        ("created", time(&org.created_at)),
        ("version", org.version.into()),
    ];
    if let Some(trial) = &org.trial {
        about.push(("trial started", time(&trial.started_at)));
        about.push(("trial ends", time(&trial.ends_at)));
    }
    let meters = org.meters.iter().map(|(meter, stands)| {
        vec![meter.into(), stands.used.into(), stands.remaining.into(), stands.projected.into()]
    });
    let meters = rows(&["meter", "used", "remaining", "projected"], meters.collect(), "nothing counted yet");
    parts(vec![pairs(about), meters])
}

fn notices_text(reply: &OrgNoticesReply) -> String {
    let shares: Vec<String> = reply.thresholds.iter().map(|percent| format!("{percent} %")).collect();
    let from = match (reply.from, &reply.plan) {
        (ThresholdsGiver::Org, _) => "org".to_owned(),
        (ThresholdsGiver::Plan, None) => "plan".to_owned(),
        (ThresholdsGiver::Plan, Some(plan)) => format!("plan {plan}"),
        (ThresholdsGiver::Catalog, _) => "catalog".to_owned(),
    };
    pairs(vec![
        ("org", Field::from(&reply.org)),
        ("notices at", if shares.is_empty() { "no share".into() } else { shares.join(", ").into() }),
        ("from", from.into()),
        ("changed", reply.changed.into()),
    ])
}

fn orgs_text(page: &OrgPage) -> String {
    let mut lines: Vec<Vec<Field>> = Vec::new();
    for org in &page.orgs {
        let about = || vec![Field::from(&org.org), (&org.name).into(), (&org.plan).into()];
        if org.meters.is_empty() {
            let mut line = about();
            line.extend([Field::from("-"), None.into(), None.into(), None.into()]);
            lines.push(line);
        }
        for (meter, stands) in &org.meters {
            let mut line = about();
            line.extend([
                Field::from(meter),
                stands.used.into(),
                stands.remaining.into(),
                stands.projected.into(),
            ]);
            lines.push(line);
        }
    }
    let headings = ["org", "name", "plan", "meter", "used", "remaining", "projected"];
    parts(vec![rows(&headings, lines, "no organizations"), more(page.next.as_ref())])
}

fn limits_text(reply: &LimitReply) -> String {
    let about = pairs(vec![("org", (&reply.org).into()), ("changed", reply.changed.into())]);
    parts(vec![about, limit_rows(&reply.limits, "no limits of its own")])
}

/// The limits of an organization and its plan, and which of them decide.
fn given_text(reply: &LimitsReply) -> String {
    let lines = reply.limits.iter().map(|limit| {
        let from = match (limit.from, &reply.plan) {
            (LimitGiver::Org, _) => "org".to_owned(),
            (LimitGiver::Plan, None) => "plan".to_owned(),
            (LimitGiver::Plan, Some(plan)) => format!("plan {plan}"),
        };
        vec![
            Field::from(&limit.meter),
            whose(limit.scope, limit.user.as_ref(), limit.path.as_ref()).into(),
            limit.window.to_string().into(),
            limit.amount.into(),
            from.into(),
            limit.in_force.into(),
        ]
    });
    rows(&["meter", "limit on", "window", "amount", "from", "in force"], lines.collect(), "no limits")
}

/// Whose usage a limit caps.
fn whose(scope: ScopeName, user: Option<&String>, path: Option<&String>) -> String {
    match (scope, user) {
        (ScopeName::Org, _) => "org".to_owned(),
        (ScopeName::User, None) => "each user".to_owned(),
        (ScopeName::User, Some(user)) => format!("user {user}"),
        (ScopeName::Path, _) => {
            let path = path.and_then(|path| LimitPath::new(path).ok());
            path.map_or_else(|| "path".to_owned(), |path| path.phrase())
        }
    }
}

/// Limits, a row each.
pub(super) fn limit_rows(limits: &[LimitItem], empty: &str) -> String {
    let lines = limits.iter().map(|limit| {
        vec![
            Field::from(&limit.meter),
            whose(limit.scope, limit.user.as_ref(), limit.path.as_ref()).into(),
            limit.window.to_string().into(),
            limit.amount.into(),
            limit.used.into(),
            time_or(limit.resets_at.as_ref(), "-"),
        ]
    });
    rows(&["meter", "limit on", "window", "amount", "used", "resets at"], lines.collect(), empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_are_listed_a_line_a_meter() {
        let page = r#"{"orgs":[
            {"org":"acme","name":"Acme","time_zone":"UTC","plan":"basic","trial":null,"version":3,
             "created_at":"2026-11-21T00:00:00Z","meters":{
               "reports":{"used":7,"remaining":93,"projected":10.5},
               "tokens":{"used":0.000000001,"remaining":null,"projected":null}}},
            {"org":"b","name":null,"time_zone":"UTC","plan":null,"trial":null,"version":1,
             "created_at":"2026-11-21T00:00:00Z","meters":{}}],"next":"c2"}"#;
        let page = serde_json::from_str(page).expect("a page");
        assert_eq!(
            orgs_text(&page),
            "ORG   NAME  PLAN   METER           USED  REMAINING  PROJECTED\n\
             acme  Acme  basic  reports            7         93       10.5\n\
             acme  Acme  basic  tokens   0.000000001          -          -\n\
             b     -     -      -                  -          -          -\n\
             \nthere is more: --cursor c2, or --all\n"
        );
    }

    #[test]
    fn limits_say_on_whom() {
        let reply = r#"{"org":"acme","changed":true,"limits":[
            {"meter":"reports","scope":"user","window":"month","amount":5,"used":null,"resets_at":null},
            {"meter":"reports","scope":"user","user":"ann","window":"day","amount":50,"used":2,"resets_at":"t"},
            {"meter":"reports","scope":"path","path":"a/*","window":"day","amount":9,"used":null,"resets_at":"t"}]}"#;
        assert_eq!(
            limits_text(&serde_json::from_str(reply).expect("a reply")),
            "org      acme\nchanged  yes\n\n\
             METER    LIMIT ON           WINDOW  AMOUNT  USED  RESETS AT\n\
             reports  each user          month        5     -  -\n\
             reports  user ann           day         50     2  t\n\
             reports  each path below a  day          9     -  t\n"
        );
    }
}
