//! Tiles on their way in: received in bounded memory, checked against what the
//! job's spec says, stored, and only then reported.

use std::sync::Arc;
use std::time::Duration;

use farm_core::scheduler::Command;
use farm_core::{BlobDigest, NodeId};
use farm_wire::client::RecvStream;
use farm_wire::message::TileHeader;
use farm_wire::tile::decode_tile;
use farm_wire::{Peer, WireError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::expectation::Expectation;
use crate::farm::Farm;
use crate::nodes::Described;
use crate::peers;

/// Pause before a tile is stored again after the disk refused it. The node
/// keeps its tile meanwhile and sends no more than its places allow.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Bytes received at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Takes tiles in until the connection ends.
pub(crate) async fn take_in(
    farm: &Arc<Farm>,
    peer: &Peer,
    node: NodeId,
    described: &Arc<Described>,
) -> Result<(), WireError> {
    let places = Arc::new(Semaphore::new(farm.bounds.tiles_per_node));
    let mut tiles = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(peer, &places) => {
                let (stream, place) = stream?;
                let (farm, described) = (Arc::clone(farm), Arc::clone(described));
                tiles.spawn(async move {
                    let _place = place;
                    take_tile(&farm, node, &described, stream).await
                });
            }
            Some(outcome) = tiles.join_next() => match outcome {
                Ok(outcome) => outcome?,
                Err(error) => tracing::error!(%node, %error, "taking a tile in broke off"),
            },
        }
    }
}

async fn accept(
    peer: &Peer,
    places: &Arc<Semaphore>,
) -> Result<(RecvStream, tokio::sync::OwnedSemaphorePermit), WireError> {
    let place = Arc::clone(places).acquire_owned().await;
    let stream = peer.accept_tile().await?;
    Ok((stream, place.expect("the semaphore is never closed")))
}

/// Takes one tile in. A tile that is not right is reported; an error means that
/// the stream is not of the protocol or is lost, and ends the connection.
async fn take_tile(
    farm: &Farm,
    node: NodeId,
    described: &Described,
    mut stream: RecvStream,
) -> Result<(), WireError> {
    let Some(header) = peers::receive_step::<TileHeader>(&mut stream).await? else {
        return Err(WireError::Protocol("a tile's stream without a header".into()));
    };
    let lease = header.lease;
    let command = match check(farm, node, described, &header, &mut stream).await? {
        Ok(()) => Command::ReportTile {
            node,
            lease,
            tile: header.tile,
            blob: header.digest,
            rays: header.rays,
            render_us: header.render_us,
        },
        Err(reason) => {
            tracing::warn!(%node, %lease, reason, "a tile was rejected");
            Command::RejectTile { node, lease, reason }
        }
    };
    farm.driver.tell(command).await;
    Ok(())
}

/// Receives, checks and stores a tile; `Ok(Err(reason))` when it is not right.
async fn check(
    farm: &Farm,
    node: NodeId,
    described: &Described,
    header: &TileHeader,
    stream: &mut RecvStream,
) -> Result<Result<(), String>, WireError> {
    let tile = header.tile;
    let Some(spec) = described.spec(tile.job) else {
        return Ok(Err(format!("this node has no lease of job {}", tile.job)));
    };
    let expected = match Expectation::new(&spec, tile, node) {
        Ok(expected) => expected,
        Err(reason) => return Ok(Err(reason)),
    };
    let most = expected.most_bytes();
    if header.length > most {
        return Ok(Err(format!("it has {} bytes, at most {most} are possible", header.length)));
    }
    let _memory = farm.reserve(header.length).await;
    let Some(bytes) = receive_all(stream, header.length).await? else {
        return Ok(Err(format!("its stream does not hold the {} bytes announced", header.length)));
    };
    let bytes = Arc::new(bytes);
    let place = farm.decoders.acquire().await;
    let (judged, digest) = (Arc::clone(&bytes), header.digest);
    let judging = tokio::task::spawn_blocking(move || judge(digest, &judged, &expected));
    let verdict = judging.await.unwrap_or_else(|error| Err(format!("checking broke off: {error}")));
    drop(place);
    match verdict {
        Ok(()) => Ok(store(farm, digest, bytes).await),
        Err(reason) => Ok(Err(reason)),
    }
}

/// Exactly `length` bytes to the stream's end; `None` when there are fewer or
/// more.
async fn receive_all(stream: &mut RecvStream, length: u64) -> Result<Option<Vec<u8>>, WireError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let mut filled = 0;
    loop {
        // One byte more than announced shows a stream that goes on.
        bytes.resize((filled + CHUNK_BYTES).min(length + 1), 0);
        let count = peers::within(stream.receive_bytes(&mut bytes[filled..])).await?;
        filled += count;
        if count == 0 || filled > length {
            bytes.truncate(filled);
            return Ok((filled == length).then_some(bytes));
        }
    }
}

/// Whether a tile is what its job's spec asks for.
fn judge(digest: BlobDigest, bytes: &[u8], expected: &Expectation) -> Result<(), String> {
    if blake3::hash(bytes).as_bytes() != &digest.0 {
        return Err("its bytes are not those of its digest".to_owned());
    }
    decode_tile(bytes, &expected.attributes, &expected.task, expected.tile_size)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Stores a tile. While the disk refuses, the tile waits: nothing is told of it
/// until it is on the disk, and its node keeps it.
async fn store(farm: &Farm, digest: BlobDigest, bytes: Arc<Vec<u8>>) -> Result<(), String> {
    loop {
        let (blobs, stored) = (Arc::clone(&farm.blobs), Arc::clone(&bytes));
        let storing = tokio::task::spawn_blocking(move || blobs.store(digest, &stored));
        match storing.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.is_disk() => {
                tracing::error!(%error, "a tile cannot be stored; trying again");
            }
            Ok(Err(error)) => return Err(error.to_string()),
            Err(error) => return Err(format!("storing it broke off: {error}")),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    }
}
