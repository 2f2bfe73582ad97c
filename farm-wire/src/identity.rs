//! The master's certificate authority, and who a peer is.

use std::path::Path;

use crate::WireError;

/// What an identity may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Renders leases.
    Node,
    /// Submits jobs and fetches pictures.
    Artist,
}

/// Who a peer is, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// 64 random bits drawn when it joined; a node's `NodeId`.
    pub id: u64,
    /// Its name, for people; at most 64 printable characters.
    pub name: String,
}

/// The master's CA: a key and a self-signed certificate in the data folder,
/// mode 0600.
pub struct CertificateAuthority {
    _todo: (),
}

impl CertificateAuthority {
    /// Opens the CA in `folder`, or makes one there.
    ///
    /// # Errors
    /// Names the file that could not be read, parsed or written.
    pub fn open_or_create(folder: &Path) -> Result<Self, WireError> {
        let _ = folder;
        todo!()
    }

    /// SHA-256 of the CA's certificate: what a ticket pins.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        todo!()
    }
}
