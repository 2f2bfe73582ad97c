//! The connection to the master, made again whenever it is lost.
//!
//! One task connects, opens the control stream and reads it; it tells the
//! driver in order: opened, received…, closed. The driver answers `Opened` by
//! putting `Hello` into the link's outgoing messages, so that what it says it
//! holds cannot change between the saying and the sending.

use std::time::Duration;

use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{FromNode, ToNode};
use farm_wire::{Client, Credentials, WireError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limits::NodeLimits;

/// Messages that are written together, or taken together: some 100 bytes each, so
/// 25 KB.
pub(crate) const MESSAGES_AT_ONCE: usize = 256;

/// Longest time for which nobody looks whether the certificate is to be renewed.
const LONGEST_LOOK_AWAY: Duration = Duration::from_secs(3600);

/// An open connection with its control stream.
pub(crate) struct Link {
    /// For tiles and blobs.
    pub(crate) client: Client,
    outgoing: mpsc::Sender<FromNode>,
    writer: JoinHandle<()>,
}

impl Link {
    /// Queues a message. `false` when the master has left too many unread or
    /// the stream has failed: then the link is of no use any more.
    pub(crate) fn send(&self, message: FromNode) -> bool {
        self.outgoing.try_send(message).is_ok()
    }

    /// Whether less urgent messages, such as progress, had better be dropped.
    pub(crate) fn is_crowded(&self) -> bool {
        self.outgoing.capacity() < self.outgoing.max_capacity() / 2
    }

    /// Lets the master read what was queued, then closes the connection.
    pub(crate) async fn close(self, within: Duration) {
        let Self { client, outgoing, writer } = self;
        drop(outgoing);
        if timeout(within, writer).await.is_err() {
            tracing::debug!("the master did not read the last messages in time");
        }
        client.close().await;
    }
}

/// What happens to the connection.
pub(crate) enum LinkEvent {
    /// It is up; say `Hello`.
    Opened(Link),
    /// The master said something.
    Received(ToNode),
    /// It is down; another one will be made.
    Closed,
    /// The master has refused this node too often; no other one will be made.
    Refused(String),
}

/// Keeps a connection for as long as anybody listens to `events`.
pub(crate) async fn keep(mut credentials: Credentials, limits: NodeLimits, events: mpsc::Sender<LinkEvent>) {
    let jitter = credentials.identity().id;
    let (mut attempt, mut refusals) = (0, 0);
    loop {
        let mut welcomed = false;
        let served = serve(&mut credentials, &limits, &events, &mut welcomed).await;
        let Err(error) = served else {
            return;
        };
        if welcomed {
            (attempt, refusals) = (0, 0);
        }
        if let WireError::Refused(reason) = &error {
            refusals += 1;
            if refusals >= limits.refusals {
                // A driver that is gone needs no reason.
                let _ = events.send(LinkEvent::Refused(reason.clone())).await;
                return;
            }
        }
        let pause = reconnect_pause(&limits, attempt, jitter);
        tracing::warn!("{error}; connecting again in {:.1} s", pause.as_secs_f64());
        attempt += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = events.closed() => return,
        }
    }
}

/// One connection, from beginning to end; `Ok` when the driver is gone.
async fn serve(
    credentials: &mut Credentials,
    limits: &NodeLimits,
    events: &mpsc::Sender<LinkEvent>,
    welcomed: &mut bool,
) -> Result<(), WireError> {
    let (client, outgoing, incoming) = connect(credentials, limits).await?;
    let (sender, queue) = mpsc::channel(limits.outgoing_messages);
    let writer = tokio::spawn(write_all(outgoing, queue));
    let link = Link { client: client.clone(), outgoing: sender, writer };
    if events.send(LinkEvent::Opened(link)).await.is_err() {
        return Ok(());
    }
    let outcome = tokio::select! {
        outcome = read_all(incoming, limits, events, welcomed) => outcome,
        () = renew(credentials, &client, limits.renewal_pause) => unreachable!("it goes on for ever"),
        () = events.closed() => Ok(()),
    };
    let Err(error) = outcome else {
        return Ok(());
    };
    if events.send(LinkEvent::Closed).await.is_err() {
        return Ok(());
    }
    // The peer may still believe in the connection, for instance where it
    // broke the protocol.
    client.close().await;
    Err(error)
}

/// Renews the certificate whenever half of its life is over, for ever. Connections
/// outlive their certificates; the next one needs the latest.
async fn renew(credentials: &mut Credentials, client: &Client, pause: Duration) {
    loop {
        // Not for longer: the machine may have slept meanwhile, or its clock been set.
        tokio::time::sleep(credentials.until_renewal().clamp(pause, LONGEST_LOOK_AWAY)).await;
        if !credentials.until_renewal().is_zero() {
            continue;
        }
        match credentials.renew(client).await {
            Ok(renewed) => {
                tracing::info!("the certificate was renewed");
                *credentials = renewed;
            }
            Err(error) => tracing::warn!("the certificate could not be renewed: {error}; trying again"),
        }
    }
}

async fn connect(
    credentials: &Credentials,
    limits: &NodeLimits,
) -> Result<(Client, SendStream, RecvStream), WireError> {
    let connecting = async {
        let client = Client::connect(credentials).await?;
        let (outgoing, incoming) = client.open_stream().await?;
        Ok((client, outgoing, incoming))
    };
    let late = |_| WireError::Lost(format!("no connection within {:?}", limits.greeting_timeout));
    timeout(limits.greeting_timeout, connecting).await.map_err(late)?
}

/// Reads the control stream into `events` until either ends; `Ok` when the
/// driver is gone.
async fn read_all(
    mut incoming: RecvStream,
    limits: &NodeLimits,
    events: &mpsc::Sender<LinkEvent>,
    welcomed: &mut bool,
) -> Result<(), WireError> {
    let ended = || WireError::Lost("the master ended the control stream".into());
    let greeting = timeout(limits.greeting_timeout, incoming.receive::<ToNode>()).await;
    let late = |_| WireError::Lost(format!("no welcome within {:?}", limits.greeting_timeout));
    let first = greeting.map_err(late)??.ok_or_else(ended)?;
    if !matches!(first, ToNode::Welcome { .. }) {
        return Err(WireError::Protocol("the master's first message is not a welcome".into()));
    }
    *welcomed = true;
    let mut message = first;
    loop {
        if events.send(LinkEvent::Received(message)).await.is_err() {
            return Ok(());
        }
        message = incoming.receive().await?.ok_or_else(ended)?;
    }
}

/// Writes queued messages until the queue is closed. An error here ends the
/// connection, and the reader notices that.
async fn write_all(mut stream: SendStream, mut queue: mpsc::Receiver<FromNode>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, MESSAGES_AT_ONCE).await > 0 {
        if let Err(error) = stream.send_all(&mut batch).await {
            tracing::debug!("the control stream cannot be written: {error}");
            return;
        }
    }
    if let Err(error) = stream.finish().await {
        tracing::debug!("the control stream was not read to its end: {error}");
    }
}

/// The pause before attempt number `attempt + 1`: doubling from the minimum to
/// the maximum, then between half and all of that, as the node's identity has
/// it, so that the nodes of a farm do not all come back in one moment.
fn reconnect_pause(limits: &NodeLimits, attempt: u32, identity: u64) -> Duration {
    let doubled = limits.reconnect_min.saturating_mul(1 << attempt.min(16));
    let longest = doubled.min(limits.reconnect_max);
    let share = mix(identity ^ u64::from(attempt)) % 1024;
    let share = u32::try_from(share).expect("the remainder is below 1024");
    longest / 2 + longest / 2 * share / 1024
}

/// Spreads the bits of a number (the finaliser of SplitMix64: Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_pauses_grow_to_their_limit_and_stay_there() {
        let limits = NodeLimits::default();
        for attempt in 0..100 {
            let pause = reconnect_pause(&limits, attempt, 7);
            let longest = limits.reconnect_max.min(limits.reconnect_min * (1 << attempt.min(16)));
            assert!(pause >= longest / 2 && pause <= longest, "attempt {attempt}: {pause:?}");
        }
    }

    #[test]
    fn nodes_come_back_at_different_moments() {
        let limits = NodeLimits::default();
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|identity| reconnect_pause(&limits, 5, identity)).collect();
        assert!(pauses.len() > 80, "only {} of 100 nodes differ", pauses.len());
    }
}
