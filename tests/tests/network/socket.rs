//! QUIC's sockets on turmoil's network.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use farm_wire::network::{AsyncUdpSocket, Network, RecvMeta, Transmit, UdpPoller};
use futures_util::FutureExt;
use turmoil::net::UdpSocket;

/// The network of the host whose code runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SimulatedNetwork {
    /// Every such datagram arrives twice, and none if 0.
    pub(crate) duplicate_every: u32,
}

impl Network for SimulatedNetwork {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let bound = UdpSocket::bind(local).now_or_never().expect("turmoil binds without waiting")?;
        let (socket, readable) = (Arc::new(bound), Mutex::new(None));
        let (duplicate_every, sent) = (self.duplicate_every, AtomicU32::new(0));
        Ok(Arc::new(Socket { socket, readable, duplicate_every, sent }))
    }
}

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

struct Socket {
    socket: Arc<UdpSocket>,
    /// What whoever receives waits for. While it waits, it alone has the queue.
    readable: Mutex<Option<Readable>>,
    duplicate_every: u32,
    sent: AtomicU32,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        let sent = self.sent.fetch_add(1, Ordering::Relaxed);
        let twice = self.duplicate_every > 0 && sent.is_multiple_of(self.duplicate_every);
        for _ in 0..if twice { 2 } else { 1 } {
            // As of a real network, nobody is told what does not arrive.
            let _ = self.socket.try_send_to(transmit.contents, transmit.destination);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock().expect("no test panics while it holds this");
        loop {
            if let Some(waiting) = readable.as_mut() {
                let arrived = ready!(waiting.as_mut().poll(cx));
                *readable = None;
                arrived?;
            }
            match self.socket.try_recv_from(&mut bufs[0]) {
                Ok((length, source)) => {
                    meta[0] = RecvMeta { addr: source, len: length, stride: length, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = Arc::clone(&self.socket);
                    *readable = Some(Box::pin(async move { socket.readable().await }));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Turmoil's sockets take whatever they are given.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
