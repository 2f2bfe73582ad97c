//! The door: takes authenticated peers in and sees to each as what it is.

use std::sync::Arc;
use std::time::Duration;

use farm_core::OwnerId;
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{Request, Response};
use farm_wire::{Identity, Peer, Role, Server, WireError};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::audit::{self, Action, Actor};
use crate::driver::Refusal;
use crate::farm::Farm;
use crate::rights::Person;
use crate::tickets::REVOKED;
use crate::{artists, nodes};

/// How long a peer may take over one step of a conversation.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves peers until the endpoint is closed.
pub(crate) async fn serve(farm: Arc<Farm>, server: Arc<Server>) {
    let mut peers = JoinSet::new();
    while let Some(peer) = server.accept().await {
        while peers.try_join_next().is_some() {}
        if peers.len() >= farm.bounds.peers {
            tracing::warn!(peer = peer.identity().name, "refused: the master is full");
            peer.close("the master has as many peers as it takes; try again later");
            continue;
        }
        peers.spawn(serve_peer(Arc::clone(&farm), peer));
    }
}

async fn serve_peer(farm: Arc<Farm>, peer: Peer) {
    let name = peer.identity().name.clone();
    let person = |is_admin| Asker::Person(Person { owner: OwnerId(peer.identity().id), is_admin });
    let serving = async {
        match peer.identity().role {
            Role::Node => nodes::serve(&farm, &peer).await,
            Role::Artist => serve_requests(&farm, &peer, person(false)).await,
            Role::Admin => serve_requests(&farm, &peer, person(true)).await,
        }
    };
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = farm.revocations.revoked(peer.identity()) => {
            tracing::warn!(identity = %peer.identity(), "revoked, so its connection is closed");
            peer.refuse(REVOKED);
            // It ends with the connection, and takes back what a node held.
            serving.await
        }
    };
    match outcome {
        Err(error @ WireError::Protocol(_)) => {
            tracing::warn!(peer = name, %error, "closing the connection");
            peer.close(&error.to_string());
        }
        Err(error) => {
            tracing::debug!(peer = name, %error, "the connection ended");
            peer.close(&error.to_string());
        }
        Ok(()) => {
            tracing::debug!(peer = name, "the peer left");
            peer.close("goodbye");
        }
    }
}

/// Who asks: it decides what is answered.
#[derive(Clone)]
pub(crate) enum Asker {
    /// An artist or an admin may ask what its rights are.
    Person(Person),
    /// A node may fetch the blobs of the jobs that were described to it.
    Node(Arc<nodes::Described>),
}

/// Answers one request on each stream that the peer opens, a bounded number at
/// once. Returns when the connection ends.
pub(crate) async fn serve_requests(farm: &Arc<Farm>, peer: &Peer, asker: Asker) -> Result<(), WireError> {
    let places = Arc::new(Semaphore::new(farm.bounds.requests_per_peer));
    let mut requests = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (send, receive) = peer.accept_stream().await?;
        while requests.try_join_next().is_some() {}
        let (farm, peer, asker) = (Arc::clone(farm), peer.clone(), asker.clone());
        requests.spawn(async move {
            let _place = place;
            if let Err(error) = answer(&farm, &peer, &asker, send, receive).await {
                tracing::debug!(%error, "a request was not answered to its end");
            }
        });
    }
}

async fn answer(
    farm: &Farm,
    peer: &Peer,
    asker: &Asker,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), WireError> {
    let Some(request) = receive_step::<Request>(&mut receive).await? else { return Ok(()) };
    let what = Action::of(&request);
    let outcome = match (asker, request) {
        (_, Request::RenewCertificate { signing_request }) => {
            match peer.certify(signing_request.into_vec()).await {
                Ok(certificate) => {
                    tracing::info!(identity = %peer.identity(), "certified another key");
                    let certificate = certificate.into();
                    send.send(&Response::Renewed { certificate }).await?;
                    Ok(())
                }
                Err(error) => Err(Refusal::new(error.to_string())),
            }
        }
        (Asker::Node(described), Request::FetchBlob { digest, offset }) => match described.names(digest) {
            true => artists::fetch_blob(farm, &mut send, digest, offset).await?,
            false => Err(Refusal::new(format!("no job of this node has the blob {digest}"))),
        },
        (Asker::Node(_), _) => Err(Refusal::new("nodes may only fetch blobs")),
        (Asker::Person(person), request) => {
            artists::answer(farm, *person, request, &mut send, &mut receive).await?
        }
    };
    if let Some(what) = what {
        let seen = outcome.as_ref().map_err(|refusal| refusal.reason.clone());
        farm.audit.record(actor(peer), what, audit::Outcome::from(&seen)).await;
    }
    if let Err(Refusal { reason, hint }) = outcome {
        send.send(&Response::Refused { reason, hint }).await?;
    }
    send.finish().await
}

/// A peer, as the audit log has it.
fn actor(peer: &Peer) -> Actor {
    let Identity { role, id, name } = peer.identity().clone();
    Actor::Member { role, id: format!("{id:016x}"), name, address: Some(peer.address().to_string()) }
}

/// Receives a message, within the time that one step may take.
pub(crate) async fn receive_step<T: DeserializeOwned>(
    receive: &mut RecvStream,
) -> Result<Option<T>, WireError> {
    within(receive.receive()).await
}

/// Bounds one step of a conversation in time.
pub(crate) async fn within<T>(step: impl Future<Output = Result<T, WireError>>) -> Result<T, WireError> {
    let late = |_| WireError::Protocol(format!("nothing came for {} s", STEP_TIMEOUT.as_secs()));
    tokio::time::timeout(STEP_TIMEOUT, step).await.map_err(late)?
}
