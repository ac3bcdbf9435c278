//! What waits for the writer.

use tollgate_domain::{Actor, Command, OrgCommand, OrgDecision, OrgId, SystemCommand, SystemDenial};

use crate::EngineError;
use crate::plans::PlansGuard;
use crate::sync::oneshot;
use crate::turn::Settled;

/// What a caller asks the engine.
pub type Request = Command;

/// What a caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a command of an org.
    Org(Box<OrgDecision>),
    /// To a command of the system: the version of the catalog in force.
    System(Result<u32, SystemDenial>),
}

/// What waits for the writer in one place of the queue, with the place its answer goes.
#[derive(Debug)]
pub(crate) enum Job {
    /// One command.
    One {
        actor: Actor,
        request: Request,
        /// What must still hold when it is decided.
        guard: Option<PlansGuard>,
        answer: oneshot::Sender<Result<Answer, EngineError>>,
    },
    /// Several commands of orgs, answered together.
    Many(Many),
}

/// A command of an org that is to be decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) org: &'a OrgId,
    pub(crate) command: &'a OrgCommand,
}

/// Several commands of orgs that are decided in one turn, in order.
#[derive(Debug)]
pub(crate) struct Many {
    actor: Actor,
    commands: Vec<(OrgId, OrgCommand)>,
    /// What is decided of them; `None` is still to be decided.
    decisions: Vec<Option<OrgDecision>>,
    answer: oneshot::Sender<Result<Vec<OrgDecision>, EngineError>>,
}

impl Many {
    pub(crate) fn new(
        actor: Actor,
        commands: Vec<(OrgId, OrgCommand)>,
        answer: oneshot::Sender<Result<Vec<OrgDecision>, EngineError>>,
    ) -> Self {
        let decisions = vec![None; commands.len()];
        Self { actor, commands, decisions, answer }
    }

    fn open(&self) -> impl Iterator<Item = Asked<'_>> {
        let open = self.commands.iter().zip(&self.decisions).filter(|(_, decision)| decision.is_none());
        open.map(|((org, command), _)| Asked { actor: &self.actor, org, command })
    }
}

impl Job {
    /// How many commands are to be decided.
    pub(crate) fn requests(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Many(many) => many.open().count(),
        }
    }

    /// Text the job may add to a commit, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::One { request: Command::Org(_, command), .. } => weight(command),
            Self::One { .. } => 0,
            Self::Many(many) => many.commands.iter().map(|(_, command)| weight(command)).sum(),
        }
    }

    /// The command of the system that it asks for, and who asks.
    pub(crate) const fn of_system(&self) -> Option<(&Actor, &SystemCommand)> {
        match self {
            Self::One { actor, request: Command::System(command), .. } => Some((actor, command)),
            _ => None,
        }
    }

    /// What must still hold when it is decided.
    pub(crate) const fn guard(&self) -> Option<&PlansGuard> {
        match self {
            Self::One { guard, .. } => guard.as_ref(),
            Self::Many(_) => None,
        }
    }

    /// Adds the commands of orgs that are to be decided.
    pub(crate) fn ask<'a>(&'a self, requests: &mut Vec<Asked<'a>>) {
        match self {
            Self::One { actor, request: Command::Org(org, command), .. } => {
                requests.push(Asked { actor, org, command });
            }
            Self::One { .. } => {}
            Self::Many(many) => requests.extend(many.open()),
        }
    }

    /// Takes what became of each command that was to be decided, and answers; gives itself back if some are still to
    /// be decided.
    pub(crate) fn settle(self, settled: &mut impl Iterator<Item = Settled>) -> Option<Self> {
        match self {
            Self::One { .. } => match settled.next() {
                Some(Settled::Answered(answer)) => {
                    self.finish(answer);
                    None
                }
                _ => Some(self),
            },
            Self::Many(mut many) => {
                for decision in many.decisions.iter_mut().filter(|decision| decision.is_none()) {
                    if let Some(Settled::Answered(Answer::Org(decided))) = settled.next() {
                        *decision = Some(*decided);
                    }
                }
                if many.decisions.iter().any(Option::is_none) {
                    return Some(Self::Many(many));
                }
                // A caller that went away does not care.
                let _ = many.answer.send(Ok(many.decisions.into_iter().flatten().collect()));
                None
            }
        }
    }

    fn finish(self, decided: Answer) {
        if let Self::One { answer, .. } = self {
            // A caller that went away does not care.
            let _ = answer.send(Ok(decided));
        }
    }

    /// Answers that there is no decision.
    pub(crate) fn fail(self, error: EngineError) {
        // A caller that went away does not care.
        match self {
            Self::One { answer, .. } => {
                let _ = answer.send(Err(error));
            }
            Self::Many(many) => {
                let _ = many.answer.send(Err(error));
            }
        }
    }
}

/// Text that a command may add to a commit, in bytes.
pub(crate) fn weight(command: &OrgCommand) -> usize {
    match command {
        OrgCommand::Use(usage) | OrgCommand::Record(usage) => {
            usage.properties.iter().map(|(name, value)| name.len() + value.len()).sum()
        }
        _ => 0,
    }
}
