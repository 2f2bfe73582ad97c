//! A thousand peers that mean ill: some say nothing, some half of something, some
//! rubbish, and some try to join with a secret that they do not know.

use std::sync::Arc;
use std::time::Duration;

use farm_wire::message::Response;
use farm_wire::{Client, Credentials, Ticket, WireError};
use tokio::task::JoinSet;

use super::Failed;

/// Hostile peers of each kind.
const OF_EACH_KIND: usize = 250;

/// Streams that one of them opens at once: as many as the master answers.
const STREAMS: usize = 32;

/// Pause of a peer between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The besiegers; they go when this is dropped.
pub(super) struct Siege {
    _besiegers: JoinSet<()>,
}

impl Siege {
    /// Joins as an artist with a good ticket, which is what they all have, and begins.
    pub(super) async fn begin(ticket: &str) -> Result<Self, Failed> {
        let ticket: Ticket = ticket.parse()?;
        let credentials = Arc::new(Credentials::join(&ticket, "besieger").await?);
        let mut besiegers = JoinSet::new();
        for number in 0..OF_EACH_KIND {
            // Not all in one moment: the machine is theirs too.
            let start = PAUSE * u32::try_from(number).unwrap_or(0) / 100;
            for kind in [Kind::Silent, Kind::Slow, Kind::Noisy] {
                besiegers.spawn(again_and_again(start, kind, Arc::clone(&credentials)));
            }
            besiegers.spawn(guess(start, Ticket { secret: [7; 32], ..ticket.clone() }));
        }
        Ok(Self { _besiegers: besiegers })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// Is connected, and that is all.
    Silent,
    /// Has as many streams open as it may, with half of a message in each.
    Slow,
    /// Sends what is no message.
    Noisy,
}

async fn again_and_again(start: Duration, kind: Kind, credentials: Arc<Credentials>) {
    tokio::time::sleep(start).await;
    loop {
        if let Ok(client) = Client::connect(&credentials).await {
            // However it ends, it begins again.
            let _ = harass(&client, kind).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn harass(client: &Client, kind: Kind) -> Result<(), WireError> {
    match kind {
        Kind::Silent => {
            client.closed().await;
        }
        Kind::Slow => {
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                let (mut send, receive) = client.open_stream().await?;
                send.send_bytes(&[0, 0]).await?;
                streams.push((send, receive));
            }
            client.closed().await;
        }
        Kind::Noisy => {
            for round in 0_u8.. {
                let (mut send, mut receive) = client.open_stream().await?;
                send.send_bytes(&[0, 0, 0, 64]).await?;
                send.send_bytes(&[round ^ 0xc1; 64]).await?;
                send.finish().await?;
                let _ = receive.receive::<Response>().await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn guess(start: Duration, ticket: Ticket) {
    tokio::time::sleep(start).await;
    loop {
        let _ = Credentials::join(&ticket, "guess").await;
        tokio::time::sleep(PAUSE).await;
    }
}
