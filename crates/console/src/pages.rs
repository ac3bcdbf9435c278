//! The pages: what each shows. How, their templates say.

use std::collections::BTreeMap;

use askama::Template;
use tollgate_api::{
    ApiKeyCreated, ApiKeyItem, BalanceReply, BillPage, BillReply, BillStatus, Decimal, EntryItem, HoldItem,
    LimitsReply, NoticeItem, OrgItem, OrgNoticesReply, PlanReply, Problem, TopUpItem, UserPage,
};
use tollgate_domain::Amount;

use crate::channels::Undelivered;
use crate::chart::Chart;
use crate::form::{Answered, Choice};
use crate::frame::Frame;
use crate::paths::Limited;
use crate::{show, text};

/// Where one signs in.
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInView {
    /// The name of the style sheet.
    pub style: String,
    /// What the form must bring back.
    pub token: String,
    /// Where one goes then.
    pub to: String,
    /// What was wrong with the key.
    pub wrong: Option<String>,
    /// Why somebody was not let in who came without a key.
    pub failed: Option<String>,
    /// Where one signs in without a key, if one can.
    pub provider: Option<String>,
}

/// Where the receiver of a channel's e-mail says that no more is wanted.
#[derive(Debug, Template)]
#[template(path = "unsubscribe.html")]
pub struct UnsubscribeView {
    /// The name of the style sheet.
    pub style: String,
    /// What the address of the page ends with.
    pub link: String,
    /// The name of the channel.
    pub name: String,
    /// The address that it sends to.
    pub to: String,
    /// Whether it sends no more.
    pub done: bool,
}

/// Something went wrong.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub struct ProblemView {
    /// The name of the style sheet.
    pub style: String,
    /// What.
    pub problem: Problem,
}

/// What a look at all organizations found.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    /// How many there are, as far as they were looked at.
    pub orgs: u64,
    /// When it was begun.
    pub at: String,
    /// Whether it is of all of them.
    pub whole: bool,
    /// Who runs out, the first to do so first.
    pub running_out: Vec<Spender>,
    /// Who is out already.
    pub out: Vec<Spender>,
    /// How many are out.
    pub out_count: u64,
    /// How many run out in this month.
    pub running_out_count: u64,
    /// Whose usage changes the most.
    pub movers: Vec<Mover>,
    /// The usage of all of them: this month so far, what is expected of it, and last month.
    pub totals: Vec<Glance>,
}

/// An organization that runs out, or is out.
#[derive(Clone, Debug)]
pub struct Spender {
    /// Its id.
    pub org: String,
    /// Its name.
    pub name: Option<String>,
    /// Its plan.
    pub plan: Option<String>,
    /// Of what.
    pub meter: String,
    /// On which day.
    pub on: String,
    /// How much it used.
    pub used: Decimal,
    /// How much it has left.
    pub remaining: Decimal,
}

impl Spender {
    /// How much of it is used, in percent.
    fn percent(&self) -> i128 {
        text::percent(self.used.0, self.used.0 + self.remaining.0)
    }
}

/// An organization whose usage changes.
#[derive(Clone, Debug)]
pub struct Mover {
    /// Its id.
    pub org: String,
    /// Its name.
    pub name: Option<String>,
    /// Of what.
    pub meter: String,
    /// Last month.
    pub before: Decimal,
    /// What is expected of this month.
    pub expected: Decimal,
}

impl Mover {
    fn rises(&self) -> bool {
        self.expected > self.before
    }

    fn difference(&self) -> Amount {
        let difference = self.expected.0 - self.before.0;
        if difference < Amount::ZERO { -difference } else { difference }
    }
}

/// The usage of all organizations of a meter.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Of what.
    pub meter: String,
    /// In this month so far.
    pub month: Amount,
    /// What is expected of this month.
    pub expected: Amount,
    /// In the month before.
    pub before: Amount,
}

/// An organization that was refused.
#[derive(Clone, Debug)]
pub struct RefusedRow {
    /// Its id.
    pub org: String,
    /// Its name.
    pub name: Option<String>,
    /// Why.
    pub reason: &'static str,
    /// Last when.
    pub at: String,
    /// Where its clocks are.
    pub zone: String,
}

/// Who runs out, who was refused, what changes.
#[derive(Debug, Template)]
#[template(path = "overview.html")]
pub struct OverviewView {
    /// Around it.
    pub frame: Frame,
    /// What a look at all of them found.
    pub found: Surveyed,
    /// Whether another look is going on.
    pub looking: bool,
    /// Who was refused today, the last first.
    pub refused: Vec<RefusedRow>,
    /// The channels on which notices did not arrive.
    pub undelivered: Vec<Undelivered>,
    /// The meters there are.
    pub meters: Vec<Choice>,
}

/// The organizations.
#[derive(Debug, Template)]
#[template(path = "orgs.html")]
pub struct OrgsView {
    /// Around it.
    pub frame: Frame,
    /// Those of this page.
    pub orgs: Vec<OrgItem>,
    /// The address of the next page.
    pub next: Option<String>,
    /// Whether this is not the first page.
    pub later: bool,
    /// In which order those of this page stand.
    pub sort: String,
    /// What the filters are set to.
    pub asked: BTreeMap<String, String>,
    /// What is wrong with them.
    pub wrong: Option<Problem>,
    /// The plans there are.
    pub plans: Vec<Choice>,
    /// The meters there are.
    pub meters: Vec<Choice>,
    /// What was sent to make one.
    pub sent: Option<Answered>,
}

impl OrgsView {
    fn asked(&self, name: &str) -> &str {
        self.asked.get(name).map_or("", String::as_str)
    }

    fn filtered(&self) -> bool {
        !self.asked.is_empty()
    }
}

/// The parts of what is shown of one organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrgTab {
    /// Plan, credit, limits.
    Summary,
    /// Its users.
    Users,
    /// Its paths.
    Paths,
    /// What is reserved.
    Holds,
    /// What was decided.
    Ledger,
    /// What it owes.
    Bills,
}

/// What is above every page of an organization.
#[derive(Clone, Debug)]
pub struct OrgHead {
    /// Its id.
    pub org: String,
    /// Its id as it is in addresses.
    pub path: String,
    /// Its name.
    pub name: Option<String>,
    /// Where its clocks are.
    pub zone: String,
    /// Its plan.
    pub plan: Option<String>,
    /// Which part is shown.
    pub tab: OrgTab,
}

/// One organization.
#[derive(Debug, Template)]
#[template(path = "org.html")]
pub struct OrgView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// What is known of it.
    pub org: OrgItem,
    /// Its plan, and when that changes.
    pub plan: PlanReply,
    /// What it has, used and has left.
    pub balance: BalanceReply,
    /// Its limits.
    pub limits: LimitsReply,
    /// Which shares of its credit people are told of.
    pub told_at: OrgNoticesReply,
    /// Its top-ups, the latest first.
    pub top_ups: Vec<TopUpItem>,
    /// The oldest of its open holds.
    pub holds: Vec<HoldItem>,
    /// Whether there are more of them.
    pub more_holds: bool,
    /// The latest entries of its ledger.
    pub entries: Vec<EntryItem>,
    /// Usage by day of each meter that it used.
    pub charts: Vec<(String, Chart)>,
    /// The plans there are.
    pub plans: Vec<Choice>,
    /// The meters there are.
    pub meters: Vec<Choice>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
    /// What makes a form count once.
    pub once: String,
    /// The link for the customer that was just made, and until when it is good.
    pub link: Option<(String, String)>,
    /// Whose limit is about to be set.
    pub limited: Limited,
}

impl OrgView {
    fn is_sent(&self, form: &str) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.form == form)
    }

    fn plan_now(&self) -> &str {
        self.plan.plan.as_deref().unwrap_or("")
    }

    /// The name of the form that takes back a top-up.
    fn void_form(&self, top_up: &TopUpItem) -> String {
        format!("void-{}", top_up.entry)
    }

    fn scopes(&self) -> Vec<Choice> {
        [("user", "users"), ("org", "the organization"), ("path", "a path")].map(Choice::pair).into()
    }

    fn windows(&self) -> Vec<Choice> {
        let named = ["minute", "hour", "day", "week", "month", "lifetime"].map(Choice::plain);
        let others = [
            ("week_from_sunday", "week from Sunday"),
            ("plan_month", "month of the plan"),
            ("rolling_5h", "any 5 hours"),
            ("rolling_7d", "any 7 days"),
            ("first_use_5h", "5 hours from the first use"),
            ("first_use_7d", "7 days from the first use"),
        ];
        named.into_iter().chain(others.map(Choice::pair)).collect()
    }

    fn lifetimes(&self) -> Vec<Choice> {
        [("3600", "an hour"), ("86400", "a day"), ("604800", "a week"), ("2592000", "30 days")]
            .map(Choice::pair)
            .into()
    }

    fn chart(&self, meter: &str) -> Option<&Chart> {
        self.charts.iter().find(|(of, _)| of == meter).map(|(_, chart)| chart)
    }

    fn notices(&self) -> Vec<(&EntryItem, &String)> {
        self.entries
            .iter()
            .flat_map(|entry| entry.notices.iter().map(move |notice| (entry, notice)))
            .collect()
    }
}

/// The open holds of an organization.
#[derive(Debug, Template)]
#[template(path = "holds.html")]
pub struct HoldsView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// Those of this page, the oldest first.
    pub holds: Vec<HoldItem>,
    /// The address of the next page.
    pub next: Option<String>,
    /// Whether this is not the first page.
    pub later: bool,
    /// What was sent and refused.
    pub sent: Option<Answered>,
}

/// The users of an organization.
#[derive(Debug, Template)]
#[template(path = "users.html")]
pub struct UsersView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// Those of this page; `None`: it has used nothing yet.
    pub users: Option<UserPage>,
    /// The meters it has.
    pub meters: Vec<String>,
    /// The address of the next page.
    pub next: Option<String>,
}

/// What was decided of an organization.
#[derive(Debug, Template)]
#[template(path = "ledger.html")]
pub struct LedgerView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// The entries of this page.
    pub entries: Vec<EntryItem>,
    /// The address of the next page.
    pub next: Option<String>,
    /// What the filters are set to.
    pub asked: BTreeMap<String, String>,
    /// What is wrong with them.
    pub wrong: Option<Problem>,
    /// The kinds of entries.
    pub kinds: Vec<Choice>,
}

impl LedgerView {
    fn asked(&self, name: &str) -> &str {
        self.asked.get(name).map_or("", String::as_str)
    }
}

/// One entry.
#[derive(Debug, Template)]
#[template(path = "entry.html")]
pub struct EntryView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// The entry.
    pub entry: EntryItem,
}

/// The bills of a month, or of one organization.
#[derive(Debug, Template)]
#[template(path = "bills.html")]
pub struct BillsView {
    /// Around it.
    pub frame: Frame,
    /// Above it, where they are of one organization.
    pub head: Option<OrgHead>,
    /// The bills.
    pub rows: Vec<BillRow>,
    /// Which month, where they are of all.
    pub month: String,
    /// The months beside it.
    pub beside: Vec<String>,
    /// The address of the next page.
    pub next: Option<String>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
}

impl BillsView {
    /// The bills of one organization, in rows.
    #[must_use]
    pub fn rows_of(page: BillPage) -> Vec<BillRow> {
        let row = |item: tollgate_api::BillItem| BillRow {
            org: page.org.clone(),
            name: None,
            month: item.month,
            status: item.status,
            number: item.number,
            total: item.total.zip(item.currency),
            problem: item.problem,
        };
        page.bills.into_iter().map(row).collect()
    }
}

/// A bill in a list.
#[derive(Clone, Debug)]
pub struct BillRow {
    /// Whose.
    pub org: String,
    /// Its name.
    pub name: Option<String>,
    /// Of which month.
    pub month: String,
    /// Whether it is closed.
    pub status: BillStatus,
    /// Its number.
    pub number: Option<u32>,
    /// What it comes to, and in which currency.
    pub total: Option<(String, String)>,
    /// Why there is no total.
    pub problem: Option<String>,
}

impl BillRow {
    /// The bill of an organization, as a row among those of others.
    #[must_use]
    pub fn of(bill: BillReply) -> Self {
        Self {
            org: bill.org,
            name: bill.name,
            month: bill.month,
            status: bill.status,
            number: bill.number,
            total: Some((bill.total, bill.currency)),
            problem: None,
        }
    }

    fn closed(&self) -> bool {
        self.status == BillStatus::Closed
    }
}

/// What people should know.
#[derive(Debug, Template)]
#[template(path = "notices.html")]
pub struct NoticesView {
    /// Around it.
    pub frame: Frame,
    /// Those of this page, the latest first.
    pub notices: Vec<NoticeItem>,
    /// The address of the page with older ones.
    pub next: Option<String>,
    /// The address of the latest, where this page is not theirs.
    pub first: Option<String>,
    /// Whether later ones are still looked for.
    pub looking: bool,
    /// How many there are, as far as they were looked through.
    pub count: u64,
    /// What the filters are set to.
    pub asked: BTreeMap<String, String>,
    /// What is wrong with them.
    pub wrong: Option<Problem>,
    /// The kinds of notices.
    pub kinds: Vec<Choice>,
}

impl NoticesView {
    fn asked(&self, name: &str) -> &str {
        self.asked.get(name).map_or("", String::as_str)
    }
}

/// Who may call.
#[derive(Debug, Template)]
#[template(path = "keys.html")]
pub struct KeysView {
    /// Around it.
    pub frame: Frame,
    /// The API keys.
    pub keys: Vec<ApiKeyItem>,
    /// The address of the next page.
    pub next: Option<String>,
    /// The one that was just made, with its secret.
    pub made: Option<ApiKeyCreated>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
    /// What makes a form count once.
    pub once: String,
}

impl KeysView {
    fn is_making(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.form == "key")
    }

    fn roles(&self) -> Vec<Choice> {
        [
            ("admin", "admin: everything"),
            ("manage", "manage: read, and set plans, limits and top-ups"),
            ("read", "read: see everything"),
            ("ingest", "ingest: check and consume usage"),
        ]
        .map(Choice::pair)
        .into()
    }
}

/// How the server is.
#[derive(Debug, Template)]
#[template(path = "health.html")]
pub struct HealthView {
    /// Around it.
    pub frame: Frame,
    /// Whether it can decide.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What an operator looks at first.
    pub rows: Vec<HealthRow>,
    /// Requests by route: how many, of them failed, and the times of the middle and of all but a hundredth.
    pub routes: Vec<(String, u64, u64, String, String)>,
}

/// A number of the server.
#[derive(Clone, Debug)]
pub struct HealthRow {
    /// What.
    pub name: &'static str,
    /// How much.
    pub value: String,
    /// What it means.
    pub says: &'static str,
}

/// What the form of usage asks for.
#[derive(Clone, Debug, Default)]
pub struct UsageForm {
    /// What the fields are set to.
    pub asked: BTreeMap<String, String>,
    /// The meters there are.
    pub meters: Vec<Choice>,
    /// What usage can be split by.
    pub splits: Vec<Choice>,
    /// What is wrong with it.
    pub wrong: Option<Problem>,
}

impl UsageForm {
    fn asked(&self, name: &str) -> &str {
        self.asked.get(name).map_or("", String::as_str)
    }
}

/// Usage over time.
#[derive(Debug, Template)]
#[template(path = "usage.html")]
pub struct UsageView {
    /// Around it.
    pub frame: Frame,
    /// What was asked for.
    pub form: UsageForm,
    /// Above it, where an organization was asked for.
    pub chart: Option<Chart>,
    /// The points: when, of whom or what, how much.
    pub points: Vec<(String, String, Decimal)>,
    /// What the points are of besides their time.
    pub of: Option<String>,
    /// The same as comma-separated values.
    pub csv: String,
    /// The address of the next page.
    pub next: Option<String>,
}

/// What a customer sees of itself.
#[derive(Debug, Template)]
#[template(path = "portal.html")]
pub struct PortalView {
    /// The name of the style sheet.
    pub style: String,
    /// The link as it is in addresses.
    pub link: String,
    /// Until when the link is good.
    pub until: String,
    /// What is known of it.
    pub org: OrgItem,
    /// Its plan, and when that changes.
    pub plan: PlanReply,
    /// The name of its plan.
    pub plan_name: Option<String>,
    /// What it has, used and has left.
    pub balance: BalanceReply,
    /// Names of the meters.
    pub meters: Vec<Choice>,
    /// Usage by day of each meter that it used.
    pub charts: Vec<(String, Chart)>,
    /// Its bills.
    pub bills: Vec<BillRow>,
}

impl PortalView {
    fn chart(&self, meter: &str) -> Option<&Chart> {
        self.charts.iter().find(|(of, _)| of == meter).map(|(_, chart)| chart)
    }
}
