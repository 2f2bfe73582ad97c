//! Who a peer is, as its certificate says.

use std::fmt;

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::WireError;

/// Longest name of an identity, in characters (X.509's bound on a common name).
pub const MAX_NAME_CHARACTERS: usize = 64;

/// What an identity may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Renders leases.
    Node,
    /// Submits jobs, and sees and changes its own.
    Artist,
    /// As an artist, with everybody's jobs, and looks after the nodes.
    Admin,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 3] = [Self::Node, Self::Artist, Self::Admin];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Artist => "artist",
            Self::Admin => "admin",
        })
    }
}

/// Who a peer is, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// 64 random bits drawn when it joined; a node's `NodeId`.
    pub id: u64,
    /// Its name, for people; at most 64 printable characters.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` ({:016x})", self.role, self.name, self.id)
    }
}

impl Identity {
    /// How the certificate holds role and id: `farm:node:0123456789abcdef`, its
    /// only alternative name. The common name holds the name.
    pub(crate) fn uri(&self) -> String {
        format!("farm:{}:{:016x}", self.role, self.id)
    }

    /// Reads the identity in a certificate that was already verified against
    /// the CA. Accepts only what [`Identity::uri`] writes, to the letter.
    pub(crate) fn from_certificate(der: &[u8]) -> Result<Self, WireError> {
        identity_in(der).ok_or_else(|| {
            WireError::Refused("the certificate is of the right authority but names no identity".into())
        })
    }
}

fn identity_in(der: &[u8]) -> Option<Identity> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    let alternatives = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = alternatives.value.general_names.as_slice() else { return None };
    let (role, id) = uri.strip_prefix("farm:")?.split_once(':')?;
    let role = Role::ALL.into_iter().find(|known| known.to_string() == role)?;
    let id = u64::from_str_radix(id, 16).ok()?;
    let identity = Identity { role, id, name: name.to_owned() };
    let exact = rest.is_empty() && names.next().is_none() && identity.uri() == *uri;
    (exact && check_name(name).is_ok()).then_some(identity)
}

/// Checks a name that a joiner chose: 1 to 64 characters, none of which moves
/// the cursor or the direction of writing, no white space around it.
///
/// # Errors
/// Says what a name may be.
pub fn check_name(name: &str) -> Result<(), WireError> {
    let count = name.chars().count();
    let plain = !name.chars().any(|c| c.is_control() || is_direction_mark(c));
    if (1..=MAX_NAME_CHARACTERS).contains(&count) && plain && name.trim() == name {
        return Ok(());
    }
    Err(WireError::Refused(format!(
        "a name has 1 to {MAX_NAME_CHARACTERS} printable characters and no space around it"
    )))
}

/// Marks that turn the direction of writing, with which a name could pretend to
/// be another.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_short() {
        for name in ["a", "render-01.studio", "Größe 7", &"ä".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", " a", "a ", "a\nb", "a\u{1b}[2J", "\u{202e}abc", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn garbage_names_nobody() {
        assert!(Identity::from_certificate(b"").is_err());
        assert!(Identity::from_certificate(&[0x30; 64]).is_err());
    }
}
