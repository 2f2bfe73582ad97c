//! What crosses crates: the deterministic simulator of a whole farm.

pub mod simulation;
