//! Tests of the crate as a whole, by what they claim.

mod animations;
mod codecs;
mod deformations;
mod errors;
mod features;
mod glb;
mod hostile;
mod motion;
mod packing;
pub(crate) mod scenes;
mod seeds;
