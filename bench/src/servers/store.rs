//! The stores that Tollgate can work on, each with the servers that it needs, started as the peers on the same servers are.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;

use super::{Daemon, Kind, dynamo, mongo, postgres, redis};
use crate::Result;
use crate::args::Options;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKind {
    Embedded,
    Postgres,
    Redis,
    Dynamo,
    Mongo,
}

impl StoreKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Embedded, Self::Postgres, Self::Redis, Self::Dynamo, Self::Mongo];

    pub(crate) fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|store| store.name() == name);
        found.ok_or_else(|| format!("no such store: {name}").into())
    }

    /// Its name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Dynamo => "dynamodb",
            Self::Mongo => "mongodb",
        }
    }

    /// How the tables call Tollgate on it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Embedded => "Tollgate, embedded",
            Self::Postgres => "Tollgate on PostgreSQL",
            Self::Redis => "Tollgate on Redis and PostgreSQL, `durable=always`",
            Self::Dynamo => "Tollgate on DynamoDB Local",
            Self::Mongo => "Tollgate on MongoDB",
        }
    }

    /// What is written by hand on the same server; nothing is on a folder.
    pub(crate) const fn by_hand(self) -> Option<Kind> {
        match self {
            Self::Embedded => None,
            Self::Postgres => Some(Kind::Postgres),
            Self::Redis => Some(Kind::Redis),
            Self::Dynamo => Some(Kind::Dynamo),
            Self::Mongo => Some(Kind::Mongo),
        }
    }

    /// Starts what it needs, each in a folder of its own; gives its URL.
    pub(crate) fn start(self, options: &Options, folder: &Path) -> Result<(Vec<Daemon>, String)> {
        let place = |name: &str| -> Result<_> {
            let place = folder.join(name);
            fs::create_dir(&place)?;
            Ok(place)
        };
        Ok(match self {
            Self::Embedded => (Vec::new(), format!("embedded:{}", folder.join("data").display())),
            Self::Postgres => {
                let postgres = start_postgres(&place("postgres")?)?;
                let url = postgres_url(postgres.address);
                (vec![postgres], url)
            }
            Self::Redis => {
                let postgres = start_postgres(&place("postgres")?)?;
                let redis = redis::start(&place("redis")?)?;
                let url = format!(
                    "redis+{}?redis=redis://{}&durable=always",
                    postgres_url(postgres.address),
                    redis.address
                );
                (vec![postgres, redis], url)
            }
            Self::Dynamo => {
                let dynamo = dynamo::start(options, &place("dynamo")?)?;
                let url = format!(
                    "dynamodb://key:secret@metering?region=us-east-1&endpoint=http://{}",
                    dynamo.address
                );
                (vec![dynamo], url)
            }
            Self::Mongo => {
                let mongo = mongo::start(&place("mongo")?)?;
                let url =
                    format!("mongodb://{}/metering?replicaSet={}", mongo.address, tollgate_peers::mongo::SET);
                (vec![mongo], url)
            }
        })
    }
}

fn start_postgres(folder: &Path) -> Result<Daemon> {
    let mut daemon = postgres::start(folder)?;
    daemon.last_word = Signal::QUIT;
    Ok(daemon)
}

fn postgres_url(address: SocketAddr) -> String {
    format!("postgres://postgres@{address}/postgres")
}
