//! A catalog: taken or refused with a place; one that is taken can be looked through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_domain::Catalog;

fuzz_target!(|text: &str| match Catalog::from_toml(text) {
    Ok(catalog) => {
        assert!(tollgate_domain::catalog::changes(text, text).is_empty(), "a catalog differs from itself");
        for plan in &catalog.plans {
            assert!(catalog.plan(&plan.id).is_some());
            assert!(plan.allowances.iter().all(|allowance| {
                catalog.meter(&allowance.meter).is_some() && plan.allowance(&allowance.meter).is_some()
            }));
        }
    }
    Err(error) => assert!(!error.0.is_empty(), "a refusal without a reason"),
});
