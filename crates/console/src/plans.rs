//! Plans and prices: the catalog as a price list, its versions, and what another one would change.

use std::sync::Arc;

use askama::Template;
use tollgate_api::{WhatIfDenied, WhatIfItem, WhatIfReply};
use tollgate_domain::Catalog;

use crate::form::Answered;
use crate::frame::Frame;
use crate::{prices, text};

/// What may be bought.
#[derive(Debug, Template)]
#[template(path = "plans.html")]
pub struct PlansView {
    /// Around it.
    pub frame: Frame,
    /// Which version it is.
    pub version: u32,
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// Its text.
    pub toml: String,
    /// The versions there are: each with the time since which it is in force.
    pub versions: Vec<(u32, String)>,
    /// The version that it is compared with, and what is otherwise in it.
    pub against: Option<(u32, Vec<String>)>,
}

impl PlansView {
    fn is_shown(&self, version: &u32) -> bool {
        self.version == *version
    }

    fn is_against(&self, version: &u32) -> bool {
        self.against.as_ref().is_some_and(|(against, _)| against == version)
    }
}

/// Another catalog: its text, and what it would change.
#[derive(Debug, Template)]
#[template(path = "try_catalog.html")]
pub struct TryView {
    /// Around it.
    pub frame: Frame,
    /// The version in force.
    pub version: u32,
    /// The months that it can be tried on, the latest first.
    pub months: Vec<String>,
    /// The month that is chosen.
    pub month: String,
    /// The text.
    pub toml: String,
    /// What it would change.
    pub effect: Option<Effect>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
}

/// What another catalog would change.
#[derive(Debug)]
pub struct Effect {
    /// What is otherwise in it than in the one in force.
    pub changes: Vec<String>,
    /// What it would have changed in the month.
    pub reply: WhatIfReply,
}

impl Effect {
    /// The denials of an organization that would be others.
    fn denied(item: &WhatIfItem) -> Vec<&WhatIfDenied> {
        item.would_be_denied.iter().filter(|denied| denied.usages_now != denied.usages_then).collect()
    }
}
