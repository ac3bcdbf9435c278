//! Paths: where below an org something is used, such as a team, an agent of it, and a run of that agent.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use crate::Period;
use crate::limits::{ID_CHARS_MAX, PATH_CHARS_MAX, PATH_NAMES_MAX};

/// Stands between the names of a path.
const BETWEEN: char = '/';

/// The last name of a limit on each path below another.
const EACH: &str = "*";

/// Where in an org something is used: names from the outermost to the innermost, with `/` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopePath(Arc<str>);

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No name, or more than [`PATH_NAMES_MAX`].
    #[error("must be 1 to {PATH_NAMES_MAX} names with '/' between them, such as research/agent-7")]
    Names,
    /// A name is longer than an id may be.
    #[error("must have names of at most {ID_CHARS_MAX} characters")]
    LongName,
    /// Longer than [`PATH_CHARS_MAX`] in all.
    #[error("must have at most {PATH_CHARS_MAX} characters")]
    TooLong,
    /// Holds a control character.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// Holds a star.
    #[error("must not hold '*', which in limits alone stands for each name")]
    Star,
}

impl ScopePath {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_CHARS_MAX && text.chars().count() > PATH_CHARS_MAX {
            return Err(PathError::TooLong);
        }
        let mut names = 0;
        for name in text.split(BETWEEN) {
            names += 1;
            if name.is_empty() || names > PATH_NAMES_MAX {
                return Err(PathError::Names);
            }
            if name.len() > ID_CHARS_MAX && name.chars().count() > ID_CHARS_MAX {
                return Err(PathError::LongName);
            }
            if name.contains(EACH) {
                return Err(PathError::Star);
            }
            if name.chars().any(char::is_control) {
                return Err(PathError::ControlCharacter);
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many names it has.
    #[must_use]
    pub fn depth(&self) -> u8 {
        depth_of(&self.0)
    }

    /// The path of its first names, so many; all of it, if it has no more.
    #[must_use]
    pub fn first(&self, names: u8) -> &str {
        let mut ends = self.0.match_indices(BETWEEN).map(|(end, _)| end);
        let end = usize::from(names).checked_sub(1).and_then(|before| ends.nth(before));
        end.and_then(|end| self.0.get(..end)).unwrap_or(&self.0)
    }

    /// Whether it is another path, or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &str) -> bool {
        is_within(&self.0, other)
    }

    /// Whether another path, which may be that of a limit, is this one or lies below it.
    #[must_use]
    pub fn covers(&self, other: &str) -> bool {
        is_within(other, &self.0)
    }

    /// The path of a prefix of one, which is sound as that is.
    pub(crate) fn of_prefix(prefix: &str) -> Self {
        Self(Arc::from(prefix))
    }
}

fn is_within(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(BETWEEN))
}

fn depth_of(path: &str) -> u8 {
    u8::try_from(path.matches(BETWEEN).count() + 1).unwrap_or(u8::MAX)
}

impl TryFrom<&str> for ScopePath {
    type Error = PathError;

    fn try_from(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl Serialize for ScopePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ScopePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer, "a path such as research/agent-7", Self::new)
    }
}

impl From<ScopePath> for String {
    fn from(path: ScopePath) -> Self {
        path.as_str().to_owned()
    }
}

impl fmt::Display for ScopePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for ScopePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Which paths a limit is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitPath {
    /// One, with all that lies below it.
    Named(ScopePath),
    /// Each path of one name more than this one, by itself and with all that lies below it; `None`: each of one name.
    Each(Option<ScopePath>),
}

impl LimitPath {
    /// Checks and takes a text: a path, whose last name may be `*`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text == EACH {
            return Ok(Self::Each(None));
        }
        match text.strip_suffix(EACH).and_then(|text| text.strip_suffix(BETWEEN)) {
            Some(above) => {
                if text.chars().count() > PATH_CHARS_MAX {
                    return Err(PathError::TooLong);
                }
                let above = ScopePath::new(above)?;
                let fits = usize::from(above.depth()) < PATH_NAMES_MAX;
                if fits { Ok(Self::Each(Some(above))) } else { Err(PathError::Names) }
            }
            None => ScopePath::new(text).map(Self::Named),
        }
    }

    /// Which paths, for people: `path research`, `each path below research`.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Self::Named(path) => format!("path {path}"),
            Self::Each(None) => "each path".to_owned(),
            Self::Each(Some(above)) => format!("each path below {above}"),
        }
    }

    /// How many names the paths have that it is on.
    #[must_use]
    pub fn depth(&self) -> u8 {
        match self {
            Self::Named(path) => path.depth(),
            Self::Each(above) => above.as_ref().map_or(0, ScopePath::depth) + 1,
        }
    }

    /// How many of the names of a path make up the one that it is on; `None`: it does not concern the path.
    #[must_use]
    pub fn depth_in(&self, path: &ScopePath) -> Option<u8> {
        let concerns = match self {
            Self::Named(named) => path.is_within(named.as_str()),
            Self::Each(above) => above.as_ref().is_none_or(|above| path.is_within(above.as_str())),
        };
        Some(self.depth()).filter(|depth| concerns && *depth <= path.depth())
    }
}

impl fmt::Display for LimitPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(path) => path.fmt(formatter),
            Self::Each(None) => formatter.write_str(EACH),
            Self::Each(Some(above)) => write!(formatter, "{above}{BETWEEN}{EACH}"),
        }
    }
}

impl<'de> Deserialize<'de> for LimitPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer, "a path such as research/agent-7 or research/*", Self::new)
    }
}

/// The path of a usage or a hold, and the counters along it that it moves, or has room in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Along {
    /// The path.
    pub path: ScopePath,
    /// Of how many of its names, and in which period: none but those that a limit goes by.
    pub counted: PathCounters,
}

/// Counters along a path, the outermost first: each by its depth and period.
pub type PathCounters = SmallVec<[(u8, Period); 2]>;

impl Along {
    /// The paths with counters, outermost first, with the periods of those.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Period> + Clone + '_)> {
        let parts = self.counted.chunk_by(|(depth, _), (next, _)| depth == next);
        parts.filter_map(|part| {
            let (depth, _) = part.first()?;
            Some((self.path.first(*depth), part.iter().map(|(_, period)| *period)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        for (text, wanted) in [
            ("research", None),
            ("research/agent 7/run:42", None),
            ("1/2/3/4/5/6/7/8", None),
            ("1/2/3/4/5/6/7/8/9", Some(PathError::Names)),
            ("", Some(PathError::Names)),
            ("/a", Some(PathError::Names)),
            ("a/", Some(PathError::Names)),
            ("a//b", Some(PathError::Names)),
            ("a/*", Some(PathError::Star)),
            ("a/b*c", Some(PathError::Star)),
            ("a/b\nc", Some(PathError::ControlCharacter)),
        ] {
            assert_eq!(ScopePath::new(text).err(), wanted, "{text:?}");
        }
        let long = "ü".repeat(128);
        assert!(ScopePath::new(&format!("{long}/{}", "ü".repeat(71))).is_ok());
        assert_eq!(ScopePath::new(&format!("{long}/{}", "ü".repeat(72))), Err(PathError::TooLong));
        assert_eq!(ScopePath::new(&format!("{long}/{long}")), Err(PathError::TooLong));
        assert_eq!(ScopePath::new(&format!("{long}ü")), Err(PathError::LongName));
    }

    #[test]
    fn the_first_names_of_a_path_are_one() {
        let path = ScopePath::new("research/agent-7/run-42").expect("a path");
        assert_eq!(path.depth(), 3);
        let firsts: Vec<&str> = (1..5).map(|names| path.first(names)).collect();
        let all = path.as_str();
        assert_eq!(firsts, ["research", "research/agent-7", all, all]);
        for (other, within) in [
            ("research", true),
            ("res", false),
            (all, true),
            ("research/agent-7/run-42/x", false),
            ("b", false),
        ] {
            assert_eq!(path.is_within(other), within, "{other}");
        }
    }

    #[test]
    fn a_limit_is_on_a_path_or_on_each_below_one() {
        let path = |text| ScopePath::new(text).expect("a path");
        for (text, of, depth) in [
            ("a", "a", Some(1)),
            ("a", "a/b/c", Some(1)),
            ("a", "ab", None),
            ("a/b", "a", None),
            ("*", "a/b", Some(1)),
            ("a/*", "a", None),
            ("a/*", "a/b/c", Some(2)),
            ("a/*", "b/b", None),
        ] {
            let limit = LimitPath::new(text).expect("a path");
            assert_eq!(limit.to_string(), text);
            assert_eq!(limit.depth_in(&path(of)), depth, "{text} of {of}");
        }
        for text in ["", "/*", "**", "a/**", "*/a", "a*", "1/2/3/4/5/6/7/8/*"] {
            assert!(LimitPath::new(text).is_err(), "{text}");
        }
        assert!(LimitPath::new("1/2/3/4/5/6/7/*").is_ok());
        let long = format!("{}/{}", "x".repeat(128), "x".repeat(70));
        assert_eq!(LimitPath::new(&format!("{long}/*")), Err(PathError::TooLong));
    }
}
