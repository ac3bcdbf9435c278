//! Values of every stored type: every variant of every enum, with everything that is optional and with nothing of it.
//! Samples are only added, never changed: each is the content of a golden file.

mod bills;
mod channels;
mod entries;
mod state;
mod values;

use std::fmt::Debug;

use tollgate_storage::codec::{DecodeError, Line, Stored, decode, decode_line, encode, encode_line};

/// Decodes bytes; says how the result differs from the sample's value, if it does.
type Read = Box<dyn Fn(&[u8]) -> Result<Option<String>, DecodeError>>;

/// A value and its golden file.
pub(crate) struct Sample {
    /// The file's name.
    pub(crate) name: String,
    /// The value, encoded.
    pub(crate) bytes: Vec<u8>,
    read: Read,
}

impl Sample {
    pub(crate) fn value<T: Stored + PartialEq + Debug + 'static>(name: &str, value: T) -> Self {
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        let read = move |bytes: &[u8]| decode::<T>(bytes).map(|read| difference(&read, &value));
        Self { name: format!("{name}.bin"), bytes, read: Box::new(read) }
    }

    pub(crate) fn line(name: &str, line: Line) -> Self {
        let mut bytes = Vec::new();
        encode_line(line.lent(), &mut bytes);
        let read = move |bytes: &[u8]| decode_line(bytes).map(|read| difference(&read, &line));
        Self { name: format!("line-{name}.bin"), bytes, read: Box::new(read) }
    }

    /// Asserts that bytes decode to the value.
    pub(crate) fn check(&self, bytes: &[u8]) {
        match (self.read)(bytes) {
            Ok(None) => {}
            Ok(Some(difference)) => panic!("{} decodes to another value now: {difference}", self.name),
            Err(error) => panic!("{} no longer decodes: {error}", self.name),
        }
    }

    /// Why bytes do not decode.
    pub(crate) fn refusal(&self, bytes: &[u8]) -> Option<DecodeError> {
        (self.read)(bytes).err()
    }
}

fn difference<T: PartialEq + Debug>(read: &T, value: &T) -> Option<String> {
    (read != value).then(|| format!("{read:#?}\nwhere it should be\n{value:#?}"))
}

/// All samples.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = entries::samples();
    samples.extend(state::samples());
    samples.extend(channels::samples().0);
    samples
}

/// A list with a sample of each variant of an enum: a new variant does not compile until it has one.
macro_rules! every {
    ($(#[$doc:meta])* $name:ident: $type:ty { $($pattern:pat => $value:expr),+ $(,)? }) => {
        $(#[$doc])*
        pub(super) fn $name() -> Vec<$type> {
            let _is_listed = |value: &$type| match value {
                $($pattern => (),)+
            };
            vec![$({
                let value: $type = $value;
                assert!(matches!(value, $pattern), "{value:?} is listed as another variant");
                value
            }),+]
        }
    };
}

use every;
