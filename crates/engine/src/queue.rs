//! What waits for the writer.

use tokio::sync::oneshot;
use tollgate_domain::{Command, HouseDenial, OrgCommand, OrgDecision};

use crate::EngineError;

/// What a caller asks the engine.
pub type Request = Command;

/// What a caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a command of an org.
    Org(Box<OrgDecision>),
    /// To a command of the house: the version of the catalogue in force.
    House(Result<u32, HouseDenial>),
}

/// A request with the place its answer goes.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<Answer, EngineError>>,
}

impl Job {
    /// Text the job may add to a commit, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match &self.request {
            Command::Org(_, OrgCommand::Use(usage)) => {
                usage.properties.iter().map(|(name, value)| name.len() + value.len()).sum()
            }
            _ => 0,
        }
    }

    pub(crate) fn is_of_house(&self) -> bool {
        matches!(self.request, Command::House(_))
    }

    /// A caller that went away does not care.
    pub(crate) fn finish(self, answer: Result<Answer, EngineError>) {
        let _ = self.answer.send(answer);
    }
}
