//! The forecast: how much an org will have used when the month ends.

use crate::limits::{FORECAST_DAYS, FORECAST_WEEKDAY_DAYS_MIN};
use crate::moment::Moment;
use crate::{Account, Amount, Period};

/// What a forecast says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Expected usage of the whole month.
    pub projected: Amount,
    /// The day number on which the credit runs out, if it does within the month.
    pub runs_out_on: Option<i32>,
}

/// Projects the usage of the month, from this org's own weekdays over the last 28 days; a straight line until there
/// are 7 days of history.
///
/// `used` is what was used of `credit` this month.
#[must_use]
pub fn project(account: &Account, moment: &Moment, used: Amount, credit: Amount) -> Pace {
    project_with(account, moment, Amount::ZERO, used, credit)
}

/// The same where more was used today than the account says.
pub(crate) fn project_with(
    account: &Account,
    moment: &Moment,
    more_today: Amount,
    used: Amount,
    credit: Amount,
) -> Pace {
    let today = moment.day.number;
    let history_from = account.first_day.unwrap_or(today).max(today - days(FORECAST_DAYS));
    let history = usize::try_from(today - history_from).unwrap_or_default();
    if history < FORECAST_WEEKDAY_DAYS_MIN {
        straight_line(moment, used, credit)
    } else {
        by_weekday(account, moment, history_from, more_today, used, credit)
    }
}

fn days(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The same pace as since the month began; its first day counts as a whole one.
fn straight_line(moment: &Moment, used: Amount, credit: Amount) -> Pace {
    const DAY_SECS: i64 = 86_400;
    let start = moment.month_start.as_second();
    let length = moment.month_end.as_second().saturating_sub(start).max(DAY_SECS);
    let elapsed = moment.at.as_second().saturating_sub(start).clamp(DAY_SECS, length);
    let projected = used.scale_floor(length, elapsed);
    let runs_out_on = (projected > credit && used.is_positive()).then(|| {
        let (first, next) = Period::days_of_month(moment.month.number);
        let secs_to_empty = Amount::from_whole(elapsed).billionths().saturating_mul(credit.billionths())
            / used.billionths().max(1)
            / Amount::from_whole(1).billionths();
        let day = i32::try_from(secs_to_empty / i128::from(DAY_SECS)).unwrap_or(i32::MAX);
        first.saturating_add(day).clamp(moment.day.number, next - 1)
    });
    Pace { projected, runs_out_on }
}

/// Today and each day to come like the average of its weekday.
fn by_weekday(
    account: &Account,
    moment: &Moment,
    history_from: i32,
    more_today: Amount,
    used: Amount,
    credit: Amount,
) -> Pace {
    let today = moment.day.number;
    let mut sums = [Amount::ZERO; 7];
    let mut counts = [0_i64; 7];
    for day in history_from..today {
        if let Some(count) = counts.get_mut(Period::weekday(day)) {
            *count += 1;
        }
    }
    let mut used_today = more_today;
    for known in &account.days {
        if known.day == today {
            used_today += known.amount;
        } else if (history_from..today).contains(&known.day)
            && let Some(sum) = sums.get_mut(Period::weekday(known.day))
        {
            *sum += known.amount;
        }
    }
    let average = |day: i32| {
        let weekday = Period::weekday(day);
        let count = counts.get(weekday).copied().unwrap_or_default();
        sums.get(weekday).copied().unwrap_or_default().scale_floor(1, count)
    };
    let (_, next_month) = Period::days_of_month(moment.month.number);
    let mut projected = used + (average(today) - used_today).at_least_zero();
    let mut runs_out_on = (projected > credit).then_some(today);
    for day in today + 1..next_month {
        projected += average(day);
        if runs_out_on.is_none() && projected > credit {
            runs_out_on = Some(day);
        }
    }
    Pace { projected, runs_out_on }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    fn whole(amount: i64) -> Amount {
        Amount::from_whole(amount)
    }

    fn moment(at: &str) -> Moment {
        Moment::new(&Zone::UTC, at.parse().expect("a time"))
    }

    #[test]
    fn a_straight_line_until_there_are_seven_days() {
        let account = Account::default();
        for (at, used, credit, projected, day_of_month) in [
            ("2026-11-16T00:00:00Z", 60, 100, 120, Some(26)),
            ("2026-11-16T00:00:00Z", 50, 100, 100, None),
            ("2026-11-01T00:00:01Z", 10, 100, 300, Some(11)),
            ("2026-11-30T23:59:59Z", 0, 100, 0, None),
        ] {
            let moment = moment(at);
            let pace = project(&account, &moment, whole(used), whole(credit));
            let (first, _) = Period::days_of_month(moment.month.number);
            let day = pace.runs_out_on.map(|day| day - first + 1);
            assert!(
                (pace.projected - whole(projected)).billionths().abs() < 1_000_000_000,
                "{at} {used} {pace:?}"
            );
            assert_eq!(day, day_of_month, "{at} {used}");
        }
    }

    #[test]
    fn weekdays_repeat_and_weekends_stay_quiet() {
        // 10 on each working day of the four weeks before Monday 16 November 2026, nothing at weekends.
        let moment = moment("2026-11-16T00:00:00Z");
        let today = moment.day.number;
        let mut account = Account::default();
        for day in today - 28..today {
            if Period::weekday(day) < 5 {
                account.count_day(day, whole(10));
            }
        }
        // Left: Monday 16 to Monday 30, 11 working days.
        let pace = project(&account, &moment, whole(100), whole(200));
        assert_eq!(pace.projected, whole(210));
        assert_eq!(pace.runs_out_on, Some(today + 14));
    }
}
