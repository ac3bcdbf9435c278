//! Lists: one page, or all of them put together, with every digit and member as the server sent it.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::output::read_reply;
use crate::table::{parts, printable};

/// Which part of a list.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Paging {
    /// Read all pages.
    #[arg(long)]
    pub(crate) all: bool,
    /// Items per page.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Continue after an earlier page: its `next`, or its `resume` for newer items.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// Organizations in a page where all are gone through: as many as the server gives.
const ORGS_OF_A_PAGE: &str = "1000";

/// The ids of the organizations of a page, whatever else is told of them.
#[derive(Deserialize)]
struct OrgNames {
    orgs: Vec<OrgName>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct OrgName {
    org: String,
}

/// A page: its members as they were sent.
type Page = BTreeMap<String, Box<RawValue>>;

impl Session {
    /// Reads a list whose items are in the member `items`; returns it as one page.
    pub(super) fn list(&mut self, route: &Route, paging: &Paging, items: &str) -> Result<String, Failure> {
        let limit = paging.limit.map(|limit| limit.to_string());
        let route = route.clone().with("limit", limit.as_deref());
        let first =
            self.ask(Method::GET, &route.clone().with("cursor", paging.cursor.as_deref()), &Sent::Nothing)?;
        if !paging.all {
            return Ok(first);
        }
        let mut page: Page = read_reply(&first)?;
        let (mut next, mut resume) = (next_of(&page)?, page.remove("resume"));
        let mut found = items_of(&page, items)?;
        while let Some(cursor) = next {
            let text = self.ask(Method::GET, &route.clone().with("cursor", Some(&cursor)), &Sent::Nothing)?;
            let mut more: Page = read_reply(&text)?;
            found.extend(items_of(&more, items)?);
            next = next_of(&more)?;
            resume = more.remove("resume");
            if next.as_ref() == Some(&cursor) {
                return Err(Failure::Other(
                    "the server's list does not end: it names the same page again".to_owned(),
                ));
            }
        }
        page.insert(items.to_owned(), raw(&found)?);
        if let Some(resume) = resume {
            page.insert("resume".to_owned(), resume);
        }
        page.insert("next".to_owned(), raw(&None::<String>)?);
        raw(&page).map(|page| page.get().to_owned())
    }
}

impl Session {
    /// Shows a list whose items are in the member `items`. An item that this version cannot read stands below the others as it
    /// was sent, and hides none of them.
    pub(super) fn show_list<T: DeserializeOwned>(
        &mut self,
        page: &str,
        items: &str,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.text(page);
        }
        if let Ok(page) = read_reply(page) {
            return self.output.text(&render(&page));
        }
        let mut page: Page = read_reply(page)?;
        let (mut read, mut unread) = (Vec::new(), String::new());
        for item in items_of(&page, items)? {
            page.insert(items.to_owned(), raw(&[&item])?);
            if read_reply::<T>(raw(&page)?.get()).is_ok() {
                read.push(item);
            } else {
                unread.push_str(&format!("this version cannot show: {}\n", printable(item.get())));
            }
        }
        page.insert(items.to_owned(), raw(&read)?);
        let table = render(&read_reply(raw(&page)?.get())?);
        self.output.text(&parts(vec![table, unread]))
    }

    /// Does something for every organization, by id.
    pub(super) fn each_org(
        &mut self,
        mut run: impl FnMut(&mut Self, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let route =
                Route::v1(&["orgs"]).with("limit", Some(ORGS_OF_A_PAGE)).with("cursor", cursor.as_deref());
            let page: OrgNames = read_reply(&self.ask(Method::GET, &route, &Sent::Nothing)?)?;
            for item in &page.orgs {
                run(self, &item.org)?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

fn next_of(page: &Page) -> Result<Option<String>, Failure> {
    page.get("next").map_or(Ok(None), |next| read_reply(next.get()))
}

fn items_of(page: &Page, items: &str) -> Result<Vec<Box<RawValue>>, Failure> {
    page.get(items).map_or(Ok(Vec::new()), |list| read_reply(list.get()))
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(value).map_err(|error| Failure::Other(error.to_string()))
}

/// The line below a table that says there is more.
pub(super) fn more(next: Option<&String>) -> String {
    next.map(|cursor| format!("there is more: --cursor {cursor}, or --all\n")).unwrap_or_default()
}
