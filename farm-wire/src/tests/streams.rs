//! What happens on a connection once it is there.

use farm_core::LeaseId;

use super::Farm;
use crate::codec::REQUEST_LIMIT;
use crate::message::{FromNode, Request, Response};
use crate::{Client, Role, WireError};

fn progress(samples: u64) -> FromNode {
    FromNode::Progress { lease: LeaseId(1), samples }
}

#[tokio::test]
async fn messages_arrive_in_order_in_both_directions() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, mut recv) = client.open_stream().await.expect("connected");
    for samples in 0..100 {
        send.send(&progress(samples)).await.expect("sent");
    }
    let (mut back, mut from) = peer.accept_stream().await.expect("connected");
    for samples in 0..100 {
        assert_eq!(from.receive().await.expect("received"), Some(progress(samples)));
        back.send(&progress(samples)).await.expect("sent");
    }
    for samples in 0..100 {
        assert_eq!(recv.receive().await.expect("received"), Some(progress(samples)));
    }
    send.finish().await.expect("received");
    assert_eq!(from.receive::<FromNode>().await.expect("ended well"), None);
}

#[tokio::test]
async fn messages_that_leave_together_arrive_one_by_one() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    let mut batch: Vec<_> = (0..300).map(progress).collect();
    send.send_all(&mut batch).await.expect("sent");
    assert_eq!(batch, Vec::new());
    let oversized = FromNode::Failed {
        lease: LeaseId(1),
        kind: farm_core::scheduler::FailureKind::Render,
        message: "x".repeat(REQUEST_LIMIT),
    };
    let outcome = send.send_all(&mut vec![progress(300), oversized, progress(301)]).await;
    assert!(matches!(outcome, Err(WireError::Protocol(_))), "{outcome:?}");
    send.send(&progress(302)).await.expect("sent");
    let (_back, mut from) = peer.accept_stream().await.expect("connected");
    for samples in (0..=300).chain([302]) {
        assert_eq!(from.receive().await.expect("received"), Some(progress(samples)));
    }
}

#[tokio::test]
async fn raw_bytes_follow_a_message_and_messages_follow_them() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    send.send(&progress(3)).await.expect("sent");
    send.send_bytes(b"abcdefgh").await.expect("sent");
    send.send(&progress(4)).await.expect("sent");
    let (_back, mut from) = peer.accept_stream().await.expect("connected");
    assert_eq!(from.receive().await.expect("received"), Some(progress(3)));
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < 8 {
        let mut few = [0; 3];
        let wanted = few.len().min(8 - bytes.len());
        let count = from.receive_bytes(&mut few[..wanted]).await.expect("received");
        bytes.extend(&few[..count]);
    }
    assert_eq!(bytes, b"abcdefgh");
    assert_eq!(from.receive().await.expect("received"), Some(progress(4)));
}

#[tokio::test]
async fn an_oversized_message_is_refused_before_it_is_read() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    let length = u32::try_from(REQUEST_LIMIT + 1).expect("it fits");
    send.send_bytes(&length.to_be_bytes()).await.expect("sent");
    let (_back, mut from) = peer.accept_stream().await.expect("connected");
    let error = from.receive::<FromNode>().await.expect_err("too long");
    assert!(matches!(&error, WireError::Protocol(problem) if problem.contains("limit")), "{error}");
}

#[tokio::test]
async fn an_oversized_message_is_not_sent() {
    let farm = Farm::start();
    let (client, _peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    let error = send.send(&"x".repeat(REQUEST_LIMIT)).await.expect_err("too long");
    assert!(matches!(error, WireError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_malformed_message_is_an_error() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    send.send_bytes(&[0, 0, 0, 1, 0xc1]).await.expect("sent");
    send.send_bytes(&[0, 0, 0, 9, 1]).await.expect("sent");
    drop(send);
    let (_back, mut from) = peer.accept_stream().await.expect("connected");
    assert!(matches!(from.receive::<FromNode>().await, Err(WireError::Protocol(_))));
    assert!(matches!(from.receive::<FromNode>().await, Err(WireError::Protocol(_))), "half a message");
}

#[tokio::test]
async fn receiving_may_be_cancelled() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let (mut send, _recv) = client.open_stream().await.expect("connected");
    let frame = crate::codec::frame(&progress(5), REQUEST_LIMIT).expect("short");
    let (head, tail) = frame.split_at(frame.len() / 2);
    send.send_bytes(head).await.expect("sent");
    let (_back, mut from) = peer.accept_stream().await.expect("connected");
    tokio::select! {
        biased;
        message = from.receive::<FromNode>() => panic!("half a message is none: {message:?}"),
        () = tokio::task::yield_now() => {}
    }
    send.send_bytes(tail).await.expect("sent");
    assert_eq!(from.receive().await.expect("received"), Some(progress(5)));
}

#[tokio::test]
async fn a_request_has_its_answer() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    let master = async {
        let (mut send, mut recv) = peer.accept_stream().await.expect("connected");
        assert_eq!(recv.receive().await.expect("received"), Some(Request::ListJobs));
        send.send(&Response::Done).await.expect("sent");
    };
    let (answer, ()) = tokio::join!(client.request(&Request::ListJobs), master);
    assert_eq!(answer.expect("answered"), Response::Done);
}

#[tokio::test]
async fn a_closing_peer_gives_its_reason() {
    let farm = Farm::start();
    let (client, peer) = farm.member().await;
    peer.close("the lease was sold twice");
    let error = client.closed().await;
    assert!(
        matches!(&error, WireError::Lost(reason) if reason.contains("the lease was sold twice")),
        "{error}"
    );
    assert!(client.open_stream().await.is_err());
}

#[tokio::test]
async fn a_goodbye_is_heard() {
    let farm = Farm::start();
    let credentials = farm.credentials(Role::Node).await;
    let (client, peer) = farm.connect(&credentials).await;
    client.close().await;
    assert!(matches!(peer.accept_stream().await, Err(WireError::Lost(_))));
    let (client, peer) = farm.connect(&credentials).await;
    drop(client);
    assert!(matches!(peer.accept_tile().await, Err(WireError::Lost(_))));
}

#[tokio::test]
async fn a_stopping_master_says_so_and_leaves_nothing_behind() {
    let farm = Farm::start();
    let credentials = farm.credentials(Role::Node).await;
    let (client, _peer) = farm.connect(&credentials).await;
    farm.server.close().await;
    assert!(client.closed().await.to_string().contains("the master stops"));
    assert!(farm.server.accept().await.is_none());
    drop(client);
    let (address, metrics) = (farm.address(), tokio::runtime::Handle::current().metrics());
    drop((farm, _peer));
    // The port is free as soon as the last task that knew it is gone.
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    std::net::UdpSocket::bind(address).expect("the port is free again");
}

#[test]
fn a_silent_peer_is_noticed() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let master = runtime().expect("a runtime");
    let node = runtime().expect("a runtime");
    let farm = master.block_on(async { Farm::start() });
    let credentials = master.block_on(farm.credentials(Role::Node));
    let client = node.block_on(Client::connect(&credentials)).expect("connected");
    let peer = master.block_on(farm.server.accept()).expect("connected");
    // As if its machine lost power: its tasks end where they stand.
    node.shutdown_background();
    let error = master.block_on(peer.closed());
    assert!(matches!(&error, WireError::Lost(reason) if reason.contains("silent")), "{error}");
    drop(client);
}
