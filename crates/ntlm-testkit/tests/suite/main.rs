//! The test suite: one binary, a module for each theme. `cargo xtask test` says which nginx it runs against.

mod balancing;
mod caps;
mod chaos;
mod common;
mod configuration;
mod demo;
mod diagnoses;
mod eviction;
mod fairness;
mod faults;
mod floods;
mod guard;
mod handshakes;
mod isolation;
mod keys;
mod lifetime;
mod multiplexed;
mod origin_itself;
mod proof;
mod runner_itself;
mod scaling;
mod smoke;
mod status;
mod status_page;
mod upgrade;
mod variables;
