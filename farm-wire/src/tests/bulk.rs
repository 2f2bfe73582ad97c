//! Blobs and tiles on their way.

use farm_core::{BlobDigest, BlockRange, FrameNumber, JobId, LeaseId, RectIndex, TileId};

use super::{Farm, digest_of, noise};
use crate::client::{RecvStream, SendStream};
use crate::message::{Request, Response, TileHeader};
use crate::part_file::PartFile;
use crate::transfer::{fetch_blob, receive_tile, send_tile, serve_bytes, store_blob};
use crate::{Client, Peer, WireError};

const LIMIT: u64 = 1 << 30;

async fn request(peer: &Peer) -> (SendStream, RecvStream, Request) {
    let (send, mut recv) = peer.accept_stream().await.expect("connected");
    let request = recv.receive().await.expect("well formed").expect("a request");
    (send, recv, request)
}

/// A master that takes one blob into `path`, of which it reads at most `most`
/// bytes. Returns where it began.
async fn take_blob(peer: &Peer, path: &std::path::Path, most: u64) -> u64 {
    let (mut send, mut recv, request) = request(peer).await;
    let Request::StoreBlob { digest, length } = request else { panic!("another request: {request:?}") };
    let mut part = PartFile::open(path, digest, length).await.expect("writable");
    let offset = part.length();
    send.send(&Response::StoreFrom { offset }).await.expect("sent");
    let mut chunk = vec![0; 1 << 16];
    while part.length() < length.min(most) {
        let count = recv.receive_bytes(&mut chunk).await.expect("connected");
        part.append(&chunk[..count]).await.expect("writable");
    }
    if part.length() < length {
        peer.close("the cable was pulled");
        return offset;
    }
    part.commit().await.expect("the right digest");
    send.send(&Response::Stored).await.expect("sent");
    send.finish().await.expect("received");
    offset
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_stopped() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("blob");
    let blob = noise(3 << 20);
    let whole = blob.len() as u64;

    let (client, peer) = farm.member().await;
    let (stored, began) =
        tokio::join!(store_blob(&client, digest_of(&blob), &blob, |_| ()), take_blob(&peer, &path, 1 << 20));
    assert!(matches!(stored, Err(WireError::Lost(reason)) if reason.contains("cable")));
    assert_eq!(began, 0);

    let (client, peer) = farm.member().await;
    let mut counted = 0;
    let (stored, began) = tokio::join!(
        store_blob(&client, digest_of(&blob), &blob, |count| counted += count),
        take_blob(&peer, &path, LIMIT)
    );
    let sent = stored.expect("stored");
    assert!(began >= 1 << 20 && began < whole, "{began}");
    assert_eq!((sent, counted), (whole - began, whole - began));
    assert_eq!(std::fs::read(&path).expect("stored"), blob);
}

#[tokio::test]
async fn a_stored_blob_is_not_sent_again() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let master = async {
        let (mut send, _recv, _) = request(&peer).await;
        send.send(&Response::StoreFrom { offset: 5 }).await.expect("sent");
        send.send(&Response::Stored).await.expect("sent");
        // Else the last word may be overtaken by the end of the stream.
        send.finish().await.expect("received");
    };
    let (stored, ()) = tokio::join!(store_blob(&client, digest_of(b"hello"), b"hello", |_| ()), master);
    assert_eq!(stored.expect("stored"), 0);
}

#[tokio::test]
async fn a_refused_upload_says_why_even_in_the_middle() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let blob = noise(16 << 20);
    let refuse = |mut send: SendStream| async move {
        let refused = Response::Refused { reason: "the disk is full".into(), hint: Some("make room".into()) };
        send.send(&refused).await.expect("sent");
        send.finish().await.expect("received");
    };
    let master = async {
        let (send, _recv, _) = request(&peer).await;
        refuse(send).await;
        let (mut send, recv, _) = request(&peer).await;
        send.send(&Response::StoreFrom { offset: 0 }).await.expect("sent");
        drop(recv);
        refuse(send).await;
    };
    let uploads = async {
        for _ in 0..2 {
            let error = store_blob(&client, digest_of(&blob), &blob, |_| ()).await.expect_err("refused");
            assert!(
                matches!(&error, WireError::Refused(why) if why == "the disk is full (make room)"),
                "{error}"
            );
        }
    };
    tokio::join!(uploads, master);
}

#[tokio::test]
async fn an_absurd_offset_is_an_error() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let master = async {
        let (mut send, _recv, _) = request(&peer).await;
        send.send(&Response::StoreFrom { offset: 6 }).await.expect("sent");
        send.finish().await.expect("received");
    };
    let (stored, ()) = tokio::join!(store_blob(&client, digest_of(b"hello"), b"hello", |_| ()), master);
    assert!(matches!(stored, Err(WireError::Protocol(_))));
}

/// Answers one fetch, of which the last `cut` bytes never come. Returns the
/// offset that was asked for.
async fn serve(peer: &Peer, blob: &[u8], cut: usize) -> u64 {
    let (mut send, _recv, request) = request(peer).await;
    let Request::FetchBlob { offset, .. } = request else { panic!("another request: {request:?}") };
    let rest = &blob[usize::try_from(offset).expect("small")..];
    let length = rest.len() as u64;
    if cut == 0 {
        serve_bytes(send, rest, length).await.expect("served");
    } else {
        send.send(&Response::Blob { length }).await.expect("sent");
        send.send_bytes(&rest[..rest.len() - cut]).await.expect("sent");
        send.finish().await.expect("received");
    }
    offset
}

#[tokio::test]
async fn a_broken_fetch_goes_on_where_it_stopped() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("blob");
    let blob = noise(1 << 20);
    let (client, peer) = farm.member().await;
    let fetch = || fetch_blob(&client, digest_of(&blob), &path, LIMIT);
    let (fetched, offset) = tokio::join!(fetch(), serve(&peer, &blob, 1000));
    assert!(matches!(fetched, Err(WireError::Lost(_))) && offset == 0);
    assert!(!path.exists());
    let (fetched, offset) = tokio::join!(fetch(), serve(&peer, &blob, 0));
    assert_eq!(fetched.expect("fetched"), 1 << 20);
    assert_eq!(offset, (1 << 20) - 1000);
    assert_eq!(std::fs::read(&path).expect("stored"), blob);
}

#[tokio::test]
async fn a_spoiled_rest_is_fetched_anew() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("blob");
    std::fs::write(folder.path().join("blob.part"), [0; 100]).expect("writable");
    let blob = noise(5000);
    let (client, peer) = farm.member().await;
    let master = async { (serve(&peer, &blob, 0).await, serve(&peer, &blob, 0).await) };
    let (fetched, offsets) = tokio::join!(fetch_blob(&client, digest_of(&blob), &path, LIMIT), master);
    assert_eq!(fetched.expect("fetched"), 5000);
    assert_eq!(offsets, (100, 0));
}

async fn fetch_error(limit: u64, digest: BlobDigest) -> WireError {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("blob");
    let (client, peer) = farm.member().await;
    let fetched = async {
        let fetched = fetch_blob(&client, digest, &path, limit).await;
        // The master may still be sending what nobody wants.
        client.close().await;
        fetched
    };
    let master = async {
        let (send, _recv, _) = request(&peer).await;
        // It may or may not be told that nobody reads.
        let _ = serve_bytes(send, [7; 5000].as_slice(), 5000).await;
    };
    let (fetched, ()) = tokio::join!(fetched, master);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
    fetched.expect_err("wrong")
}

#[tokio::test]
async fn a_lying_master_stores_nothing() {
    let error = fetch_error(LIMIT, digest_of(b"something else")).await;
    assert!(matches!(error, WireError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_blob_over_the_limit_is_not_fetched() {
    let error = fetch_error(4999, digest_of(&[7; 5000])).await;
    assert!(matches!(&error, WireError::Refused(reason) if reason.contains("limit")), "{error}");
}

#[tokio::test]
async fn a_master_that_runs_dry_does_not_pass_for_whole() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("blob");
    let master = async {
        let (send, _recv, _) = request(&peer).await;
        assert!(serve_bytes(send, [1; 10].as_slice(), 11).await.is_err());
    };
    let (fetched, ()) = tokio::join!(fetch_blob(&client, digest_of(&[1; 11]), &path, LIMIT), master);
    assert!(matches!(fetched, Err(WireError::Lost(_))));
}

fn header(exr: &[u8]) -> TileHeader {
    let range = BlockRange { level: 0, index: 0 };
    let tile = TileId { job: JobId(1), frame: FrameNumber(1), rect: RectIndex(2), range };
    let (digest, length) = (digest_of(exr), exr.len() as u64);
    TileHeader { lease: LeaseId(9), tile, digest, length, rays: 10, render_us: 11 }
}

async fn deliver(client: &Client, peer: &Peer, header: &TileHeader, exr: &[u8]) -> Result<(), WireError> {
    let receive = async {
        let mut stream = peer.accept_tile().await.expect("connected");
        receive_tile(&mut stream, 1 << 20).await
    };
    let (_sent, received) = tokio::join!(send_tile(client, header, exr), receive);
    let (found, bytes) = received?;
    assert_eq!((&found, bytes.as_slice()), (header, exr));
    Ok(())
}

#[tokio::test]
async fn tiles_arrive_whole_or_not_at_all() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let exr = noise(700_000);
    deliver(&client, &peer, &header(&exr), &exr).await.expect("whole");
    deliver(&client, &peer, &header(b""), b"").await.expect("whole");
    let wrong = [
        (header(&exr), &exr[1..]),
        (TileHeader { length: 699_999, ..header(&exr) }, exr.as_slice()),
        (TileHeader { digest: digest_of(b""), ..header(&exr) }, exr.as_slice()),
        (TileHeader { length: u64::MAX, ..header(&exr) }, exr.as_slice()),
    ];
    for (header, exr) in wrong {
        assert!(deliver(&client, &peer, &header, exr).await.is_err(), "{header:?}");
    }
}
