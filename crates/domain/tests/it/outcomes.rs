//! The codes of denials, which never change, and the limits they name.

use tollgate_domain::{Amount, Denial, ReachedLimit, RecordDenial};

fn limit(amount: i64) -> ReachedLimit {
    let amount = Amount::from_whole(amount);
    ReachedLimit {
        user: None,
        path: None,
        window: None,
        amount,
        used: amount,
        held: Amount::ZERO,
        resets_at: None,
    }
}

#[test]
fn a_denial_has_a_code_and_names_the_limit_if_it_was_one() {
    for (denial, code, named) in [
        (Denial::KeyReused, "key_reused", None),
        (Denial::KeyReversed, "key_reversed", None),
        (Denial::UnknownMeter, "unknown_meter", None),
        (Denial::UnknownProperty("model".to_owned()), "unknown_property", None),
        (Denial::UnknownOrg, "unknown_org", None),
        (Denial::NoPlan, "no_plan", None),
        (Denial::TrialEnded, "trial_ended", None),
        (Denial::UserRequired, "user_required", None),
        (Denial::OutOfCredit(limit(1)), "org_limit_reached", Some(limit(1))),
        (Denial::OrgLimitReached(limit(2)), "org_limit_reached", Some(limit(2))),
        (Denial::PathLimitReached(limit(3)), "path_limit_reached", Some(limit(3))),
        (Denial::UserLimitReached(limit(4)), "user_limit_reached", Some(limit(4))),
    ] {
        assert_eq!((denial.code(), denial.limit()), (code, named.as_ref()), "{denial:?}");
    }
}

#[test]
fn a_record_that_is_refused_has_the_code_of_the_denial_of_its_name() {
    for (denial, code) in [
        (RecordDenial::KeyReused, "key_reused"),
        (RecordDenial::KeyReversed, "key_reversed"),
        (RecordDenial::UnknownMeter, "unknown_meter"),
        (RecordDenial::UnknownProperty("model".to_owned()), "unknown_property"),
        (RecordDenial::UnknownOrg, "unknown_org"),
    ] {
        assert_eq!(denial.code(), code);
        assert_eq!(Denial::from(denial).code(), code);
    }
}
