//! Requests to the writer, each with the place its answer goes.

use tollgate_domain::{
    Actor, KeySpace, OrgCommand, OrgDecision, OrgId, OrgState, PartKey, Partition, SystemCommand,
    SystemDenial, UsageKey,
};

use crate::EngineError;
use crate::flight::Settled;
use crate::plans::PlansGuard;
use crate::sync::oneshot;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// What takes one place in the queue.
#[derive(Debug)]
pub(crate) enum Job {
    /// A command of an org.
    Org { actor: Actor, org: OrgId, command: OrgCommand, answer: Reply<OrgDecision> },
    /// Several commands of orgs, answered together.
    Many(Many),
    /// Anything else: done alone, in its turn.
    Alone(Alone),
}

/// What is not decided together with commands of orgs.
#[derive(Debug)]
pub(crate) enum Alone {
    /// A command of the system.
    System {
        actor: Actor,
        command: SystemCommand,
        /// What must still hold when it is decided.
        guard: Option<PlansGuard>,
        answer: Reply<Result<u32, SystemDenial>>,
    },
    /// A copy of an org with some of its parts.
    View { org: OrgId, parts: Vec<PartKey>, answer: Reply<Box<OrgState>> },
    /// What another process on the same store brought into force, and the version of the system.
    Follow { answer: Reply<u64> },
    /// Some of the orgs with holds that may have expired.
    DueHolds { answer: Reply<Vec<OrgId>> },
    /// Images brought up to date, also those of partitions to which other processes on the same store appended up to a version.
    Save { which: Which, behind: Vec<(Partition, u64)>, answer: Reply<()> },
}

/// Which images are to be brought up to date.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those of orgs of which more changed than usage.
    Heads,
    /// Those of orgs of which it changed what is unsent.
    Unsent,
    /// One org's.
    Org(OrgId),
    /// The system's.
    System,
}

/// A command of an org that is to be decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) org: &'a OrgId,
    pub(crate) command: &'a OrgCommand,
}

impl Asked<'_> {
    /// The caller's key that it names.
    pub(crate) fn key(&self) -> Option<(KeySpace, UsageKey)> {
        match self.command.named_key() {
            Some(PartKey::Key(space, key)) => Some((space, key)),
            _ => None,
        }
    }

    /// Whether a part is the record of the key that it names.
    pub(crate) fn names(&self, part: &PartKey) -> bool {
        matches!(part, PartKey::Key(..)) && self.command.named_key().as_ref() == Some(part)
    }
}

/// Several commands of orgs that are decided in one turn, in order.
#[derive(Debug)]
pub(crate) struct Many {
    actor: Actor,
    commands: Vec<(OrgId, OrgCommand)>,
    /// What is decided of them, where not all was at once; `None` is still to be decided.
    decisions: Vec<Option<OrgDecision>>,
    answer: Reply<Vec<OrgDecision>>,
}

impl Many {
    pub(crate) fn new(
        actor: Actor,
        commands: Vec<(OrgId, OrgCommand)>,
        answer: Reply<Vec<OrgDecision>>,
    ) -> Self {
        Self { actor, commands, decisions: Vec::new(), answer }
    }

    /// The commands that are to be decided.
    fn open(&self) -> impl Iterator<Item = Asked<'_>> {
        let is_open = |place: &usize| !matches!(self.decisions.get(*place), Some(Some(_)));
        let open = self.commands.iter().enumerate().filter(move |(place, _)| is_open(place));
        open.map(|(_, (org, command))| Asked { actor: &self.actor, org, command })
    }

    /// As [`Job::settle`].
    fn settle(mut self, settled: &mut impl Iterator<Item = Settled<OrgDecision>>) -> Option<Self> {
        let mut decided = Vec::with_capacity(self.commands.len());
        if self.decisions.is_empty() {
            let mut again = false;
            for settled in settled.take(self.commands.len()) {
                match settled {
                    Settled::Answered(decision) if !again => decided.push(decision),
                    settled => {
                        if !std::mem::replace(&mut again, true) {
                            self.decisions = decided.drain(..).map(Some).collect();
                        }
                        self.decisions.push(settled.answered());
                    }
                }
            }
        } else {
            let open = self.decisions.iter_mut().filter(|decision| decision.is_none());
            open.for_each(|decision| *decision = settled.next().and_then(Settled::answered));
        }
        if self.decisions.iter().any(Option::is_none) {
            return Some(self);
        }
        decided.extend(self.decisions.into_iter().flatten());
        // A caller that went away does not care.
        let _ = self.answer.send(Ok(decided));
        None
    }
}

impl Job {
    /// How many commands are to be decided.
    pub(crate) fn requests(&self) -> usize {
        match self {
            Self::Org { .. } | Self::Alone(_) => 1,
            Self::Many(many) => many.open().count(),
        }
    }

    /// Text the job may add to an append, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Org { command, .. } => weight(command),
            Self::Alone(_) => 0,
            Self::Many(many) => many.commands.iter().map(|(_, command)| weight(command)).sum(),
        }
    }

    /// Adds the commands of orgs that are to be decided.
    pub(crate) fn ask<'a>(&'a self, requests: &mut Vec<Asked<'a>>) {
        match self {
            Self::Org { actor, org, command, .. } => requests.push(Asked { actor, org, command }),
            Self::Alone(_) => {}
            Self::Many(many) => requests.extend(many.open()),
        }
    }

    /// Takes what became of each command that was to be decided, and answers; gives itself back if some are still to
    /// be decided.
    pub(crate) fn settle(self, settled: &mut impl Iterator<Item = Settled<OrgDecision>>) -> Option<Self> {
        match self {
            Self::Org { answer, actor, org, command } => match settled.next() {
                Some(Settled::Answered(decision)) => {
                    // A caller that went away does not care.
                    let _ = answer.send(Ok(decision));
                    None
                }
                _ => Some(Self::Org { answer, actor, org, command }),
            },
            Self::Many(many) => many.settle(settled).map(Self::Many),
            Self::Alone(_) => Some(self),
        }
    }

    /// Answers that there is no decision.
    pub(crate) fn fail(self, error: EngineError) {
        // A caller that went away does not care.
        match self {
            Self::Org { answer, .. } => drop(answer.send(Err(error))),
            Self::Many(many) => drop(many.answer.send(Err(error))),
            Self::Alone(alone) => alone.fail(error),
        }
    }
}

impl Alone {
    /// Answers that it was not done.
    pub(crate) fn fail(self, error: EngineError) {
        match self {
            Self::System { answer, .. } => drop(answer.send(Err(error))),
            Self::View { answer, .. } => drop(answer.send(Err(error))),
            Self::Follow { answer } => drop(answer.send(Err(error))),
            Self::DueHolds { answer } => drop(answer.send(Err(error))),
            Self::Save { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

/// Text that a command may add to an append, in bytes.
pub(crate) fn weight(command: &OrgCommand) -> usize {
    match command {
        OrgCommand::Use(usage) | OrgCommand::Record(usage) => {
            usage.properties.iter().map(|(name, value)| name.len() + value.len()).sum()
        }
        OrgCommand::Hold(take) => {
            take.usage.properties.iter().map(|(name, value)| name.len() + value.len()).sum()
        }
        _ => 0,
    }
}
