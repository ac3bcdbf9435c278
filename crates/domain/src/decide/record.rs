//! Usage that has happened already: counted whatever credit and limits say, in the periods of its own time.

use crate::catalog::MeterRules;
use crate::decide::usage::{Gate, Tense, count_afterwards, fingerprint, known_key};
use crate::decide::{Ask, Context, OrgDecision, Outcome, RecordDenial, Recorded};
use crate::{Entry, OrgState, Use};

pub(super) fn decide_record(state: &OrgState, context: &Context<'_>, usage: &Use) -> Outcome {
    let (result, entry) = match record(state, context, usage) {
        Ok((recorded, entry)) => (Ok(recorded), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Record(result), entry }
}

fn record(
    state: &OrgState,
    context: &Context<'_>,
    usage: &Use,
) -> Result<(Recorded, Option<Entry>), RecordDenial> {
    let fingerprint = fingerprint(usage);
    if let Some(known) = known_key(state, context, usage) {
        if known.fingerprint != fingerprint {
            return Err(RecordDenial::KeyReused);
        }
        if known.reversed_by.is_some() {
            return Err(RecordDenial::KeyReversed);
        }
        return Ok((Recorded { entry: known.entry, at: known.at, duplicate: true }, None));
    }
    let meter = context.catalog.meter(&usage.meter).ok_or(RecordDenial::UnknownMeter)?;
    if let Some(name) = meter.refused_property(&usage.properties) {
        return Err(RecordDenial::UnknownProperty(name.clone()));
    }
    let org = state.org().ok_or(RecordDenial::UnknownOrg)?;
    let moment = context.moment_of(org, usage);
    let plan = MeterRules::of(context.plan_in(org, &moment), &usage.meter);
    let gate = Gate::load(Tense::Happened, state, context, &Ask::from(usage), (org, meter, plan), moment);
    let entry = count_afterwards(state, context, gate, usage, fingerprint);
    Ok((Recorded { entry: entry.number, at: entry.at, duplicate: false }, Some(entry)))
}
