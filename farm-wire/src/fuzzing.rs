//! What a stranger's bytes reach before it is known, as the fuzz targets call it.

use std::sync::LazyLock;

use crate::admission::JoinRequest;
use crate::codec::{self, JOIN_LIMIT};
use crate::identity::check_name;
use crate::{CertificateAuthority, Identity, Role};

static AUTHORITY: LazyLock<CertificateAuthority> = LazyLock::new(CertificateAuthority::in_memory);

/// Reads a request to join, and answers it as if its ticket were good.
///
/// # Panics
/// When a certificate does not say who the joiner is.
pub fn join(bytes: &[u8]) {
    let Ok(request) = codec::decode::<JoinRequest>(bytes, JOIN_LIMIT) else { return };
    if check_name(&request.name).is_ok() {
        certify_as(&request.signing_request, &Identity { role: request.role, id: 7, name: request.name });
    }
}

/// Answers a signing request.
///
/// # Panics
/// When a certificate does not say who the joiner is.
pub fn certify(signing_request: &[u8]) {
    certify_as(signing_request, &Identity { role: Role::Node, id: 7, name: "joiner".into() });
}

fn certify_as(signing_request: &[u8], identity: &Identity) {
    if let Ok(certificate) = AUTHORITY.certify_peer(signing_request, identity) {
        let named = Identity::from_certificate(&certificate).expect("it is the authority's");
        assert!(named == *identity, "the request had a say in who the joiner is");
    }
}
