//! The domain through its public interface.
#![expect(clippy::expect_used, reason = "tests")]

mod numbers;
