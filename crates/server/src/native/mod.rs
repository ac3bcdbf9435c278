//! The native API: a module per thing, a function per route.

pub(crate) mod api_keys;
pub(crate) mod balance;
pub(crate) mod batch;
pub(crate) mod bill_list;
pub(crate) mod bills;
pub(crate) mod catalog;
pub(crate) mod catalog_json;
pub(crate) mod channels;
pub(crate) mod filters;
pub(crate) mod holds;
pub(crate) mod ledger;
pub(crate) mod org_notices;
pub(crate) mod orgs;
pub(crate) mod plans;
pub(crate) mod problems;
pub(crate) mod series;
pub(crate) mod stream;
pub(crate) mod system;
pub(crate) mod top_ups;
pub(crate) mod usage;
