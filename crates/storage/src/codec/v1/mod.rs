//! Version 1 of the format.
//!
//! Once released, nothing here changes what it encodes or decodes: a change of the format is a new version with a module
//! of its own.

mod bills;
mod channels;
mod entries;
mod state;
mod values;

use postcard::Result;
use tollgate_domain::{Entry, OrgId, SystemEntry};

use super::wire::{In, Wire, invalid};
use super::{Line, LineRef};

/// The version byte.
pub(super) const VERSION: u8 = 1;

const ORG_LINE: u8 = 0;
const SYSTEM_LINE: u8 = 1;

/// A line: a tag, the org if there is one, and the entry.
pub(super) fn put_line(line: LineRef<'_>, out: &mut Vec<u8>) {
    match line {
        LineRef::Org(org, entry) => {
            ORG_LINE.put(out);
            org.put(out);
            entry.put(out);
        }
        LineRef::System(entry) => {
            SYSTEM_LINE.put(out);
            entry.put(out);
        }
    }
}

impl Wire for Line {
    fn put(&self, out: &mut Vec<u8>) {
        put_line(self.lent(), out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(match u8::take(from)? {
            ORG_LINE => Self::Org(OrgId::take(from)?, Box::new(Entry::take(from)?)),
            SYSTEM_LINE => Self::System(SystemEntry::take(from)?),
            _ => return Err(invalid()),
        })
    }
}
