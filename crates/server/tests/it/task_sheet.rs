//! The task sheet, word for word, told twice: through the reports API and through the native API.

use serde_json::{Value, json};

use crate::client::{Client, given};
use crate::server::TestServer;

/// Through which routes the story is told.
#[derive(Clone, Copy, Debug)]
enum Through {
    Reports,
    Native,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Counted { remaining: i64, total: i64, by_user: i64 },
    Replayed { remaining: i64, total: i64, by_user: i64 },
    OrgLimit,
    UserLimit,
    TrialEnded,
    NoPlan,
    UnknownOrg,
    UserRequired,
}

struct Teller {
    through: Through,
    client: Client,
}

impl Teller {
    fn new(server: &TestServer, through: Through) -> Self {
        Self { through, client: server.client() }
    }

    fn plan(&mut self, org: &str, plan: &str) {
        match self.through {
            Through::Reports => {
                let reply = self.client.post("/plan", json!({"org_id": org, "plan": plan}));
                reply.is(200, json!({"status": "plan set"}));
            }
            Through::Native => {
                let plan = plan.to_lowercase();
                let reply = self.client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
                assert_eq!((&reply["org"], &reply["plan"]), (&json!(org), &json!(plan)));
            }
        }
    }

    fn user_limit(&mut self, org: &str, limit: Option<i64>) {
        match self.through {
            Through::Reports => {
                let reply = self.client.post("/limit", json!({"org_id": org, "limit": limit}));
                reply.is(200, json!({"status": "user limit set"}));
            }
            Through::Native => {
                let body = json!({"meter": "reports", "scope": "user", "window": "month", "amount": limit});
                let reply = self.client.put(&format!("/v1/orgs/{org}/limits"), body).ok();
                assert_eq!(reply["limits"].as_array().map(Vec::len), Some(usize::from(limit.is_some())));
            }
        }
    }

    /// Tops up; what remains then, and of how much.
    fn top_up(&mut self, org: &str, count: i64) -> (i64, i64) {
        let (reply, remaining, total) = match self.through {
            Through::Reports => {
                let reply = self.client.post("/top-up", json!({"org_id": org, "count": count})).ok();
                assert_eq!(
                    (&reply["status"], &reply["top_up_credits"]),
                    (&json!("credits topped up"), &json!(count))
                );
                (reply, "remaining_credits", "total_credits")
            }
            Through::Native => {
                let body = json!({"meter": "reports", "amount": count});
                (self.client.post(&format!("/v1/orgs/{org}/top-ups"), body).ok(), "remaining", "total")
            }
        };
        (whole(&reply[remaining]), whole(&reply[total]))
    }

    fn report(&mut self, org: &str, user: impl Into<Option<&'static str>>, key: &str) -> Answer {
        let user = user.into();
        match self.through {
            Through::Reports => self.reports_use(org, user, key),
            Through::Native => self.native_report(org, user, key),
        }
    }

    fn reports_use(&mut self, org: &str, user: Option<&str>, key: &str) -> Answer {
        let reply = self.client.post("/use", json!({"org_id": org, "user_id": user, "enquiry_id": key}));
        let body = reply.json();
        match (reply.status, body["error"].as_str()) {
            (200, None) => {
                let told = (&body["status"], &body["enquiry_id"]);
                assert_eq!(told, (&json!("report counted"), &json!(key)), "{body:#}");
                let names = ["remaining_credits", "total_credits", "user_usage"];
                counted(&body["replayed"], names.map(|name| whole(&body[name])))
            }
            (403, Some("limit reached")) => Answer::OrgLimit,
            (403, Some("user limit reached")) => Answer::UserLimit,
            (403, Some("trial ended")) => Answer::TrialEnded,
            (403, Some("no plan")) => Answer::NoPlan,
            (404, Some("org not found")) => Answer::UnknownOrg,
            (400, Some("user_id is required while a user limit is in force")) => Answer::UserRequired,
            _ => panic!("{} {body:#}", reply.status),
        }
    }

    fn native_report(&mut self, org: &str, user: Option<&str>, key: &str) -> Answer {
        let body = given(json!({"org": org, "user": user, "meter": "reports", "key": key}));
        let reply = self.client.post("/v1/usage", body);
        let body = reply.json();
        let code = body["code"].as_str();
        assert_eq!(body["allowed"], code.is_none(), "{body:#}");
        match (reply.status, code) {
            (200, None) => {
                let by_user = if user.is_some() { whole(&body["user_used"]) } else { 0 };
                assert_eq!(body["user_used"].is_null(), user.is_none(), "{body:#}");
                counted(&body["replayed"], [whole(&body["remaining"]), whole(&body["total"]), by_user])
            }
            (402, Some("org_limit_reached")) => Answer::OrgLimit,
            (403, Some("user_limit_reached")) => Answer::UserLimit,
            (402, Some("trial_ended")) => Answer::TrialEnded,
            (402, Some("no_plan")) => Answer::NoPlan,
            (404, Some("unknown_org")) => Answer::UnknownOrg,
            (422, Some("user_required")) => Answer::UserRequired,
            _ => panic!("{} {body:#}", reply.status),
        }
    }

    /// All that is told of an org: whatever changes, changes this.
    fn all_of(&mut self, org: &str) -> (Value, Value) {
        let known = self.client.get(&format!("/v1/orgs/{org}")).ok();
        (known, self.client.get(&format!("/v1/orgs/{org}/balance")).ok())
    }
}

fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not a whole number"))
}

fn counted(replayed: &Value, [remaining, total, by_user]: [i64; 3]) -> Answer {
    match replayed.as_bool() {
        Some(false) => Answer::Counted { remaining, total, by_user },
        Some(true) => Answer::Replayed { remaining, total, by_user },
        None => panic!("replayed is {replayed}"),
    }
}

const USERS: [&str; 10] = ["ada", "ben", "cleo", "dev", "eve", "finn", "gus", "hal", "ines", "jo"];

fn tell(story: impl Fn(&TestServer, &mut Teller)) {
    for through in [Through::Reports, Through::Native] {
        println!("through {through:?}");
        let server = TestServer::start();
        story(&server, &mut Teller::new(&server, through));
    }
}

#[test]
fn five_hundred_reports_a_month_fifty_a_user_and_a_top_up() {
    tell(the_month);
}

/// The same month on a store: through the reports API and through the native API, each with a store of its own.
#[cfg(any(feature = "aws", feature = "mongodb", feature = "redis"))]
fn tell_on(url: impl Fn(&str) -> String) {
    for (through, name) in [(Through::Reports, "reports"), (Through::Native, "native")] {
        let server = TestServer::with(|settings| settings.store = url(name).parse().expect("a store"));
        the_month(&server, &mut Teller::new(&server, through));
    }
}

#[cfg(feature = "redis")]
#[test]
fn the_same_month_on_postgres_and_on_redis_before_it() {
    let start = || tollgate_peers::Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let databases = [start(), start()];
    let of = |name: &str| if name == "reports" { &databases[0] } else { &databases[1] };
    tell_on(|name| of(name).url());
    let databases = [start(), start()];
    let of = |name: &str| if name == "reports" { &databases[0] } else { &databases[1] };
    let caches = [(); 2].map(|()| tollgate_peers::Redis::start(&[]).expect("Redis starts"));
    tell_on(|name| {
        let cache = if name == "reports" { &caches[0] } else { &caches[1] };
        format!("redis+{}?redis={}", of(name).url(), cache.url())
    });
}

#[cfg(feature = "aws")]
#[test]
fn the_same_month_on_dynamodb() {
    let database = tollgate_peers::Dynamo::start().expect("DynamoDB Local starts");
    tell_on(|name| database.url(name));
}

#[cfg(feature = "mongodb")]
#[test]
fn the_same_month_on_mongodb() {
    let database = tollgate_peers::Mongo::start(1).expect("MongoDB starts");
    tell_on(|name| database.url(name));
}

fn the_month(server: &TestServer, teller: &mut Teller) {
    assert_eq!(teller.report("acme", "ada", "early"), Answer::UnknownOrg);
    teller.plan("acme", "Enterprise");
    teller.user_limit("acme", Some(50));
    assert_eq!(teller.report("acme", None, "whose"), Answer::UserRequired);

    // Ten users, fifty each, in turn; the 51st of the first is refused while the others go on.
    let mut remaining = 500;
    for (place, user) in USERS.into_iter().enumerate() {
        for number in 1..=50 {
            remaining -= 1;
            let answer = teller.report("acme", user, &format!("{user}-{number}"));
            assert_eq!(answer, Answer::Counted { remaining, total: 500, by_user: number });
        }
        if place < USERS.len() - 1 {
            assert_eq!(teller.report("acme", user, &format!("{user}-51")), Answer::UserLimit);
        }
    }

    // The 501st of the org, by a user who has not used any.
    assert_eq!(teller.report("acme", "kim", "kim-1"), Answer::OrgLimit);
    let before = teller.all_of("acme");
    assert_eq!(teller.report("acme", "kim", "kim-1"), Answer::OrgLimit);
    teller.plan("acme", "Enterprise");
    assert_eq!(teller.all_of("acme"), before, "a refusal and the same plan change nothing");

    // The top-up opens the gate for ten more, to users within their own limit; a refused id may be tried again.
    assert_eq!(teller.top_up("acme", 10), (10, 510));
    assert_eq!(teller.report("acme", "ada", "ada-51"), Answer::UserLimit);
    for number in 1..=10 {
        let answer = teller.report("acme", "kim", &format!("kim-{number}"));
        assert_eq!(answer, Answer::Counted { remaining: 10 - number, total: 510, by_user: number });
    }
    assert_eq!(teller.report("acme", "kim", "kim-11"), Answer::OrgLimit);

    // The same report id counts once, also when nothing is left.
    assert_eq!(
        teller.report("acme", "kim", "kim-4"),
        Answer::Replayed { remaining: 6, total: 510, by_user: 4 }
    );
    assert_eq!(teller.report("acme", "kim", "kim-11"), Answer::OrgLimit);

    // To the last moment of the month, then all starts afresh and the top-up is gone.
    server.at("2026-11-30T23:59:59.999999999Z");
    assert_eq!(teller.report("acme", "kim", "kim-11"), Answer::OrgLimit);
    server.at("2026-12-01T00:00:00Z");
    assert_eq!(
        teller.report("acme", "ada", "ada-51"),
        Answer::Counted { remaining: 499, total: 500, by_user: 1 }
    );
    assert_eq!(
        teller.report("acme", "ada", "ada-1"),
        Answer::Replayed { remaining: 499, total: 500, by_user: 1 },
        "an id of last month is still remembered"
    );
    assert_eq!(teller.all_of("acme").1["meters"]["reports"]["used"], 1);
}

#[test]
fn a_limit_for_each_user_can_be_changed_and_removed() {
    tell(|_, teller| {
        teller.plan("acme", "Basic");
        assert_eq!(
            teller.report("acme", None, "nobody-1"),
            Answer::Counted { remaining: 99, total: 100, by_user: 0 },
            "no limit blocks nobody"
        );
        for number in 1..=3 {
            teller.report("acme", "ada", &format!("ada-{number}"));
        }
        teller.user_limit("acme", Some(3));
        assert_eq!(teller.report("acme", "ada", "ada-4"), Answer::UserLimit, "what was used before counts");
        teller.user_limit("acme", Some(4));
        assert_eq!(
            teller.report("acme", "ada", "ada-4"),
            Answer::Counted { remaining: 95, total: 100, by_user: 4 }
        );
        assert_eq!(teller.report("acme", "ada", "ada-5"), Answer::UserLimit);
        assert_eq!(teller.report("acme", None, "nobody-2"), Answer::UserRequired);
        teller.user_limit("acme", None);
        assert_eq!(
            teller.report("acme", "ada", "ada-5"),
            Answer::Counted { remaining: 94, total: 100, by_user: 5 }
        );
        assert_eq!(
            teller.report("acme", None, "nobody-2"),
            Answer::Counted { remaining: 93, total: 100, by_user: 0 }
        );
    });
}

#[test]
fn the_four_plans_give_what_they_say() {
    tell(|_, teller| {
        for (plan, credit) in [("Ultimate", 1000), ("Enterprise", 500), ("Basic", 100), ("Lite", 20)] {
            let org = format!("on-{plan}");
            teller.plan(&org, plan);
            assert_eq!(
                teller.report(&org, "ada", "r-1"),
                Answer::Counted { remaining: credit - 1, total: credit, by_user: 1 }
            );
        }
        // The smallest one to its end.
        for number in 2..=20 {
            let answer = teller.report("on-Lite", "ada", &format!("r-{number}"));
            assert_eq!(answer, Answer::Counted { remaining: 20 - number, total: 20, by_user: number });
        }
        assert_eq!(teller.report("on-Lite", "ada", "r-21"), Answer::OrgLimit);
    });
}

#[test]
fn a_change_of_plan_takes_effect_at_once_and_forgets_nothing() {
    tell(|_, teller| {
        teller.plan("acme", "Basic");
        for number in 1..=30 {
            teller.report("acme", "ada", &format!("r-{number}"));
        }
        teller.plan("acme", "Lite");
        assert_eq!(teller.report("acme", "ada", "r-31"), Answer::OrgLimit);
        let reports = teller.all_of("acme").1["meters"]["reports"].clone();
        assert_eq!((&reports["used"], &reports["remaining"]), (&json!(20), &json!(0)), "never negative");
        assert_eq!(reports["month"], 30, "what was counted stays");
        teller.plan("acme", "Enterprise");
        assert_eq!(
            teller.report("acme", "ada", "r-31"),
            Answer::Counted { remaining: 469, total: 500, by_user: 31 }
        );
    });
}

#[test]
fn a_trial_ends_by_count_and_a_plan_opens_the_gate() {
    tell(|_, teller| {
        teller.plan("acme", "Trial");
        for number in 1..=10 {
            let answer = teller.report("acme", "ada", &format!("r-{number}"));
            assert_eq!(answer, Answer::Counted { remaining: 10 - number, total: 10, by_user: number });
        }
        assert_eq!(teller.report("acme", "ada", "r-11"), Answer::TrialEnded);
        teller.plan("acme", "Basic");
        assert_eq!(
            teller.report("acme", "ada", "r-11"),
            Answer::Counted { remaining: 99, total: 100, by_user: 11 },
            "the trial's usage does not count against the plan"
        );
    });
}

#[test]
fn a_trial_ends_after_fourteen_days() {
    tell(|server, teller| {
        server.at("2026-11-20T08:30:00Z");
        teller.plan("acme", "trial");
        teller.plan("used-up", "trial");
        assert_eq!(
            teller.report("acme", None, "r-1"),
            Answer::Counted { remaining: 9, total: 10, by_user: 0 }
        );
        for number in 1..=10 {
            teller.report("used-up", None, &format!("r-{number}"));
        }
        // Past the end of the month it goes on where it was.
        server.at("2026-12-01T00:00:00Z");
        assert_eq!(teller.report("used-up", None, "r-11"), Answer::TrialEnded, "a month does not refill it");
        server.at("2026-12-04T08:29:59.999999999Z");
        assert_eq!(
            teller.report("acme", None, "r-2"),
            Answer::Counted { remaining: 8, total: 10, by_user: 0 }
        );
        server.at("2026-12-04T08:30:00Z");
        assert_eq!(teller.report("acme", None, "r-3"), Answer::TrialEnded);
        teller.plan("acme", "trial");
        assert_eq!(teller.report("acme", None, "r-3"), Answer::TrialEnded, "the same plan changes nothing");
        teller.plan("acme", "lite");
        assert_eq!(
            teller.report("acme", None, "r-3"),
            Answer::Counted { remaining: 19, total: 20, by_user: 0 }
        );
    });
}

#[test]
fn a_top_up_before_the_first_use_of_a_month_is_kept() {
    tell(|server, teller| {
        teller.plan("acme", "Lite");
        assert_eq!(teller.top_up("acme", 5), (25, 25), "before the first use ever");
        assert_eq!(
            teller.report("acme", None, "nov-1"),
            Answer::Counted { remaining: 24, total: 25, by_user: 0 }
        );
        server.at("2026-12-24T18:00:00Z");
        assert_eq!(teller.top_up("acme", 3), (23, 23), "before the first use of a month");
        assert_eq!(teller.top_up("acme", 4), (27, 27));
        for number in 1..=27 {
            let answer = teller.report("acme", None, &format!("dec-{number}"));
            assert_eq!(answer, Answer::Counted { remaining: 27 - number, total: 27, by_user: 0 });
        }
        assert_eq!(teller.report("acme", None, "dec-28"), Answer::OrgLimit);
        server.at("2027-01-01T00:00:00Z");
        assert_eq!(
            teller.report("acme", None, "jan-1"),
            Answer::Counted { remaining: 19, total: 20, by_user: 0 },
            "it expired with its month"
        );
    });
}

#[test]
fn an_org_without_a_plan_is_refused() {
    tell(|_, teller| {
        teller.client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
        assert_eq!(teller.report("acme", "ada", "r-1"), Answer::NoPlan);
        teller.plan("acme", "Lite");
        assert_eq!(
            teller.report("acme", "ada", "r-1"),
            Answer::Counted { remaining: 19, total: 20, by_user: 1 }
        );
    });
}

#[test]
fn a_month_ends_where_the_org_is() {
    tell(|server, teller| {
        for (zone, last, first) in [
            ("Pacific/Auckland", "2026-11-30T10:59:59Z", "2026-11-30T11:00:00Z"),
            ("America/Los_Angeles", "2026-12-01T07:59:59Z", "2026-12-01T08:00:00Z"),
        ] {
            let org = zone.replace('/', "-");
            server.at("2026-11-20T00:00:00Z");
            teller.client.put(&format!("/v1/orgs/{org}"), json!({"time_zone": zone})).ok();
            teller.plan(&org, "Lite");
            teller.top_up(&org, 1);
            for number in 1..=21 {
                teller.report(&org, None, &format!("r-{number}"));
            }
            server.at(last);
            assert_eq!(teller.report(&org, None, "r-22"), Answer::OrgLimit, "{zone}");
            server.at(first);
            assert_eq!(
                teller.report(&org, None, "r-22"),
                Answer::Counted { remaining: 19, total: 20, by_user: 0 },
                "{zone}"
            );
        }
    });
}

#[test]
fn everything_is_there_after_a_restart() {
    let mut server = TestServer::start();
    let mut teller = Teller::new(&server, Through::Reports);
    teller.plan("acme", "Lite");
    teller.user_limit("acme", Some(15));
    teller.top_up("acme", 2);
    for number in 1..=15 {
        teller.report("acme", "ada", &format!("r-{number}"));
    }
    let before = teller.all_of("acme");
    for _ in 0..2 {
        server.restart();
        let mut teller = Teller::new(&server, Through::Reports);
        assert_eq!(teller.all_of("acme"), before);
        assert_eq!(
            teller.report("acme", "ada", "r-15"),
            Answer::Replayed { remaining: 7, total: 22, by_user: 15 }
        );
        assert_eq!(teller.all_of("acme"), before);
    }
    let mut teller = Teller::new(&server, Through::Reports);
    assert_eq!(teller.report("acme", "ada", "r-16"), Answer::UserLimit);
    assert_eq!(teller.report("acme", "ben", "r-16"), Answer::Counted { remaining: 6, total: 22, by_user: 1 });
}
