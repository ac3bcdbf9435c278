//! What a route may refuse, for the OpenAPI document.
//!
//! A route names the statuses that its own rules lead to. Those that follow from what it is (a route with a body, one
//! that needs an API key) are added to it by [`crate::openapi`], as is the answer of a server that cannot answer.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{Ref, RefOr, Response};

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let reference = Ref::from_response_name(concat!("Problem", $status));
                    BTreeMap::from([($status.to_owned(), reference.into())])
                }
            }
        )*
    };
}

problems! {
    /// Credit does not cover it: buying helps.
    P402 = "402";
    /// Something that it names is not known.
    P404 = "404";
    /// Something is in the way.
    P409 = "409";
    /// The key stands for something else, or a field is wrong.
    P422 = "422";
    /// A limit of a minute, an hour, a day or a week is reached: waiting helps.
    P429 = "429";
    /// Something that the server needs for it failed.
    P502 = "502";
}
