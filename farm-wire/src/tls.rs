//! TLS 1.3 for both protocols on the one port.
//!
//! `farm/1` is mutual: the master's certificate is checked against the CA that
//! the peer joined, the peer's against the same CA. `farm-join/1` has no client
//! certificate; the joiner trusts the CA whose fingerprint its ticket holds.
//! As a server cannot demand a certificate by protocol, it takes them as
//! optional and the endpoint closes a `farm/1` connection without one.
//! Sessions are never resumed, so every connection is judged by a certificate
//! that was checked just now.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::WireError;
use crate::authority::{CertificateAuthority, Certified};

/// The protocol between a farm's members.
pub(crate) const FARM: &[u8] = b"farm/1";
/// The protocol by which one becomes a member.
pub(crate) const JOIN: &[u8] = b"farm-join/1";
/// The name in every master's certificate: a master is known by its CA and not
/// by its address, which may change.
pub(crate) const MASTER_NAME: &str = "farm-master";

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Always this provider, never a process's default: another library in the
/// process may have installed another.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn unusable(error: impl std::fmt::Display) -> WireError {
    WireError::Certificate(format!("the certificates cannot be used: {error}"))
}

fn trust(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// The master's side of both protocols.
pub(crate) fn server(authority: &CertificateAuthority) -> Result<quinn::ServerConfig, WireError> {
    let Certified { chain, key } = authority.certify_master()?;
    let roots = trust(authority.certificate()).map_err(unusable)?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(unusable)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key.into())
        .map_err(unusable)?;
    config.alpn_protocols = vec![FARM.to_vec(), JOIN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let config = QuicServerConfig::try_from(config).map_err(unusable)?;
    Ok(quinn::ServerConfig::with_crypto(Arc::new(config)))
}

/// A member's side of a protocol, [`FARM`].
pub(crate) fn member(
    authority: &CertificateDer<'static>,
    certificate: &CertificateDer<'static>,
    key: &[u8],
    protocol: &[u8],
) -> Result<quinn::ClientConfig, WireError> {
    let key = PrivatePkcs8KeyDer::from(key.to_vec());
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(trust(authority).map_err(unusable)?)
        .with_client_auth_cert(vec![certificate.clone()], key.into())
        .map_err(unusable)?;
    client(config, protocol)
}

/// A joiner's side of `farm-join/1`.
pub(crate) fn joiner(ca_fingerprint: [u8; 32]) -> Result<quinn::ClientConfig, WireError> {
    let verifier = PinnedAuthority { ca_fingerprint, provider: provider() };
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client(config, JOIN)
}

fn client(mut config: rustls::ClientConfig, protocol: &[u8]) -> Result<quinn::ClientConfig, WireError> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    let config = QuicClientConfig::try_from(config).map_err(unusable)?;
    Ok(quinn::ClientConfig::new(Arc::new(config)))
}

/// The certificates that a connection's peer showed, its own first.
pub(crate) fn peer_chain(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity().and_then(|any| any.downcast().ok());
    identity.map(|chain| *chain).unwrap_or_default()
}

/// The protocol that both sides agreed on.
pub(crate) fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let shaken = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    shaken.protocol
}

/// The certificate of the pinned CA among those that a peer showed.
pub(crate) fn pinned<'a, 'b>(
    chain: &'a [CertificateDer<'b>],
    ca_fingerprint: &[u8; 32],
) -> Option<&'a CertificateDer<'b>> {
    chain.iter().find(|certificate| fingerprint(certificate) == *ca_fingerprint)
}

/// Trusts the one CA whose certificate has this fingerprint, and through it a
/// master, by the usual rules (name, dates, purpose, signature).
#[derive(Debug)]
struct PinnedAuthority {
    ca_fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = pinned(intermediates, &self.ca_fingerprint)
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let roots = trust(&authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
