//! The parts of entries and state: ids, amounts, times, periods.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use postcard::Result;
use tollgate_domain::{
    Along, Amount, ApiKeyId, ChannelId, Currency, Exact, Group, LimitPath, MeterId, Money, MonthDay, OrgId,
    PathCounters, Period, PersonId, PlanId, Quantity, ScopePath, ShipmentId, Sku, Source, Timestamp,
    UsageKey, UserId, WeekDay, Window, WindowHours, Zone,
};

use crate::codec::wire::{In, Together, Wire, choices, fields, invalid, put_len, put_text, take_text};

/// Types made from a checked string.
macro_rules! texts {
    ($($name:ident: $text:ident),+ $(,)?) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_text(self.$text(), out);
            }

            fn take(from: &mut In<'_>) -> Result<Self> {
                Self::new(take_text(from)?).map_err(|_| invalid())
            }
        }
    )+};
}

texts! {
    OrgId: as_str,
    UserId: as_str,
    MeterId: as_str,
    PlanId: as_str,
    ShipmentId: as_str,
    UsageKey: as_str,
    ScopePath: as_str,
    Zone: name,
    Currency: code,
}

/// Types that are any string.
macro_rules! plain_texts {
    ($($name:ident),+ $(,)?) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut In<'_>) -> Result<Self> {
                String::take(from).map(Self)
            }
        }
    )+};
}

plain_texts! { ApiKeyId, ChannelId }

/// The name alone.
impl Wire for PersonId {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.name(), out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::named(take_text(from)?).ok_or_else(invalid)
    }
}

/// A count of billionths.
impl Wire for Amount {
    fn put(&self, out: &mut Vec<u8>) {
        self.billionths().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        i128::take(from).map(Self::from_billionths)
    }
}

impl Wire for Quantity {
    fn put(&self, out: &mut Vec<u8>) {
        self.amount().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::new(Amount::take(from)?).map_err(|_| invalid())
    }
}

impl Wire for Exact {
    fn put(&self, out: &mut Vec<u8>) {
        self.parts().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let (atto, rest) = <(u128, u128)>::take(from)?;
        Self::from_parts(atto, rest).ok_or_else(invalid)
    }
}

/// Seconds since 1970 and the nanoseconds beyond them; before 1970 both are negative.
impl Wire for Timestamp {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_second().put(out);
        self.subsec_nanosecond().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let (second, nanosecond) = <(i64, i32)>::take(from)?;
        Self::new(second, nanosecond).map_err(|_| invalid())
    }
}

impl Wire for Group {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.values().len(), out);
        self.values().iter().for_each(|pair| pair.put(out));
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        BTreeMap::take(from).map(Self::from)
    }
}

impl Wire for WeekDay {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::new(u8::take(from)?).ok_or_else(invalid)
    }
}

impl Wire for MonthDay {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::new(u8::take(from)?).ok_or_else(invalid)
    }
}

impl Wire for WindowHours {
    fn put(&self, out: &mut Vec<u8>) {
        u32::from(self.get()).put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        u32::take(from)?.try_into().ok().and_then(Self::new).ok_or_else(invalid)
    }
}

/// Who and where: the user, and the path of type `P`, which came later. One byte says which of them follow.
pub(super) struct Who<P>(PhantomData<P>);

const HAS_USER: u8 = 1;
const HAS_PATH: u8 = 2;

impl<P: Wire> Together for Who<P> {
    type One = Option<UserId>;
    type Other = Option<P>;

    fn put(user: &Option<UserId>, path: &Option<P>, out: &mut Vec<u8>) {
        let has = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        (has(user.is_some(), HAS_USER) | has(path.is_some(), HAS_PATH)).put(out);
        user.iter().for_each(|user| user.put(out));
        path.iter().for_each(|path| path.put(out));
    }

    fn take(from: &mut In<'_>) -> Result<(Option<UserId>, Option<P>)> {
        let has = u8::take(from)?;
        if has & !(HAS_USER | HAS_PATH) != 0 {
            return Err(invalid());
        }
        let user = if has & HAS_USER == 0 { None } else { Some(UserId::take(from)?) };
        let path = if has & HAS_PATH == 0 { None } else { Some(P::take(from)?) };
        Ok((user, path))
    }
}

/// The path, and the counters: each of so many of its names.
impl Wire for Along {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { path, counted } = self;
        path.put(out);
        counted.put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let (path, counted) = (ScopePath::take(from)?, PathCounters::take(from)?);
        let names = 1..=path.depth();
        if counted.iter().all(|(depth, _)| names.contains(depth)) {
            Ok(Self { path, counted })
        } else {
            Err(invalid())
        }
    }
}

fields! {
    Money {
        currency: Currency,
        minor: i128,
    }
    Period {
        window: Window,
        number: i32,
    }
    Sku {
        product: String,
        unit: String,
    }
}

choices! {
    LimitPath {
        0 = Named(path: ScopePath),
        1 = Each(above: Option<ScopePath>),
    }
    Window {
        0 = Minute,
        1 = Hour,
        2 = Day,
        3 = Month,
        4 = Lifetime,
        5 = Segment,
        6 = Week,
        7 = PlanMonth,
        8 = MonthFrom(day: MonthDay),
        9 = Rolling(hours: WindowHours),
        10 = FirstUse(hours: WindowHours),
        11 = WeekFrom(day: WeekDay),
    }
    Source {
        0 = Allowance(segment: i32),
        1 = Trial,
        2 = Grant(entry: u64),
        3 = Overdraft,
        4 = Overage,
    }
}
