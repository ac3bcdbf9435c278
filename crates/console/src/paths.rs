//! The paths of an organization, with the limits on them; and the limit that is about to be set.

use askama::Template;
use tollgate_api::PathPage;

use crate::frame::Frame;
use crate::pages::{OrgHead, OrgTab};
use crate::{show, text};

/// Whose limit is about to be set, where a link says so.
#[derive(Clone, Debug, Default)]
pub struct Limited {
    /// A user.
    pub user: String,
    /// A path.
    pub path: String,
}

impl Limited {
    /// Whether it is of somebody.
    pub(crate) fn is_given(&self) -> bool {
        !self.user.is_empty() || !self.path.is_empty()
    }

    /// What it is a limit of.
    pub(crate) fn scope(&self) -> &'static str {
        if self.path.is_empty() { "user" } else { "path" }
    }
}

/// The paths that limits are on.
#[derive(Debug, Template)]
#[template(path = "paths.html")]
pub struct PathsView {
    /// Around it.
    pub frame: Frame,
    /// Above it.
    pub head: OrgHead,
    /// Those of this page; `None`: no limit is on a path.
    pub paths: Option<PathPage>,
    /// The meters that have limits on paths.
    pub meters: Vec<String>,
    /// The address of the next page.
    pub next: Option<String>,
}
