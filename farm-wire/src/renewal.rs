//! How a member of the farm keeps being one: its certificate is good for some
//! days, and when half of them are over it has the master certify a new key.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use serde_bytes::ByteBuf;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::CLOCK_SKEW;
use crate::message::{Request, Response};
use crate::{Client, Credentials, Identity, WireError};

/// When half of a certificate's life is over; at once where it does not say.
pub(crate) fn due_at(certificate: &[u8]) -> SystemTime {
    let validity = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed.validity().clone());
    let Some(validity) = validity else { return SystemTime::UNIX_EPOCH };
    let seconds =
        |time: x509_parser::time::ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let (from, until) = (seconds(validity.not_before) + CLOCK_SKEW, seconds(validity.not_after));
    SystemTime::UNIX_EPOCH + from + until.saturating_sub(from) / 2
}

impl Credentials {
    /// How long until the certificate is to be renewed, by this machine's clock.
    #[must_use]
    pub fn until_renewal(&self) -> Duration {
        due_at(self.certificate()).duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Has the master certify a new key for the same identity, over a connection of
    /// this one. Credentials that were loaded from a file or saved to one replace it.
    ///
    /// # Errors
    /// The master refuses or certifies somebody else, or the file cannot be written;
    /// then these credentials stay as good as they were.
    pub async fn renew(&self, client: &Client) -> Result<Self, WireError> {
        let unmade =
            |error: rcgen::Error| WireError::Certificate(format!("a key could not be made: {error}"));
        let key = KeyPair::generate().map_err(unmade)?;
        let request = CertificateParams::default().serialize_request(&key).map_err(unmade)?;
        let signing_request = ByteBuf::from(request.der().to_vec());
        let certificate = match client.request(&Request::RenewCertificate { signing_request }).await? {
            Response::Renewed { certificate } => certificate.into_vec(),
            Response::Refused { reason, .. } => return Err(WireError::Refused(reason)),
            other => return Err(WireError::Protocol(format!("not a certificate: {other:?}"))),
        };
        if Identity::from_certificate(&certificate)? != *self.identity() {
            return Err(WireError::Protocol("the master certified somebody else".into()));
        }
        self.replaced(certificate.into(), key.serialize_der())
    }
}
