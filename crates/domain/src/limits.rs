//! Every stated limit of the domain, each with its reason.

/// Most texts that a caller keeps with an org or a top-up for itself.
pub const METADATA_MAX: usize = 16;

/// Most characters of the name of such a text; the text has at most [`TEXT_CHARS_MAX`].
pub const METADATA_NAME_CHARS_MAX: usize = 64;

/// Longest id (org, user, meter, plan, key) in characters: room for a URL-safe UUID with a prefix, small in an index.
pub const ID_CHARS_MAX: usize = 128;

/// Longest name of a person who signed in by a provider of identities, in characters: that of a subject in OpenID Connect.
pub const PERSON_CHARS_MAX: usize = 255;

/// Most names of a path: a team, an agent, a run and its sub-runs, with room to spare. Each is looked at on every call that has one.
pub const PATH_NAMES_MAX: usize = 8;

/// Longest path in characters, all names together: it is in the key of a row, and the keys of DynamoDB have room for so many of
/// any kind.
pub const PATH_CHARS_MAX: usize = 200;

/// Longest name or reason in characters: a line of text for people.
pub const TEXT_CHARS_MAX: usize = 256;

/// Digits before the decimal point of a quantity: sums of 10^14 such quantities still fit an [`crate::Amount`].
pub const QUANTITY_INTEGER_DIGITS_MAX: usize = 15;

/// Digits before the decimal point of a sum of quantities, as replies tell it: all that an [`crate::Amount`] is sure to hold.
pub const SUM_INTEGER_DIGITS_MAX: usize = 29;

/// Digits after the decimal point of a quantity: a billionth is the smallest step.
pub const QUANTITY_FRACTION_DIGITS_MAX: usize = 9;

/// Most properties on one usage.
pub const PROPERTIES_MAX: usize = 16;

/// Most limits one org may set: each is evaluated on every call.
pub const ORG_LIMITS_MAX: usize = 1_000;

/// Most holds that an org may have open: they are written with it.
pub const HOLDS_OPEN_MAX: usize = 10_000;

/// How long a hold lasts unless the caller says, in seconds: longer than most calls of a model.
pub const HOLD_SECS: u32 = 600;

/// The longest that a hold may last, in seconds (a day): what is used later counts where its room was reserved.
pub const HOLD_SECS_MAX: u32 = 86_400;

/// Most grants that may be open on one account: each is looked at on every call.
pub const OPEN_GRANTS_MAX: usize = 1_000;

/// Most grants on one account, those that expired lately included: the account is read whole.
pub const GRANTS_MAX: usize = 10_000;

/// Most meters of one catalog.
pub const CATALOG_METERS_MAX: usize = 1_000;

/// Most meters that usage creates beside the catalog: they are kept in one record, and looked through with it.
pub const CREATED_METERS_MAX: usize = 1_000;

/// Most mappings of events of one catalog: those of a type are looked for with every event.
pub const CATALOG_EVENTS_MAX: usize = 1_000;

/// Most models with a price of one catalog.
pub const CATALOG_MODELS_MAX: usize = 10_000;

/// Most plans of one catalog.
pub const CATALOG_PLANS_MAX: usize = 1_000;

/// Most properties a meter is counted by: each combination of their values has counters of its own.
pub const METER_PROPERTIES_MAX: usize = 4;

/// Most groups of property values that a meter is counted by in a month of an org: they are kept in one record, which
/// is written whole. Usage of any further group is counted without values.
pub const GROUPS_MAX: usize = 1_000;

/// Most characters of a group's values together: a thousand groups still fit the records of every store.
pub const GROUP_CHARS_MAX: usize = 256;

/// Usages that the counter of a maximum or a last value keeps: as many may be taken back from the top, one after the
/// other, before the next is not known.
pub const RANKS_KEPT: usize = 16;

/// Months before its own that a bill puts right: usage is taken back, or comes late, for as long.
pub const ADJUSTED_MONTHS: i32 = 12;

/// Changes of plan that an org remembers: each is looked at on every call. Those of months that no bill looks at any more
/// are forgotten.
pub const PLANS_KEPT_MAX: usize = 1_000;

/// Changes of plan that have counters of their own in one month: more than an org remembers.
pub const SEGMENTS_OF_MONTH: u32 = 16_384;

/// The longest window that moves with usage, in hours (366 days).
pub const WINDOW_HOURS_MAX: u16 = 366 * 24;

/// Into how many slots the usage of a rolling window is counted: usage leaves it no later than a sixtieth of the window after
/// its time, and a counter of it stays small.
pub const ROLLING_SLOTS: i32 = 60;

/// How far from a month the plans may lie that its usage was counted under, in seconds (40 days): the org may have changed
/// its time zone, and the server's clock may have stepped back.
pub const SEGMENT_MARGIN_SECS: i64 = 40 * 86_400;

/// How far behind the latest entry of an org a clock may be for the org's time to stand still until the clock has caught up, in
/// seconds: clocks of servers on one store differ by less. One that is further ahead drags nobody along.
pub const CLOCKS_APART_SECS_MAX: i64 = 5;

/// Most prices of one plan: each is compared with each when the catalog is read.
pub const PLAN_PRICES_MAX: usize = 1_000;

/// Most tiers of one price: each may be a part of a bill's line.
pub const PRICE_TIERS_MAX: usize = 100;

/// Most lines of one shipment: it is one record, and one request to the processor.
pub const SHIPMENT_LINES_MAX: usize = 1_000;

/// Most channels at a time: each is looked at whenever notices are read.
pub const CHANNELS_MAX: usize = 200;

/// Secrets that a channel keeps: the latest, and those before it that still sign.
pub const CHANNEL_SECRETS_MAX: usize = 3;

/// Attempts that the log of a channel keeps; the oldest are written over.
pub const CHANNEL_DELIVERIES_KEPT: u64 = 500;

/// How long every attempt of a channel may fail before it is disabled, in seconds (five days).
pub const CHANNEL_FAILING_SECS_MAX: i64 = 5 * 86_400;

/// How long every attempt of a channel must have failed for the first success to have all that waits tried at once, in
/// seconds (ten minutes): a message that fails alone is not tried with each success of others.
pub const CHANNEL_OUTAGE_SECS: i64 = 600;

/// Largest catalog text in bytes.
pub const CATALOG_BYTES_MAX: usize = 1024 * 1024;

/// Most faults of a catalog that are told at once: nobody reads more, and some take long to find.
pub const CATALOG_FAULTS_MAX: usize = 50;

/// Most ids that are compared in full with one that is unknown, to say which may have been meant.
pub const LIKE_IDS_COMPARED_MAX: usize = 16;

/// How long an expired grant stays on its account, in seconds (100 days): reversals and balances may still name it.
pub const EXPIRED_GRANT_KEEP_SECS: i64 = 100 * 86_400;

/// Months that a debt looks back for allowances that may have settled it: an org that was left alone for longer pays the rest
/// from then on.
pub const SETTLED_MONTHS_MAX: i32 = 120;

/// Overdrafts that an account remembers. Only the last can be owed, for nothing may be used beyond credit before it is settled;
/// of those before it a reversal gives back what settled them.
pub const OVERDRAFTS_KEPT: usize = 64;

/// Months whose burned allowance an account remembers: the current one, and those a clock or a time zone may step back to.
pub const ALLOWANCE_MONTHS_KEPT: i32 = 12;

/// Periods whose notices an account remembers: the trial and the months that late usage and a clock that steps back reach.
pub const MARKS_KEPT: usize = 6;

/// Days of totals kept for the forecast.
pub const FORECAST_DAYS: i64 = 28;

/// Days of history below which the forecast is a straight line.
pub const FORECAST_WEEKDAY_DAYS_MIN: usize = 7;

/// Days, each of one zone, whose calendar is remembered for the commands of one turn: late usage of a month in a few
/// zones. They are gone through one by one.
pub(crate) const DAYS_SEEN_MAX: usize = 256;

/// How long a trial is ending before it has ended, in seconds (3 days).
pub const TRIAL_ENDING_SECS: i64 = 3 * 86_400;

/// Earliest time accepted from outside, in seconds: 1970-01-01.
pub const TIME_MIN_SECS: i64 = 0;

/// Latest time accepted from outside, in seconds: 6000-01-01, so that every minute has a number.
pub const TIME_MAX_SECS: i64 = 127_174_492_800;
