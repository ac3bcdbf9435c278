//! Periods: what they are called, and what names one.

use tollgate_domain::{Period, Timestamp, Window, Zone};

#[test]
fn a_period_is_called_by_the_calendar() {
    let zone = Zone::new("UTC").expect("a zone");
    for (window, at, label) in [
        (Window::Minute, "2026-10-31T09:07:59.999999999Z", "2026-10-31T09:07Z"),
        (Window::Minute, "2026-10-31T09:08:00Z", "2026-10-31T09:08Z"),
        (Window::Minute, "1969-12-31T23:59:59Z", "1969-12-31T23:59Z"),
        (Window::Hour, "2026-10-31T09:59:59.999999999Z", "2026-10-31T09:00Z"),
        (Window::Hour, "2026-10-31T10:00:00Z", "2026-10-31T10:00Z"),
        (Window::Day, "2026-10-31T23:59:59.999999999Z", "2026-10-31"),
        (Window::Day, "2026-11-01T00:00:00Z", "2026-11-01"),
        (Window::Day, "1969-12-31T23:59:59Z", "1969-12-31"),
        (Window::Month, "2026-12-31T23:59:59.999999999Z", "2026-12"),
        (Window::Month, "2027-01-01T00:00:00Z", "2027-01"),
        (Window::Month, "1969-12-31T23:59:59Z", "1969-12"),
        (Window::Lifetime, "2026-10-31T09:07:59Z", "lifetime"),
    ] {
        let at: Timestamp = at.parse().expect("a time");
        assert_eq!(zone.period_at(window, at).label(), label, "{window:?} of {at}");
    }
}

#[test]
fn a_day_is_read_only_as_written() {
    for label in ["2026-10-31", "2028-02-29", "1969-12-31", "0001-01-01"] {
        assert_eq!(Period::parse_day(label).map(Period::label).as_deref(), Some(label));
    }
    for text in [
        "2026-02-29",
        "2026-10-32",
        "2026-13-01",
        "2026-10-1",
        "26-10-31",
        "2026-10-031",
        "20261031",
        "2026/10/31",
        "",
    ] {
        assert_eq!(Period::parse_day(text), None, "{text}");
    }
}
