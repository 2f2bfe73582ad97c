//! Strangers and members who mean ill, on a network where waiting costs nothing.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use farm_wire::message::{Request, Response};
use farm_wire::network::{AsyncUdpSocket, Network, RecvMeta, Transmit, UdpPoller};
use farm_wire::{Client, Credentials, Role};
use turmoil::Sim;

use crate::farm::{self, Weather};
use crate::socket::SimulatedNetwork;

/// Streams that one member may have open for requests: the master's bound.
const STREAMS: usize = 32;

/// What the master gives one step of a conversation, and a little.
const STEP: Duration = Duration::from_secs(35);

fn run(mut sim: Sim<'_>) {
    sim.run().expect("everybody does what the test expects of it");
}

async fn list_nodes(credentials: &Credentials) -> turmoil::Result {
    let client = Client::connect(credentials).await?;
    match client.request(&Request::ListNodes).await? {
        Response::Nodes { .. } => {
            client.close().await;
            Ok(())
        }
        other => Err(format!("not a list: {other:?}").into()),
    }
}

#[test]
fn streams_that_stay_silent_are_ended_and_hinder_nobody() {
    let (mut sim, shared) = farm::master_alone(Weather::fair(20));
    let slow = shared.clone();
    sim.client("slow", async move {
        let client = Client::connect(&slow.join("slow", Role::Artist).await?).await?;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let (mut send, receive) = client.open_stream().await?;
            // Half of a message's length.
            send.send_bytes(&[0, 0]).await?;
            streams.push((send, receive));
        }
        for (_, receive) in &mut streams {
            let ended = tokio::time::timeout(STEP, receive.receive::<Response>()).await;
            assert!(ended.is_ok(), "the stream is still open");
        }
        Ok(())
    });
    let honest = shared.clone();
    sim.client("honest", async move {
        let credentials = honest.join("honest", Role::Artist).await?;
        for _ in 0..30 {
            let asking = tokio::time::timeout(Duration::from_secs(1), list_nodes(&credentials)).await;
            asking.map_err(|_| "somebody else's streams keep us waiting")??;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    });
    run(sim);
}

/// A network that sends and never hears.
#[derive(Debug)]
struct DeafNetwork(SimulatedNetwork);

impl Network for DeafNetwork {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(DeafSocket(self.0.bind(local)?)))
    }
}

#[derive(Debug)]
struct DeafSocket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for DeafSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        _: &mut Context,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[test]
fn ten_thousand_handshakes_that_nobody_finishes_leave_room_for_members() {
    let (mut sim, shared) = farm::master_alone(Weather::fair(21));
    let begun = Rc::new(RefCell::new(0));
    let (flooder, count) = (shared.clone(), Rc::clone(&begun));
    sim.client("flooder", async move {
        let credentials = flooder.join("flooder", Role::Artist).await?;
        let deaf = Arc::new(credentials.over(Arc::new(DeafNetwork(SimulatedNetwork::default()))));
        for _ in 0..100 {
            for _ in 0..100 {
                let deaf = Arc::clone(&deaf);
                tokio::spawn(async move { Client::connect(&deaf).await.map(drop) });
            }
            *count.borrow_mut() += 100;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    });
    let honest = shared.clone();
    sim.client("honest", async move {
        let credentials = honest.join("honest", Role::Artist).await?;
        let mut asked = 0;
        while *begun.borrow() < 10_000 {
            let asking = tokio::time::timeout(Duration::from_secs(5), list_nodes(&credentials)).await;
            asking.map_err(|_| "handshakes of others keep us out")??;
            asked += 1;
        }
        assert!(asked > 10, "{asked} times during the flood");
        Ok(())
    });
    run(sim);
}

#[test]
fn bytes_that_are_no_message_end_the_connection_and_nothing_else() {
    let (mut sim, shared) = farm::master_alone(Weather::fair(22));
    let rubbish: [&[u8]; 5] = [
        &[0xff; 64],
        &[0, 0, 0, 3, 0xc1, 0xc1, 0xc1],
        &[0, 0, 0, 0],
        &[0, 0, 0, 1, 0x91],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let hostile = shared.clone();
    sim.client("hostile", async move {
        let credentials = hostile.join("hostile", Role::Node).await?;
        for bytes in rubbish {
            let client = Client::connect(&credentials).await?;
            let (mut send, mut receive) = client.open_stream().await?;
            send.send_bytes(bytes).await?;
            send.finish().await?;
            let answer = tokio::time::timeout(STEP, receive.receive::<Response>()).await;
            let answer = answer.map_err(|_| "the stream stays open")?;
            assert!(!matches!(answer, Ok(Some(_))), "{bytes:?} is answered: {answer:?}");
            client.close().await;
        }
        list_nodes(&hostile.join("honest", Role::Artist).await?).await
    });
    run(sim);
}
