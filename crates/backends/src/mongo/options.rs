//! How a MongoDB is named, and what may be set.

use mongodb::options::ConnectionString;

use crate::packs::Opening;

/// What a URL looks like.
const SHAPE: &str =
    "expected mongodb://HOST/DATABASE or mongodb+srv://HOST/DATABASE, with settings after `?`";

/// The collection, unless the URL names one.
const COLLECTION_DEFAULT: &str = "tollgate";

/// The database, unless the URL names one.
pub(crate) const DATABASE_DEFAULT: &str = "tollgate";

/// A MongoDB, and how it is used.
#[derive(Clone)]
pub struct MongoOptions {
    /// What is for the driver: hosts, credentials, the replica set, TLS.
    pub(crate) url: String,
    pub(crate) collection: String,
    /// How it is opened.
    pub opening: Opening,
}

impl std::fmt::Debug for MongoOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MongoOptions").field("collection", &self.collection).finish_non_exhaustive()
    }
}

impl MongoOptions {
    /// Reads `mongodb://host/database?setting=value&…`, or `mongodb+srv://…`.
    ///
    /// Settings are `collection` (`tollgate` without), `patience` (seconds) and `migrate` (`on` or `off`); all others are the driver's, such as
    /// `replicaSet`, `tls` and `authSource`.
    ///
    /// # Errors
    /// What is wrong with it, without any secret that it holds.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options = Self {
            url: String::new(),
            collection: COLLECTION_DEFAULT.to_owned(),
            opening: Opening::default(),
        };
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "collection" => options.collection = collection(value)?,
                _ if options.opening.take(name, value)? => {}
                _ => others.push(pair),
            }
        }
        // Without a path the driver takes no settings.
        let has_path = place.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let place = if has_path { place.to_owned() } else { format!("{place}/") };
        options.url = if others.is_empty() { place } else { format!("{place}?{}", others.join("&")) };
        // What the driver says of it may quote it, with the password.
        ConnectionString::parse(&options.url).map_err(|_| SHAPE)?;
        Ok(options)
    }
}

fn collection(name: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.is_empty() || name.len() > 100 || name.starts_with("system.") || !name.chars().all(fits) {
        return Err("a collection has 1 to 100 letters, digits, and `_`, `-` or `.`".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn urls_are_read_and_wrong_ones_refused_without_secrets() {
        let read = MongoOptions::from_url(
            "mongodb://me:hush@h:1,i:2/metering?replicaSet=rs0&collection=books&patience=3&migrate=off&tls=true",
        );
        let read = read.expect("a URL");
        assert_eq!(read.url, "mongodb://me:hush@h:1,i:2/metering?replicaSet=rs0&tls=true");
        assert_eq!((read.collection.as_str(), read.opening.patience), ("books", Duration::from_secs(3)));
        assert!(!read.opening.migrate && !format!("{read:?}").contains("hush"));
        let bare = MongoOptions::from_url("mongodb://h?collection=c").expect("a URL");
        assert_eq!((bare.url.as_str(), bare.opening.migrate), ("mongodb://h/", true));
        assert!(MongoOptions::from_url("mongodb+srv://me:hush@cluster0.example.net/d").is_ok());
        for (url, wrong) in [
            ("mongodb://", "mongodb://HOST"),
            ("postgres://me:hush@h/d", "mongodb://HOST"),
            ("mongodb://me:hush:hush@h/d", "mongodb://HOST"),
            ("mongodb://h/d?tls=perhaps", "mongodb://HOST"),
            ("mongodb://h/d?collection=a%20b", "1 to 100"),
            ("mongodb://h/d?patience=0", "patience"),
            ("mongodb://h/d?migrate=perhaps", "migrate"),
        ] {
            let error = MongoOptions::from_url(url).expect_err(url);
            assert!(error.contains(wrong) && !error.contains("hush"), "{url}: {error}");
        }
    }
}
