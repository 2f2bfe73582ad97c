//! A node whose address changes while it works, as behind a router that forgets.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::*;

/// Passes datagrams between a node and a master; the master sees the router's
/// address, which changes when it is told to.
struct Router {
    address: SocketAddr,
    forget: mpsc::Sender<()>,
}

impl Router {
    async fn start(master: SocketAddr) -> Self {
        let inside = bind().await;
        let address = inside.local_addr().expect("it is bound");
        let (forget, told) = mpsc::channel(1);
        tokio::spawn(route(inside, master, told));
        Self { address, forget }
    }
}

async fn bind() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("loopback can be bound")
}

async fn route(inside: UdpSocket, master: SocketAddr, mut told: mpsc::Receiver<()>) {
    let mut outside = bind().await;
    let mut node = None;
    let (mut from_node, mut from_master) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            told = told.recv() => match told {
                Some(()) => outside = bind().await,
                None => return,
            },
            received = inside.recv_from(&mut from_node) => {
                let Ok((length, from)) = received else { continue };
                node = Some(from);
                let _ = outside.send_to(&from_node[..length], master).await;
            }
            received = outside.recv_from(&mut from_master) => {
                let (Ok((length, _)), Some(node)) = (received, node) else { continue };
                let _ = inside.send_to(&from_master[..length], node).await;
            }
        }
    }
}

#[tokio::test]
async fn change_of_address_costs_neither_the_connection_nor_a_lease() {
    let mut router = None;
    let farm = Farm::start_behind(1_000_000, async |master| {
        let started = Router::start(master).await;
        let address = started.address;
        router = Some(started);
        address
    })
    .await;
    let router = router.expect("it was started");
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    let before = session.peer.address();
    router.forget.send(()).await.expect("the router runs");
    farm.stage.gate.store(true, Ordering::SeqCst);
    assert_eq!(session.tile().await.0.lease, LeaseId(1), "on the same connection");
    session.settle(1).await;
    session.grant(2, 1, 1).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(2));
    assert_ne!(session.peer.address(), before, "the master knows where it is now");
    let again = tokio::time::timeout(Duration::ZERO, farm.server.accept()).await;
    assert!(again.is_err(), "the node had no need to connect again");
}
