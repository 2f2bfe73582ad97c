//! How one becomes a member of a farm (`farm-join/1`), and the master's
//! greeting of a member (`farm/1`).
//!
//! A joiner opens one bidirectional stream, sends a [`JoinRequest`] and reads a
//! [`JoinResponse`]. A member waits for a [`Greeting`] on the one
//! unidirectional stream that the master opens: in TLS 1.3 a client's handshake
//! is over before the master has judged its certificate, so only this tells a
//! member that it is in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::authority::CertificateAuthority;
use crate::codec::JOIN_LIMIT;
use crate::identity::check_name;
use crate::server::TicketBook;
use crate::stream::{RecvStream, SendStream};
use crate::{Identity, Role, WireError};

/// Asks for a certificate.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    /// The ticket's number.
    pub(crate) ticket: u64,
    /// Its secret.
    pub(crate) secret: ByteArray<32>,
    /// What the joiner wants to be.
    pub(crate) role: Role,
    /// Its name, for people.
    pub(crate) name: String,
    /// PKCS #10, DER: the key to certify and the proof of holding it.
    pub(crate) signing_request: ByteBuf,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JoinResponse {
    /// Welcome.
    Joined {
        /// X.509, DER.
        certificate: ByteBuf,
    },
    /// No.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// Tells a member that it is in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Version of the master's software.
    pub(crate) version: String,
}

/// The master's half of a join. Returns who joined.
pub(crate) async fn serve_join(
    connection: &quinn::Connection,
    authority: Arc<CertificateAuthority>,
    book: Arc<dyn TicketBook>,
) -> Result<Identity, WireError> {
    let (send, recv) = connection.accept_bi().await.map_err(WireError::from_connection)?;
    let (mut send, mut recv) = (SendStream::control(send, JOIN_LIMIT), RecvStream::new(recv, JOIN_LIMIT));
    let request = recv.receive::<JoinRequest>().await?;
    let request = request.ok_or_else(|| WireError::Protocol("a join without a request".into()))?;
    // The book may wait for a disk and the signature takes a while.
    let judged = tokio::task::spawn_blocking(move || judge(request, &authority, &*book)).await;
    let judged = judged.map_err(|error| WireError::Lost(format!("a join failed: {error}")))?;
    let (response, outcome) = match judged {
        Ok((identity, certificate)) => (JoinResponse::Joined { certificate }, Ok(identity)),
        Err(reason) => (JoinResponse::Refused { reason: reason.clone() }, Err(WireError::Refused(reason))),
    };
    send.send(&response).await?;
    send.finish().await?;
    outcome
}

/// Whether the joiner may; the secret is looked at before anything else of the
/// request is believed.
fn judge(
    request: JoinRequest,
    authority: &CertificateAuthority,
    book: &dyn TicketBook,
) -> Result<(Identity, ByteBuf), String> {
    book.redeem(request.ticket, &request.secret, request.role)?;
    check_name(&request.name).map_err(|error| error.to_string())?;
    let id = getrandom::u64().map_err(|error| format!("the master has no random numbers: {error}"))?;
    let identity = Identity { role: request.role, id, name: request.name };
    let certificate =
        authority.certify_peer(&request.signing_request, &identity).map_err(|error| error.to_string())?;
    book.joined(&identity)?;
    Ok((identity, ByteBuf::from(certificate.to_vec())))
}
