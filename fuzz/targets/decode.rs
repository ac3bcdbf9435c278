//! Bytes as anything that is read from disk: they are what they should be or they are refused, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_backends::embedded::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzing::decode(bytes);
});
