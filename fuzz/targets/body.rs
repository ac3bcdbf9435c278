//! The body of every request: read, or refused with a reason that names what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_api::{
    ApiKeyRequest, CloseRequest, LimitRequest, OrgRequest, PlanRequest, ReversalRequest, TopUpRequest,
    UsageRequest, WhatIfRequest, read_body,
};

macro_rules! read {
    ($bytes:expr, $($request:ty),*) => {
        $(if let Err(error) = read_body::<$request>($bytes) {
            assert!(!error.detail.is_empty(), "a refusal without a reason");
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    read!(
        bytes,
        ApiKeyRequest,
        CloseRequest,
        LimitRequest,
        OrgRequest,
        PlanRequest,
        ReversalRequest,
        TopUpRequest,
        UsageRequest,
        WhatIfRequest
    );
});
