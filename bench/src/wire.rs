//! Where an answer ends, and whether it is a yes, in each of the dialects spoken to the servers.

/// The dialect of a connection, and what counts as a yes on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1; yes is 200 with `"allowed":true`.
    HttpGate,
    /// HTTP/1.1; yes is 200 that says so many records were counted.
    HttpBatch(usize),
    /// HTTP/1.1; yes is 200 that says so many records were counted before.
    HttpDuplicates(usize),
    /// HTTP/1.1; yes is any 2xx.
    HttpSetup,
    /// Redis' RESP2; yes is an array whose first element is `:1`.
    RedisGate,
    /// PostgreSQL's extended query flow; yes is a row whose first column is `t`.
    PostgresGate,
    /// PostgreSQL's extended query flow; yes is the insertion of so many rows.
    PostgresInsert(usize),
    /// MongoDB's messages; yes is an update that changed one document.
    MongoUpdate,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No(String),
}

/// What the bytes read so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Incomplete,
    Answer {
        len: usize,
        verdict: Verdict,
    },
    /// Not of this dialect: the connection is of no more use.
    Broken(String),
}

impl Wire {
    /// Looks for one whole answer at the start of `bytes`.
    pub(crate) fn parse(self, bytes: &[u8]) -> Parsed {
        match self {
            Self::HttpGate => {
                http(bytes, |status, body| status == 200 && contains(body, b"\"allowed\":true"))
            }
            Self::HttpBatch(records) => {
                let counted = format!("\"counted\":{records},");
                http(bytes, |status, body| status == 200 && contains(body, counted.as_bytes()))
            }
            Self::HttpDuplicates(records) => {
                let duplicates = format!("\"duplicates\":{records},");
                http(bytes, |status, body| status == 200 && contains(body, duplicates.as_bytes()))
            }
            Self::HttpSetup => http(bytes, |status, _| (200..300).contains(&status)),
            Self::RedisGate => redis(bytes),
            Self::PostgresGate => {
                postgres(bytes, |kind, body| kind == b'D' && first_column(body) == Some(b"t"))
            }
            Self::PostgresInsert(rows) => {
                let tag = format!("INSERT 0 {rows}\0");
                postgres(bytes, |kind, body| kind == b'C' && body == tag.as_bytes())
            }
            Self::MongoUpdate => mongo(bytes),
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(160).collect()
}

/// A whole HTTP answer.
#[derive(Debug)]
pub(crate) struct HttpAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// Bytes of head and body.
    len: usize,
}

/// Looks for one whole HTTP answer with a `Content-Length`; Tollgate sends no chunked body here.
pub(crate) fn http_answer(bytes: &[u8]) -> std::result::Result<Option<HttpAnswer<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 24];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("{error}: {}", excerpt(bytes))),
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let status = response.code.unwrap_or(0);
    let Some(length) = length.or((status == 204).then_some(0)) else {
        return Err(format!("no content-length in {}", excerpt(bytes)));
    };
    let len = head.saturating_add(length);
    Ok(bytes.get(head..len).map(|body| HttpAnswer { status, body, len }))
}

fn http(bytes: &[u8], is_yes: impl Fn(u16, &[u8]) -> bool) -> Parsed {
    match http_answer(bytes) {
        Ok(None) => Parsed::Incomplete,
        Ok(Some(HttpAnswer { status, body, len })) => {
            let no = || Verdict::No(format!("{status} {}", excerpt(body)));
            Parsed::Answer { len, verdict: if is_yes(status, body) { Verdict::Yes } else { no() } }
        }
        Err(reason) => Parsed::Broken(reason),
    }
}

/// The length of one RESP2 value, if all of it is there.
pub(crate) fn resp_len(bytes: &[u8]) -> Option<usize> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let after = line_end + 2;
    let number = || std::str::from_utf8(bytes.get(1..line_end)?).ok()?.parse::<i64>().ok();
    match bytes.first()? {
        b'$' => match usize::try_from(number()?) {
            Ok(length) => (bytes.len() >= after + length + 2).then_some(after + length + 2),
            Err(_) => Some(after), // -1: nil
        },
        b'*' => {
            let mut end = after;
            for _ in 0..number()? {
                end += resp_len(bytes.get(end..)?)?;
            }
            Some(end)
        }
        _ => Some(after),
    }
}

fn redis(bytes: &[u8]) -> Parsed {
    let Some(len) = resp_len(bytes) else { return Parsed::Incomplete };
    let body = bytes.get(..len).unwrap_or_default();
    let is_yes = body.starts_with(b"*") && contains(body.get(..12).unwrap_or(body), b"\r\n:1\r\n");
    Parsed::Answer { len, verdict: if is_yes { Verdict::Yes } else { Verdict::No(excerpt(body)) } }
}

/// One message of the PostgreSQL protocol: its type, its body and how many bytes it takes.
pub(crate) fn postgres_message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, rest) = bytes.split_first()?;
    let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
    Some((*kind, rest.get(4..length)?, length + 1))
}

/// The text of the first column of a data row.
pub(crate) fn first_column(row: &[u8]) -> Option<&[u8]> {
    let rest = row.get(2..)?;
    let length = usize::try_from(i32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
    rest.get(4..4 + length)
}

/// The message text of an error response.
pub(crate) fn error_text(body: &[u8]) -> String {
    let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'M'));
    excerpt(field.and_then(|field| field.get(1..)).unwrap_or(body))
}

/// One message of MongoDB's protocol, whose length it begins with.
fn mongo_message(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk::<4>()?)).ok()?;
    bytes.get(..length)
}

fn mongo(bytes: &[u8]) -> Parsed {
    let Some(message) = mongo_message(bytes) else { return Parsed::Incomplete };
    let is_yes = contains(message, b"\x10nModified\0\x01\0\0\0");
    let verdict = if is_yes { Verdict::Yes } else { Verdict::No(excerpt(message)) };
    Parsed::Answer { len: message.len(), verdict }
}

/// An answer whose messages up to the next readiness hold one that is a yes.
fn postgres(bytes: &[u8], is_yes: impl Fn(u8, &[u8]) -> bool) -> Parsed {
    let mut len = 0;
    let mut verdict = Verdict::No("no yes".to_owned());
    while let Some((kind, body, size)) = postgres_message(bytes.get(len..).unwrap_or_default()) {
        len += size;
        match kind {
            _ if is_yes(kind, body) => verdict = Verdict::Yes,
            b'D' => verdict = Verdict::No(excerpt(body)),
            b'E' => verdict = Verdict::No(error_text(body)),
            b'Z' => return Parsed::Answer { len, verdict },
            _ => {}
        }
    }
    Parsed::Incomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut of an answer is incomplete, the whole of it is an answer of its own length.
    fn check(wire: Wire, answer: &[u8], expected: &Verdict) {
        for cut in 0..answer.len() {
            assert_eq!(wire.parse(&answer[..cut]), Parsed::Incomplete, "{wire:?} cut at {cut}");
        }
        let mut two = answer.to_vec();
        two.extend_from_slice(answer);
        assert_eq!(wire.parse(&two), Parsed::Answer { len: answer.len(), verdict: expected.clone() });
    }

    #[test]
    fn an_answer_is_found_only_when_whole() {
        let no = |text: &str| Verdict::No(text.to_owned());
        let yes = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"allowed\":true}";
        check(Wire::HttpGate, yes, &Verdict::Yes);
        let denied = b"HTTP/1.1 402 Payment Required\r\ncontent-length: 2\r\nx: y\r\n\r\n{}";
        check(Wire::HttpGate, denied, &no("402 {}"));
        check(Wire::HttpSetup, b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", &Verdict::Yes);
        check(Wire::RedisGate, b"*2\r\n:1\r\n$3\r\n999\r\n", &Verdict::Yes);
        check(Wire::RedisGate, b"*2\r\n:0\r\n$2\r\nno\r\n", &no("*2\r\n:0\r\n$2\r\nno\r\n"));
        check(Wire::RedisGate, b"-ERR x\r\n", &no("-ERR x\r\n"));
        let row = b"D\0\0\0\x0b\0\x01\0\0\0\x01tZ\0\0\0\x05I";
        check(Wire::PostgresGate, row, &Verdict::Yes);
        check(Wire::PostgresInsert(7), b"C\0\0\0\x0fINSERT 0 7\0Z\0\0\0\x05I", &Verdict::Yes);
        let update = b"\x19\0\0\0 head \x10nModified\0\x01\0\0\0";
        check(Wire::MongoUpdate, update, &Verdict::Yes);
        check(Wire::MongoUpdate, b"\x07\0\0\0 no", &no("\u{7}\0\0\0 no"));
        check(Wire::PostgresInsert(7), b"C\0\0\0\x0fINSERT 0 6\0Z\0\0\0\x05I", &no("no yes"));
        check(
            Wire::HttpBatch(7),
            b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"counted\":7,",
            &Verdict::Yes,
        );
        check(
            Wire::HttpBatch(7),
            b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"counted\":70,",
            &no("200 {\"counted\":70,"),
        );
        check(
            Wire::HttpDuplicates(7),
            b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{\"counted\":0,\"duplicates\":7,}",
            &Verdict::Yes,
        );
        check(Wire::PostgresGate, b"E\0\0\0\x0cSERROR\0\0Z\0\0\0\x05I", &no("SERROR\0\0"));
    }
}
