//! The pages of the console and of the portal: what the API replies, as HTML.
//!
//! Plain values in, text out. A page is a struct of replies of the native API, a template says how it looks, and askama
//! makes a function of it while this crate is compiled; every text is escaped unless it is made here. The one style sheet
//! is in [`STYLE`]. There is no script: everything works by links and forms.
//!
//! Deliberately absent: HTTP, sessions, rights, reading of anything (they are the server's), numbers that the API does
//! not say.
//!
//! Start reading at [`Frame`], then [`OrgView`] and its template `org.html`.

mod channels;
mod chart;
mod form;
mod frame;
mod pages;
mod paths;
mod plans;
mod prices;
mod show;
mod text;

pub use askama::Template as Page;
pub use channels::{ChannelView, ChannelsView, Told, Undelivered};
pub use chart::{Bar, Chart, Mark};
pub use form::{Answered, Choice};
pub use frame::{Frame, Section};
pub use pages::{
    BillRow, BillsView, EntryView, Glance, HealthRow, HealthView, HoldsView, KeysView, LedgerView, Mover,
    NoticesView, OrgHead, OrgTab, OrgView, OrgsView, OverviewView, PortalView, ProblemView, RefusedRow,
    SignInView, Spender, Surveyed, UnsubscribeView, UsageForm, UsageView, UsersView,
};
pub use paths::{Limited, PathsView};
pub use plans::{Effect, PlansView, TryView};
pub use text::percent;

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("../assets/console.css");
