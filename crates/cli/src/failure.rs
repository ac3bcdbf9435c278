//! Why a command did not succeed, and the exit code that says so ([`Exit`]).

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Deserialize;
use tollgate_api::{Decimal, LimitDetail};

/// What the exit code of a command that did not succeed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: the answer is no. A use is denied, the server is not ready, a catalog is not valid, a store is damaged.
    No,
    /// 2: the command line, a setting or a value is wrong; the same again gives the same.
    WrongUse,
    /// 3: the server cannot be reached, refused the request or failed; or a file cannot be read or written.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::No => 1,
            Exit::WrongUse => 2,
            Exit::Failed => 3,
        })
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a setting is wrong.
    Usage(String),
    /// The server answered with a problem.
    Problem(Box<ProblemTold>),
    /// The server could not be reached.
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the system said.
        reason: String,
        /// What to do about it, a line each.
        hints: Vec<String>,
    },
    /// The output says already what it is.
    Said(Exit),
    /// Nobody reads the output any more.
    OutputClosed,
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Tells it on standard error and returns the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        let exit = match self {
            Self::OutputClosed => return ExitCode::SUCCESS,
            Self::Said(exit) => return (*exit).into(),
            Self::Usage(_) => Exit::WrongUse,
            Self::Problem(problem) => problem.exit(),
            Self::Unreachable { .. } | Self::Other(_) => Exit::Failed,
        };
        // When standard error is gone there is nobody to tell; the exit code still says it.
        let _ = io::stderr().write_all(format!("error: {self}\n").as_bytes());
        exit.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Other(text) => formatter.write_str(text),
            Self::Problem(problem) => problem.fmt(formatter),
            Self::Unreachable { url, reason, hints } => {
                write!(formatter, "no answer from {url}: {reason}")?;
                hints.iter().try_for_each(|hint| write!(formatter, "\n  hint: {hint}"))
            }
            Self::Said(_) => formatter.write_str("the output says why"),
            Self::OutputClosed => formatter.write_str("the output is closed"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Other(format!("cannot write the output: {error}"))
        }
    }
}

/// A problem as the server told it. Read leniently, so that the codes of a newer server are shown too.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ProblemTold {
    /// The HTTP status.
    #[serde(default)]
    pub(crate) status: u16,
    /// False on a denied usage.
    #[serde(default)]
    pub(crate) allowed: Option<bool>,
    /// What happened.
    pub(crate) detail: String,
    /// The stable code.
    pub(crate) code: String,
    /// The field or parameter that is wrong.
    #[serde(default)]
    pub(crate) field: Option<String>,
    /// The id of the request, as in the server's log.
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    /// What the org may still use, on a denied usage.
    #[serde(default)]
    pub(crate) remaining: Option<Decimal>,
    /// The limit that refused a usage.
    #[serde(default)]
    pub(crate) limit: Option<LimitDetail>,
    /// What is in the way.
    #[serde(default)]
    pub(crate) conflicts: Vec<String>,
    /// What to do about it, a line each; the command says it, not the server.
    #[serde(skip)]
    pub(crate) hints: Vec<String>,
}

impl ProblemTold {
    /// A denial is an answer; what names a field that is wrong is wrong use; the rest is refused.
    fn exit(&self) -> Exit {
        let is_wrong = [
            "invalid_cursor",
            "invalid_field",
            "invalid_parameter",
            "missing_field",
            "unknown_field",
            "unknown_property",
            "user_required",
        ];
        match self.status {
            402 | 403 | 429 if self.allowed == Some(false) => Exit::No,
            _ if is_wrong.contains(&self.code.as_str()) => Exit::WrongUse,
            _ => Exit::Failed,
        }
    }
}

impl fmt::Display for ProblemTold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.detail, self.code)?;
        if let Some(field) = &self.field {
            write!(formatter, "\n  field: {field}")?;
        }
        if let Some(remaining) = &self.remaining {
            write!(formatter, "\n  remaining: {}", remaining.0)?;
        }
        if let Some(limit) = &self.limit {
            write!(formatter, "\n  limit: {}", limit_line(limit))?;
        }
        if !self.conflicts.is_empty() {
            write!(formatter, "\n  in the way: {}", self.conflicts.join(", "))?;
        }
        if let Some(id) = &self.request_id {
            write!(formatter, "\n  request id: {id}")?;
        }
        self.hints.iter().try_for_each(|hint| write!(formatter, "\n  hint: {hint}"))
    }
}

fn limit_line(limit: &LimitDetail) -> String {
    let whose = match (&limit.user, &limit.path) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(path)) => format!("path {path}"),
        (None, None) => limit.scope.clone(),
    };
    let window = limit.window.as_ref().map(|window| format!(", {window}")).unwrap_or_default();
    let resets = limit.resets_at.as_ref().map(|at| format!(", starts afresh at {at}")).unwrap_or_default();
    format!("{whose}{window}: {} of {} used{resets}", limit.used.0, limit.amount.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_with_what_helps() {
        let problem: ProblemTold = serde_json::from_str(
            r#"{"type":"urn:tollgate:problem:user_limit_reached","title":"t","status":403,"detail":"ann is out",
                "code":"user_limit_reached","request_id":"r1","allowed":false,"remaining":3.5,"limit":{"scope":
                "user","user":"ann","window":"month","amount":50,"used":50,"remaining":0,"resets_at":"2026-12-01T00:00:00Z"}}"#,
        )
        .expect("a problem");
        assert_eq!(
            Failure::Problem(Box::new(problem)).to_string(),
            "ann is out (user_limit_reached)\n  remaining: 3.5\n  limit: user ann, month: 50 of 50 used, starts \
             afresh at 2026-12-01T00:00:00Z\n  request id: r1"
        );
        let newer: ProblemTold =
            serde_json::from_str(r#"{"detail":"d","code":"of_tomorrow","field":"f"}"#).expect("a problem");
        assert_eq!(newer.to_string(), "d (of_tomorrow)\n  field: f");
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(closed, Failure::OutputClosed), "{closed:?}");
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, Failure::Other(_)), "{full:?}");
    }
}
