//! The encoding under every version: postcard's integers, strings, lists and enums, and the macros that list fields.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postcard::{Deserializer, Error, Result, de_flavors};
use serde::Deserialize;
use smallvec::{Array, SmallVec};

/// Where values are decoded from.
pub(super) type In<'a> = Deserializer<'a, de_flavors::Slice<'a>>;

/// Most bytes reserved for a list before its items are decoded: its length may be damaged, so a long list grows with
/// the items that are really there.
const LIST_RESERVED_BYTES_MAX: usize = 4 * 1024;

/// A type with an encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);

    /// Decodes a value. Every encoding has at least one byte, so a list cannot have more items than there are bytes.
    fn take(from: &mut In<'_>) -> Result<Self>;
}

/// The error for bytes that are no valid value.
pub(super) const fn invalid() -> Error {
    Error::DeserializeBadEncoding
}

/// Appends a number in groups of seven bits, lowest first; the top bit of a byte says that more follow.
fn put_varint(number: u64, out: &mut Vec<u8>) {
    const MORE: u64 = 0x8080_8080_8080_8080;
    if number < 0x80 {
        return out.push(number.to_le_bytes()[0]);
    }
    // Eight groups become the eight bytes of a word in three steps, not byte by byte: most of an entry are such numbers.
    let mut word = number & 0x00ff_ffff_ffff_ffff;
    word = (word & 0x0000_0000_0fff_ffff) | ((word & 0x00ff_ffff_f000_0000) << 4);
    word = (word & 0x0000_3fff_0000_3fff) | ((word & 0x0fff_c000_0fff_c000) << 2);
    word = (word & 0x007f_007f_007f_007f) | ((word & 0x3f80_3f80_3f80_3f80) << 1);
    let rest = number >> 56;
    if rest > 0 {
        out.extend_from_slice(&(word | MORE).to_le_bytes());
        return put_varint(rest, out);
    }
    let groups = number.ilog2() / 7 + 1;
    out.extend_from_slice(&(word | (MORE >> (72 - 8 * groups))).to_le_bytes());
    let unused = usize::try_from(8 - groups).unwrap_or_default();
    out.truncate(out.len() - unused);
}

/// The same for a number that rarely needs more than 64 bits.
fn put_long_varint(mut number: u128, out: &mut Vec<u8>) {
    loop {
        if let Ok(number) = u64::try_from(number) {
            return put_varint(number, out);
        }
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
}

/// Integers; signed ones are zigzag-encoded, with the sign in the lowest bit.
macro_rules! numbers {
    ($($name:ty: $number:ident => $written:expr, $put:ident);+ $(;)?) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let $number = *self;
                $put($written, out);
            }

            fn take(from: &mut In<'_>) -> Result<Self> {
                Self::deserialize(from)
            }
        }
    )+};
}

numbers! {
    u32: number => number.into(), put_varint;
    u64: number => number, put_varint;
    u128: number => number, put_long_varint;
    i32: number => ((number << 1) ^ (number >> 31)).cast_unsigned().into(), put_varint;
    i64: number => ((number << 1) ^ (number >> 63)).cast_unsigned(), put_varint;
    i128: number => ((number << 1) ^ (number >> 127)).cast_unsigned(), put_long_varint;
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::deserialize(from)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::deserialize(from)
    }
}

impl Wire for [u8; 32] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::deserialize(from)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        take_text(from).map(str::to_owned)
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        take_text(from).map(Self::from)
    }
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_text<'a>(from: &mut In<'a>) -> Result<&'a str> {
    <&str>::deserialize(from)
}

pub(super) fn put_len(len: usize, out: &mut Vec<u8>) {
    // A usize never exceeds 64 bits here.
    put_varint(u64::try_from(len).unwrap_or(u64::MAX), out);
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        take_items(from, Self::with_capacity)
    }
}

impl<A: Array<Item: Wire>> Wire for SmallVec<A> {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        take_items(from, Self::with_capacity)
    }
}

/// Decodes a list into one that is made with some room.
fn take_items<T: Wire, L: Extend<T>>(from: &mut In<'_>, made_with: impl FnOnce(usize) -> L) -> Result<L> {
    let len = usize::deserialize(&mut *from)?;
    let most = LIST_RESERVED_BYTES_MAX / size_of::<T>().max(1);
    let mut items = made_with(len.min(most));
    for _ in 0..len {
        items.extend([T::take(from)?]);
    }
    Ok(items)
}

impl<T: Wire> Wire for Arc<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Vec::take(from).map(Self::from)
    }
}

pub(super) fn put_items<T: Wire>(items: &[T], out: &mut Vec<u8>) {
    put_len(items.len(), out);
    for item in items {
        item.put(out);
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let len = usize::deserialize(&mut *from)?;
        (0..len).map(|_| Ok((K::take(from)?, V::take(from)?))).collect()
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Vec::take(from).map(Self::from_iter)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        T::take(from).map(Self::new)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        T::take(from).map(Self::new)
    }
}

/// Two fields that are encoded together, where one of them came later: what was written before still means the same.
pub(super) trait Together {
    /// The type of the first.
    type One;
    /// The type of the second.
    type Other;

    /// Appends the encoding of both.
    fn put(one: &Self::One, other: &Self::Other, out: &mut Vec<u8>);

    /// Decodes both.
    fn take(from: &mut In<'_>) -> Result<(Self::One, Self::Other)>;
}

/// Implements [`Wire`] for structs from the list of all their fields, in the order they are encoded; `one & other` are
/// [`Together`].
macro_rules! fields {
    ($($name:ident { $($field:ident $(& $with:ident)?: $type:ty),+ $(,)? })+) => {$(
        impl $crate::codec::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field, $($with,)?)+ } = self;
                $($crate::codec::wire::put_field!($field $(& $with)?: $type, out);)+
            }

            fn take(from: &mut $crate::codec::wire::In<'_>) -> postcard::Result<Self> {
                $($crate::codec::wire::take_field!($field $(& $with)?: $type, from);)+
                Ok(Self { $($field, $($with,)?)+ })
            }
        }
    )+};
}

/// Appends a field, or two together.
macro_rules! put_field {
    ($field:ident: $type:ty, $out:ident) => {
        <$type as $crate::codec::wire::Wire>::put($field, $out)
    };
    ($field:ident & $with:ident: $type:ty, $out:ident) => {
        <$type as $crate::codec::wire::Together>::put($field, $with, $out)
    };
}

/// Decodes a field, or two together.
macro_rules! take_field {
    ($field:ident: $type:ty, $from:ident) => {
        let $field = <$type as $crate::codec::wire::Wire>::take($from)?;
    };
    ($field:ident & $with:ident: $type:ty, $from:ident) => {
        let ($field, $with) = <$type as $crate::codec::wire::Together>::take($from)?;
    };
}

/// Implements [`Wire`] for enums from the list of all their variants, with the number and the fields of each.
macro_rules! choices {
    ($($name:ident { $(
        $number:literal = $variant:ident
            $(($($item:ident: $item_type:ty),+))?
            $({ $($field:ident $(& $with:ident)?: $field_type:ty),+ $(,)? })?
    ),+ $(,)? })+) => {$(
        impl $crate::codec::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {$(
                    Self::$variant $(($($item),+))? $({ $($field, $($with,)?)+ })? => {
                        <u8 as $crate::codec::wire::Wire>::put(&$number, out);
                        $($(<$item_type as $crate::codec::wire::Wire>::put($item, out);)+)?
                        $($($crate::codec::wire::put_field!($field $(& $with)?: $field_type, out);)+)?
                    }
                )+}
            }

            fn take(from: &mut $crate::codec::wire::In<'_>) -> postcard::Result<Self> {
                Ok(match <u8 as $crate::codec::wire::Wire>::take(from)? {
                    $($number => {
                        $($(let $item = <$item_type as $crate::codec::wire::Wire>::take(from)?;)+)?
                        $($($crate::codec::wire::take_field!($field $(& $with)?: $field_type, from);)+)?
                        Self::$variant $(($($item),+))? $({ $($field, $($with,)?)+ })?
                    })+
                    _ => return Err($crate::codec::wire::invalid()),
                })
            }
        }
    )+};
}

pub(super) use {choices, fields, put_field, take_field};

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;

    use super::*;

    /// A value encodes as postcard encodes it, and decodes again.
    fn check<T: Wire + Serialize + PartialEq + Debug>(value: T) {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        assert_eq!(Ok(&bytes), postcard::to_allocvec(&value).as_ref(), "{value:?}");
        let mut from = In::from_bytes(&bytes);
        assert_eq!(T::take(&mut from), Ok(value));
        assert_eq!(from.finalize(), Ok(&[][..]));
    }

    #[test]
    fn values_encode_as_postcard_encodes_them() {
        for bits in 0..128 {
            for number in [1_u128 << bits, (1 << bits) - 1, !(1 << bits), u128::MAX >> bits] {
                let bytes = number.to_le_bytes();
                let [low, ..] = bytes;
                let four = u32::from_le_bytes(*bytes.first_chunk().expect("four"));
                let eight = u64::from_le_bytes(*bytes.first_chunk().expect("eight"));
                check(low);
                check(four);
                check(four.cast_signed());
                check(eight);
                check(eight.cast_signed());
                check(number);
                check(number.cast_signed());
                check([low; 32]);
            }
        }
        for len in [0, 1, 127, 128, 300] {
            check("x".repeat(len));
            check(vec![7_u64; len]);
            check(vec![(true, String::from("größe")); len]);
            check((0..len).map(|number| (number.to_string(), number % 2 == 0)).collect::<BTreeMap<_, _>>());
        }
        check(Some(Box::new(7_i32)));
        check(None::<Arc<u32>>);
    }
}
