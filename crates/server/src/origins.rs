//! The origins whose web pages may use the server.

use std::fmt;
use std::str::FromStr;

/// Origins such as `https://app.example.com`, exactly as browsers send them. None unless told: there is no wildcard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// The origins.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|origin| read(origin.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn read(text: &str) -> Result<String, String> {
    let wrong = |says: &str| {
        Err(format!("'{text}' {says}; expected origins such as https://app.example.com, separated by commas"))
    };
    if text == "*" || text == "null" {
        return wrong("would let in the pages of anybody");
    }
    let Some((scheme, authority)) = text.split_once("://") else { return wrong("is not an origin") };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return wrong("begins with neither http:// nor https://"),
    };
    let parsed = authority.parse::<http::uri::Authority>();
    if !parsed.is_ok_and(|parsed| !parsed.host().is_empty())
        || authority.contains('@')
        || authority.ends_with(':')
    {
        return wrong("is more or less than scheme, host and port");
    }
    if authority.chars().any(|character| character.is_ascii_uppercase()) {
        return wrong("has capital letters, which browsers do not send");
    }
    if authority.ends_with(default_port) {
        return wrong("names the default port, which browsers leave out");
    }
    Ok(text.to_owned())
}

impl fmt::Display for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        for (text, fine) in [
            ("https://app.example.com", true),
            ("http://localhost:3000, https://app.example.com", true),
            ("http://[::1]:3000", true),
            ("*", false),
            ("null", false),
            ("", false),
            ("app.example.com", false),
            ("https://", false),
            ("https://app.example.com/", false),
            ("https://app.example.com/path", false),
            ("https://user@app.example.com", false),
            ("https://App.example.com", false),
            ("https://app.example.com:443", false),
            ("http://app.example.com:80", false),
            ("http://app.example.com:443", true),
            ("https://app.example.com:", false),
            ("ftp://app.example.com", false),
            ("https://app.example.com,", false),
        ] {
            let read = text.parse::<Origins>();
            assert_eq!(read.is_ok(), fine, "{text:?}: {read:?}");
            if let Ok(read) = read {
                assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }
}
