//! `make fuzz`: libFuzzer at one of the targets in `src/domain/hostile` and `src/systems/hostile`, named by `FUZZ_TARGET`.
#![no_main]
#![allow(dead_code, unused_imports, unexpected_cfgs)]

mod api;
mod domain;
/// What of it only looks at values.
mod cluster {
    pub mod render;
    pub mod token {
        /// In the place of the one that can be minted.
        pub struct Token(String);

        impl Token {
            pub fn new(token: String) -> Self {
                Self(token)
            }

            pub fn expose(&self) -> &str {
                &self.0
            }
        }
    }
}
mod runtime {
    pub mod evaluator;
}
/// What renders and judges, without what sends.
mod systems {
    mod answer;
    mod check;
    pub mod facts;
    pub mod hostile;
    mod json;
    mod judge;
    mod known;
    mod login;
    mod path;
    mod problem;
    mod proof;
    mod render;
    mod request;
}

use std::sync::LazyLock;

use domain::hostile::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let all = || domain::hostile::TARGETS.iter().chain(systems::hostile::TARGETS);
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known: Vec<&str> = all().map(|(name, _)| *name).collect();
    let found = all().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is one of {}", known.join(", "))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
