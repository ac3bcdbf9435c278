//! Commands to MongoDB as they go over the wire, as far as tests and benchmarks need them.

use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::READY;

/// A document.
#[derive(Debug, Default)]
pub struct Bson(Vec<u8>);

impl Bson {
    fn element(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend([name.as_bytes(), b"\0", value].concat());
        self
    }

    /// Adds a number of 32 bits.
    #[must_use]
    pub fn int(self, name: &str, value: i32) -> Self {
        self.element(0x10, name, &value.to_le_bytes())
    }

    /// Adds a number of 64 bits.
    #[must_use]
    pub fn long(self, name: &str, value: i64) -> Self {
        self.element(0x12, name, &value.to_le_bytes())
    }

    /// Adds a boolean.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.element(0x08, name, &[u8::from(value)])
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
        self.element(0x02, name, &[&length.to_le_bytes(), value.as_bytes(), b"\0"].concat())
    }

    /// Adds a document.
    #[must_use]
    pub fn document(self, name: &str, value: Self) -> Self {
        self.element(0x03, name, &value.bytes())
    }

    /// Adds an array: a document whose names are its places.
    #[must_use]
    pub fn array(self, name: &str, value: Self) -> Self {
        self.element(0x04, name, &value.bytes())
    }

    fn bytes(self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() + 5).unwrap_or(i32::MAX);
        [&length.to_le_bytes(), self.0.as_slice(), b"\0"].concat()
    }
}

/// A command to a database.
#[must_use]
pub fn message(database: &str, command: Bson) -> Vec<u8> {
    const MESSAGE: i32 = 2_013;
    const HEAD_BYTES: usize = 16;
    // No flags, and a section of one document.
    let body = [&[0; 5], command.text("$db", database).bytes().as_slice()].concat();
    let length = i32::try_from(HEAD_BYTES + body.len()).unwrap_or(i32::MAX);
    let head: Vec<u8> = [length, 1, 0, MESSAGE].iter().flat_map(|number| number.to_le_bytes()).collect();
    [head, body].concat()
}

/// What a member answers to a command.
///
/// # Errors
/// When it does not answer, or has not done it.
pub fn ask(port: u16, database: &str, command: Bson) -> Result<Vec<u8>, Error> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(READY))?;
    stream.write_all(&message(database, command))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let rest = usize::try_from(i32::from_le_bytes(length)).unwrap_or_default().saturating_sub(length.len());
    let mut answer = vec![0; rest];
    stream.read_exact(&mut answer)?;
    if holds(&answer, b"\x01ok\0\0\0\0\0\0\0\xf0\x3f") && !holds(&answer, b"\x04writeErrors\0") {
        return Ok(answer);
    }
    Err(Error::other(format!("mongod: {}", String::from_utf8_lossy(&answer))))
}

pub(super) fn holds(answer: &[u8], wanted: &[u8]) -> bool {
    behind(answer, wanted).is_some()
}

/// What comes behind some bytes.
pub(super) fn behind<'a>(answer: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let place = answer.windows(wanted.len()).position(|window| window == wanted)?;
    answer.get(place + wanted.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_as_the_specification_says() {
        assert_eq!(
            Bson::default().text("hello", "world").bytes(),
            b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0"
        );
        assert_eq!(
            Bson::default().int("a", 1).flag("b", true).bytes(),
            b"\x10\0\0\0\x10a\0\x01\0\0\0\x08b\0\x01\0"
        );
    }
}
