//! Moving blobs, pictures and tiles: by digest, resumable, verified at the end.
//!
//! [`store_blob`], [`fetch_blob`] and [`send_tile`] are a member's ends. Of the
//! master's ends, [`serve_bytes`] answers a fetch and [`receive_tile`] takes a
//! tile whole; its blob store and its tile checks bring their own.

use std::path::Path;
use std::time::Duration;

use farm_core::BlobDigest;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::printable;
use crate::message::{Request, Response, TileHeader};
use crate::part_file::PartFile;
use crate::{Client, RecvStream, SendStream, WireError};

/// Bytes handed on at a time: few enough to interleave with other streams, many
/// enough that a disk write is worth its thread switch.
pub const CHUNK_BYTES: usize = 256 << 10;

/// How long to wait for the reason after the peer stopped reading.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);

/// Memory reserved for a tile before its bytes are there.
const RESERVED_BYTES: usize = 1 << 20;

/// Stores a blob on the master; resumes where an earlier try stopped. Returns
/// the number of payload bytes sent. `sent` is called as bytes leave, with the
/// number of bytes since its last call.
///
/// # Errors
/// When the connection is lost or the master refuses the blob.
pub async fn store_blob(
    client: &Client,
    digest: BlobDigest,
    bytes: &[u8],
    mut sent: impl FnMut(u64) + Send,
) -> Result<u64, WireError> {
    let (mut send, mut recv) = client.open_stream().await?;
    let length = bytes.len() as u64;
    send.send(&Request::StoreBlob { digest, length }).await?;
    let offset = match answer(&mut recv).await? {
        Response::StoreFrom { offset } => offset,
        other => return Err(unexpected(&other)),
    };
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    let rest = rest.ok_or_else(|| WireError::Protocol("the master wants more than the blob has".into()))?;
    for chunk in rest.chunks(CHUNK_BYTES) {
        if let Err(error) = send.send_bytes(chunk).await {
            return Err(reason(&mut recv, error).await);
        }
        sent(chunk.len() as u64);
    }
    match answer(&mut recv).await? {
        Response::Stored => Ok(rest.len() as u64),
        other => Err(unexpected(&other)),
    }
}

/// Fetches a blob into `path`, whose folder must exist: bytes of an earlier,
/// broken fetch beside it (`path` + `.part`) are kept and continued; the digest
/// is verified before the file takes its name. Returns the blob's length in
/// bytes.
///
/// # Errors
/// The connection is lost, the master lacks the blob, the digest is wrong, the
/// length is beyond `limit`, or the disk refuses.
pub async fn fetch_blob(
    client: &Client,
    digest: BlobDigest,
    path: &Path,
    limit: u64,
) -> Result<u64, WireError> {
    let part = PartFile::open(path, digest, limit).await?;
    if part.length() == 0 {
        return fetch_rest(client, digest, part, limit).await;
    }
    match fetch_rest(client, digest, part, limit).await {
        // What was kept may have been wrong (a torn write): once more, whole.
        Err(WireError::Protocol(problem)) => {
            tracing::info!(%digest, problem, "fetching a blob again from its beginning");
            PartFile::open(path, digest, limit).await?.discard().await?;
            let part = PartFile::open(path, digest, limit).await?;
            fetch_rest(client, digest, part, limit).await
        }
        other => other,
    }
}

async fn fetch_rest(
    client: &Client,
    digest: BlobDigest,
    mut part: PartFile,
    limit: u64,
) -> Result<u64, WireError> {
    let offset = part.length();
    let (mut send, mut recv) = client.open_stream().await?;
    send.send(&Request::FetchBlob { digest, offset }).await?;
    let length = match answer(&mut recv).await? {
        Response::Blob { length } => length,
        other => return Err(unexpected(&other)),
    };
    if offset.checked_add(length).is_none_or(|whole| whole > limit) {
        part.discard().await?;
        return Err(WireError::Refused(format!("blob {digest} is over the limit of {limit} bytes")));
    }
    append(&mut recv, &mut part, length).await?;
    part.commit().await
}

/// Answers a fetch: `length` bytes of `bytes`, which stands at the first of
/// them already (skip the offset that was asked for).
///
/// # Errors
/// The connection is lost, or `bytes` fails or ends too early: then the stream
/// is given up, so that the peer does not take it for whole.
pub async fn serve_bytes(
    mut send: SendStream,
    bytes: impl AsyncRead + Unpin,
    length: u64,
) -> Result<(), WireError> {
    send.send(&Response::Blob { length }).await?;
    match copy_out(&mut send, bytes, length).await {
        Ok(()) => send.finish().await,
        Err(error) => {
            send.abort();
            Err(error)
        }
    }
}

async fn copy_out(
    send: &mut SendStream,
    mut bytes: impl AsyncRead + Unpin,
    length: u64,
) -> Result<(), WireError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let wanted = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = bytes
            .read(&mut chunk[..wanted])
            .await
            .map_err(|error| WireError::Lost(format!("what was to be sent cannot be read: {error}")))?;
        if count == 0 {
            return Err(WireError::Lost(format!("what was to be sent is {left} bytes too short")));
        }
        send.send_bytes(&chunk[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

async fn append(recv: &mut RecvStream, part: &mut PartFile, length: u64) -> Result<(), WireError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let count = receive_some(recv, &mut chunk, left).await?;
        part.append(&chunk[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

/// Some of the `left` bytes that are to come, at least one.
async fn receive_some(recv: &mut RecvStream, chunk: &mut [u8], left: u64) -> Result<usize, WireError> {
    let wanted = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    match recv.receive_bytes(&mut chunk[..wanted]).await? {
        0 => Err(WireError::Lost(format!("the stream ended {left} bytes too early"))),
        count => Ok(count),
    }
}

/// Sends a finished tile on a stream of its own and waits until the master has
/// it (not until it judged it).
///
/// # Errors
/// When the connection is lost.
pub async fn send_tile(client: &Client, header: &TileHeader, exr: &[u8]) -> Result<(), WireError> {
    let mut send = client.open_tile().await?;
    send.send(header).await?;
    send.send_bytes(exr).await?;
    send.finish().await
}

/// Receives a tile of at most `limit` bytes and checks its digest; what it
/// shows is for `decode_tile` to check.
///
/// # Errors
/// The connection is lost, the tile is too long or too short, or its digest is
/// not the one that its header names.
pub async fn receive_tile(recv: &mut RecvStream, limit: u64) -> Result<(TileHeader, Vec<u8>), WireError> {
    let header = recv.receive::<TileHeader>().await?;
    let header = header.ok_or_else(|| WireError::Protocol("a tile's stream without a tile".into()))?;
    if header.length > limit {
        let length = header.length;
        return Err(WireError::Protocol(format!("a tile of {length} bytes is over the limit of {limit}")));
    }
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let mut exr = Vec::with_capacity(length.min(RESERVED_BYTES));
    let mut chunk = vec![0; CHUNK_BYTES];
    while exr.len() < length {
        let count = receive_some(recv, &mut chunk, (length - exr.len()) as u64).await?;
        exr.extend_from_slice(&chunk[..count]);
    }
    if recv.receive_bytes(&mut [0]).await? > 0 {
        return Err(WireError::Protocol("bytes follow a tile".into()));
    }
    if *blake3::hash(&exr).as_bytes() != header.digest.0 {
        return Err(WireError::Protocol("a tile does not have the digest that its header names".into()));
    }
    Ok((header, exr))
}

/// The next response; a refusal is an error.
async fn answer(recv: &mut RecvStream) -> Result<Response, WireError> {
    match recv.receive().await? {
        Some(Response::Refused { reason, hint: None }) => Err(WireError::Refused(line(&reason))),
        Some(Response::Refused { reason, hint: Some(hint) }) => {
            Err(WireError::Refused(format!("{} ({})", line(&reason), line(&hint))))
        }
        Some(response) => Ok(response),
        None => Err(WireError::Protocol("the master did not answer".into())),
    }
}

fn line(text: &str) -> String {
    printable(text.as_bytes())
}

/// The master's words on why it stopped reading, if it left any.
async fn reason(recv: &mut RecvStream, error: WireError) -> WireError {
    match tokio::time::timeout(REASON_TIMEOUT, answer(recv)).await {
        Ok(Err(refused @ WireError::Refused(_))) => refused,
        _ => error,
    }
}

fn unexpected(response: &Response) -> WireError {
    let text: String = format!("{response:?}").chars().take(60).collect();
    WireError::Protocol(format!("an answer to another request: {text}"))
}
