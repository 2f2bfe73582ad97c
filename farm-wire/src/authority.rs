//! The master's certificate authority.

mod sealed;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

pub use self::sealed::Passphrase;
use self::sealed::{PLAIN, SEALED};
use crate::tls::{self, MASTER_NAME};
use crate::{Identity, WireError, secret_file};

/// The CA's file in the master's data folder: a certificate and its key, PEM.
const FILE_NAME: &str = "authority.pem";
const HEADING: &str = "Certificate authority of a Tessera farm. Whoever reads this file owns the farm.\n";

const DAY: Duration = Duration::from_hours(24);
/// Certificates hold from a day before they are made: clocks differ.
pub(crate) const CLOCK_SKEW: Duration = DAY;
const AUTHORITY_LIFE: Duration = Duration::from_hours(24 * 365 * 20);
/// The master's own certificate is made anew at each start.
const MASTER_LIFE: Duration = Duration::from_hours(24 * 365 * 5);
/// A node's or artist's, unless a studio wants it otherwise: it is renewed when half
/// of it is over, so a machine may be away for a week at the least.
pub const PEER_LIFE: Duration = Duration::from_hours(24 * 14);

/// The master's CA: a key and a self-signed certificate in the data folder,
/// mode 0600. Cheap to clone.
#[derive(Clone)]
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
    peer_life: Duration,
}

/// A certificate and its key.
pub(crate) struct Certified {
    /// The certificate, then the CA's.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
}

impl CertificateAuthority {
    /// Opens the CA in `folder`, or makes one there.
    ///
    /// # Errors
    /// Names the file that could not be read, parsed or written.
    pub fn open_or_create(folder: &Path) -> Result<Self, WireError> {
        if let Some(authority) = Self::open(folder, None)? {
            return Ok(authority);
        }
        let path = folder.join(FILE_NAME);
        let text = generate().map_err(|error| WireError::bad_file(&path, error))?;
        secret_file::write(&path, &text)?;
        Self::parse(&text, None).map_err(|problem| WireError::bad_file(&path, problem))
    }

    /// Opens the CA in `folder`, if there is one, by a passphrase where its key is
    /// encrypted.
    ///
    /// # Errors
    /// Names the file that could not be read or parsed, or says that the passphrase is
    /// wrong or missing.
    pub fn open(folder: &Path, passphrase: Option<&Passphrase>) -> Result<Option<Self>, WireError> {
        let path = folder.join(FILE_NAME);
        let Some(text) = secret_file::read(&path)? else { return Ok(None) };
        let parsed = Self::parse(&text, passphrase);
        parsed.map(Some).map_err(|problem| WireError::bad_file(&path, problem))
    }

    /// SHA-256 of the certificate of the CA in `folder`, if there is one: its key is not
    /// needed for that.
    ///
    /// # Errors
    /// Names the file that could not be read or parsed.
    pub fn fingerprint_in(folder: &Path) -> Result<Option<[u8; 32]>, WireError> {
        let sections = sealed::sections(folder)?;
        let certificate = sections.and_then(|sections| {
            sections.into_iter().find(|section| section.tag() == "CERTIFICATE").map(pem::Pem::into_contents)
        });
        Ok(certificate.map(|bytes| tls::fingerprint(&bytes.into())))
    }

    /// The same, which certifies nodes, artists and admins for this long.
    #[must_use]
    pub fn certifying_for(mut self, peer_life: Duration) -> Self {
        self.peer_life = peer_life;
        self
    }

    /// SHA-256 of the CA's certificate: what a ticket pins.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        tls::fingerprint(&self.certificate)
    }

    /// The CA's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// One that lives in memory alone.
    #[cfg(fuzzing)]
    pub(crate) fn in_memory() -> Self {
        let text = generate().expect("there is randomness");
        Self::parse(&text, None).expect("it was just made")
    }

    fn parse(text: &str, passphrase: Option<&Passphrase>) -> Result<Self, String> {
        let sections = pem::parse_many(text).map_err(|error| error.to_string())?;
        let [certificate, key] = sections.as_slice() else {
            return Err("expected a certificate and a key".into());
        };
        let key = match (certificate.tag(), key.tag(), passphrase) {
            ("CERTIFICATE", PLAIN, _) => Zeroizing::new(key.contents().to_vec()),
            ("CERTIFICATE", SEALED, Some(passphrase)) => passphrase.open(key.contents())?,
            ("CERTIFICATE", SEALED, None) => {
                return Err("its key is encrypted: its passphrase is needed".into());
            }
            _ => return Err("expected a certificate and then a key".into()),
        };
        let certificate = CertificateDer::from(certificate.contents().to_vec());
        let key = PrivatePkcs8KeyDer::from(key.as_slice());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| format!("the key cannot be used: {error}"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| format!("the certificate cannot be used: {error}"))?;
        Ok(Self { certificate, issuer: Arc::new(issuer), peer_life: PEER_LIFE })
    }

    /// A fresh certificate for the master's endpoint.
    pub(crate) fn certify_master(&self) -> Result<Certified, WireError> {
        let key = KeyPair::generate().map_err(unmade)?;
        let mut params = CertificateParams::new([MASTER_NAME.to_owned()]).map_err(unmade)?;
        params.distinguished_name.push(DnType::CommonName, MASTER_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = self.sign(params, &key, MASTER_LIFE)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Certified { chain: vec![leaf, self.certificate.clone()], key })
    }

    /// Certifies the key in a signing request. The request proves that the
    /// asker holds the key; whatever else it says is ignored.
    pub(crate) fn certify_peer(
        &self,
        request: &[u8],
        identity: &Identity,
    ) -> Result<CertificateDer<'static>, WireError> {
        let request = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(|error| WireError::Protocol(format!("the signing request is wrong: {error}")))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, identity.name.as_str());
        let uri = Ia5String::try_from(identity.uri()).map_err(unmade)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.public_key, self.peer_life)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl rcgen::PublicKeyData,
        life: Duration,
    ) -> Result<CertificateDer<'static>, WireError> {
        let now = SystemTime::now();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + life).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(key, &*self.issuer).map_err(unmade)?;
        Ok(signed.der().clone())
    }
}

fn unmade(error: rcgen::Error) -> WireError {
    WireError::Certificate(format!("a certificate could not be made: {error}"))
}

/// A new CA as the text of its file.
fn generate() -> Result<Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Tessera farm authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new([HEADING, &certificate.pem(), key.as_str()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn identity() -> Identity {
        Identity { role: Role::Node, id: 0xabc, name: "Knoten 7 ü".into() }
    }

    fn request(key: &KeyPair) -> Vec<u8> {
        let params = CertificateParams::new(["farm-master".to_owned()]).expect("a good name");
        params.serialize_request(key).expect("serialisable").der().to_vec()
    }

    #[test]
    fn a_reopened_authority_is_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = CertificateAuthority::open_or_create(folder.path()).expect("made");
        let second = CertificateAuthority::open_or_create(folder.path()).expect("opened");
        assert_eq!(first.fingerprint(), second.fingerprint());
        let other = tempfile::tempdir().expect("a temporary folder");
        let other = CertificateAuthority::open_or_create(other.path()).expect("made");
        assert_ne!(first.fingerprint(), other.fingerprint());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_authoritys_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        CertificateAuthority::open_or_create(folder.path()).expect("made");
        let metadata = std::fs::metadata(folder.path().join(FILE_NAME)).expect("present");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_and_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "nonsense").expect("writable");
        let error = CertificateAuthority::open_or_create(folder.path()).err().expect("refused").to_string();
        assert!(error.contains(FILE_NAME), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "nonsense");
    }

    #[test]
    fn a_certificate_says_who_the_peer_is_whatever_the_request_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::open_or_create(folder.path()).expect("made");
        let key = KeyPair::generate().expect("generated");
        let certificate = authority.certify_peer(&request(&key), &identity()).expect("certified");
        assert_eq!(Identity::from_certificate(&certificate).expect("ours"), identity());
    }

    #[test]
    fn the_masters_certificate_names_no_peer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::open_or_create(folder.path()).expect("made");
        let master = authority.certify_master().expect("certified");
        assert!(Identity::from_certificate(&master.chain[0]).is_err());
        assert!(Identity::from_certificate(&master.chain[1]).is_err());
    }

    #[test]
    fn a_request_whose_signature_is_broken_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::open_or_create(folder.path()).expect("made");
        let mut request = request(&KeyPair::generate().expect("generated"));
        *request.last_mut().expect("not empty") ^= 1;
        assert!(authority.certify_peer(&request, &identity()).is_err());
        assert!(authority.certify_peer(b"", &identity()).is_err());
    }
}
