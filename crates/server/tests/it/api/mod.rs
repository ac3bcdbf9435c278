//! Every route of the native API, with its whole body where that is stable.

mod batch;
mod catalog;
mod document;
mod filters;
mod holds;
mod ledger;
mod lists;
mod members;
mod org_notices;
mod orgs;
mod paths;
mod samples;
mod statuses;
mod system;
mod top_ups;
mod usage;
