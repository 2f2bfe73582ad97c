//! The authority's key under a passphrase, in the form that other tools read too:
//! an encrypted PKCS #8 key (RFC 5958) by PBES2 (RFC 8018).

use std::fmt;
use std::path::Path;

use pem::Pem;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::{FILE_NAME, HEADING};
use crate::{CertificateAuthority, WireError, secret_file};

pub(super) const PLAIN: &str = "PRIVATE KEY";
pub(super) const SEALED: &str = "ENCRYPTED PRIVATE KEY";

/// Shortest passphrase, in characters. Whoever has the file tries as many as he has
/// time for.
const SHORTEST: usize = 12;

/// What an authority's key is encrypted with. Never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}

impl Passphrase {
    /// A passphrase as it was typed or read; the end of its line is not part of it.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// A key, decrypted.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed)
            .map_err(|error| format!("its encrypted key cannot be read: {error}"))?;
        let plain = sealed.decrypt(self.0.as_bytes()).map_err(|_| "the passphrase is not the right one")?;
        Ok(Zeroizing::new(plain.as_bytes().to_vec()))
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, String> {
        if self.0.chars().count() < SHORTEST {
            return Err(format!("a passphrase must have {SHORTEST} characters or more"));
        }
        let key =
            PrivateKeyInfoRef::try_from(plain).map_err(|error| format!("its key cannot be read: {error}"))?;
        let sealed = key.encrypt(self.0.as_bytes());
        Ok(sealed.map_err(|error| format!("its key cannot be encrypted: {error}"))?.as_bytes().to_vec())
    }
}

impl CertificateAuthority {
    /// Whether the key in a folder is encrypted; not, where there is none.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn is_encrypted(folder: &Path) -> Result<bool, WireError> {
        Ok(sections(folder)?.is_some_and(|sections| sections.iter().any(|section| section.tag() == SEALED)))
    }

    /// Encrypts the key in a folder, from the next start of the master on.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it or with the passphrase.
    pub fn encrypt(folder: &Path, passphrase: &Passphrase) -> Result<(), WireError> {
        replace_key(folder, PLAIN, SEALED, |key| passphrase.seal(key).map(Zeroizing::new))
    }

    /// Takes the encryption off again.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it or with the passphrase.
    pub fn decrypt(folder: &Path, passphrase: &Passphrase) -> Result<(), WireError> {
        replace_key(folder, SEALED, PLAIN, |key| passphrase.open(key))
    }
}

/// The sections of the file in a folder, if it is there.
pub(super) fn sections(folder: &Path) -> Result<Option<Vec<Pem>>, WireError> {
    let path = folder.join(FILE_NAME);
    let Some(text) = secret_file::read(&path)? else { return Ok(None) };
    pem::parse_many(text.as_bytes()).map(Some).map_err(|error| WireError::bad_file(&path, error.to_string()))
}

fn replace_key(
    folder: &Path,
    from: &str,
    to: &str,
    change: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, String>,
) -> Result<(), WireError> {
    let path = folder.join(FILE_NAME);
    let bad = |problem: String| WireError::bad_file(&path, problem);
    let sections =
        sections(folder)?.ok_or_else(|| bad("there is no authority yet: start the master once".into()))?;
    let [certificate, key] = sections.as_slice() else {
        return Err(bad("expected a certificate and a key".into()));
    };
    if key.tag() != from {
        let state = if from == PLAIN { "is encrypted already" } else { "is not encrypted" };
        return Err(bad(format!("its key {state}")));
    }
    let changed = change(key.contents()).map_err(bad)?;
    let pem = |tag: &str, bytes: &[u8]| Zeroizing::new(pem::encode(&Pem::new(tag, bytes)));
    let (certificate, key) = (pem("CERTIFICATE", certificate.contents()), pem(to, &changed));
    let text = Zeroizing::new([HEADING, certificate.as_str(), key.as_str()].concat());
    secret_file::write(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn encrypted_authority_is_the_same_and_opens_by_its_passphrase_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let fingerprint = CertificateAuthority::open_or_create(folder).expect("made").fingerprint();
        let plain = sections(folder).expect("readable").expect("present")[1].contents().to_vec();
        assert!(!CertificateAuthority::is_encrypted(folder).expect("readable"));
        let right = passphrase("correct horse battery\n");
        CertificateAuthority::encrypt(folder, &right).expect("encrypted");
        assert!(CertificateAuthority::is_encrypted(folder).expect("readable"));
        let file = std::fs::read(folder.join(FILE_NAME)).expect("present");
        let sealed = sections(folder).expect("readable").expect("present")[1].contents().to_vec();
        for bytes in [&file, &sealed] {
            assert!(!bytes.windows(16).any(|window| plain.windows(16).any(|part| part == window)));
        }
        let opened = CertificateAuthority::open(folder, Some(&passphrase("correct horse battery")));
        let opened = opened.expect("opened").expect("present");
        assert_eq!(opened.fingerprint(), fingerprint);
        assert!(opened.certify_master().is_ok(), "it still signs");
        let problems = [
            (
                CertificateAuthority::open(folder, Some(&passphrase("another passphrase"))),
                "not the right one",
            ),
            (CertificateAuthority::open(folder, None), "passphrase"),
            (CertificateAuthority::open_or_create(folder).map(Some), "passphrase"),
        ];
        for (outcome, part) in problems {
            let error = outcome.err().expect("it does not open").to_string();
            assert!(error.contains(part) && error.contains(FILE_NAME), "{error}");
        }
        assert_eq!(CertificateAuthority::fingerprint_in(folder).expect("readable"), Some(fingerprint));
        CertificateAuthority::decrypt(folder, &right).expect("decrypted");
        assert_eq!(CertificateAuthority::open_or_create(folder).expect("opened").fingerprint(), fingerprint);
    }

    #[test]
    fn what_cannot_be_done_is_said_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let long = passphrase("long enough to be one");
        let none = CertificateAuthority::encrypt(folder, &long).expect_err("there is none").to_string();
        assert!(none.contains("start the master once"), "{none}");
        CertificateAuthority::open_or_create(folder).expect("made");
        let before = std::fs::read(folder.join(FILE_NAME)).expect("present");
        let short =
            CertificateAuthority::encrypt(folder, &passphrase("short")).expect_err("refused").to_string();
        assert!(short.contains("12 characters"), "{short}");
        let plain = CertificateAuthority::decrypt(folder, &long).expect_err("refused").to_string();
        assert!(plain.contains("not encrypted"), "{plain}");
        assert_eq!(std::fs::read(folder.join(FILE_NAME)).expect("present"), before);
        assert!(!format!("{long:?}").contains("long"));
    }
}
