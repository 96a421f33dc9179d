//! `make fuzz`: libFuzzer at one of the targets in `src/domain/hostile`, named by `FUZZ_TARGET`.
#![no_main]
#![allow(dead_code, unused_imports, unexpected_cfgs)]

mod api;
mod domain;

use std::sync::LazyLock;

use domain::hostile::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let found = TARGETS.iter().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is one of {}", known.join(", "))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
