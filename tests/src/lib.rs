//! What crosses crates: the deterministic simulator of a whole farm, and the
//! generator of `scenes/`.

pub mod bare;
pub mod scenes;
pub mod simulation;
