//! What is around every page: where one is, who one is, what was just done.

/// The parts of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Who runs out, who was refused.
    Overview,
    /// All of them, and one.
    Orgs,
    /// Usage over time.
    Usage,
    /// The catalog.
    Plans,
    /// What is owed.
    Bills,
    /// What people should know.
    Notices,
    /// Who may call.
    Keys,
    /// How the server is.
    Health,
}

impl Section {
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Orgs,
        Self::Usage,
        Self::Plans,
        Self::Bills,
        Self::Notices,
        Self::Keys,
        Self::Health,
    ];

    /// The name in the menu.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Orgs => "Organizations",
            Self::Usage => "Usage",
            Self::Plans => "Plans and prices",
            Self::Bills => "Bills",
            Self::Notices => "Notices",
            Self::Keys => "API keys",
            Self::Health => "Health",
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console",
            Self::Orgs => "/console/orgs",
            Self::Usage => "/console/usage",
            Self::Plans => "/console/plans",
            Self::Bills => "/console/bills",
            Self::Notices => "/console/notices",
            Self::Keys => "/console/keys",
            Self::Health => "/console/health",
        }
    }
}

/// What is around every page of the console.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The name of the page.
    pub title: String,
    /// The part of the console that it is in.
    pub section: Section,
    /// As whom one is signed in; `None`: the server asks nobody.
    pub who: Option<String>,
    /// Whether one may change plans, limits and credit.
    pub may_manage: bool,
    /// Whether one may make and revoke API keys.
    pub may_administer: bool,
    /// The only organization that one may see.
    pub bound: Option<String>,
    /// What every form must bring back.
    pub token: String,
    /// What was just done.
    pub done: Option<&'static str>,
    /// The name of the style sheet, which changes with its content.
    pub style: String,
    /// The version of the server.
    pub version: &'static str,
}

impl Frame {
    /// The parts of the console that one may see.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let sees = |section: &Section| match section {
            Section::Keys => self.may_administer && self.bound.is_none(),
            Section::Overview | Section::Plans | Section::Bills | Section::Notices | Section::Health => {
                self.bound.is_none()
            }
            Section::Orgs | Section::Usage => true,
        };
        Section::ALL.into_iter().filter(sees).collect()
    }
}
