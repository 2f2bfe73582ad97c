//! Placeholder.
/// Placeholder.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {}
/// Placeholder.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {}
