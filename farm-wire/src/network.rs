//! Where UDP sockets come from: the system, or a simulated network.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Runtime, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

pub use quinn::udp::{RecvMeta, Transmit};
pub use quinn::{AsyncUdpSocket, UdpPoller};

/// Enough for the 4 ms for which a busy machine may not read the socket at
/// 14 Gbit/s. The system may grant less.
const SOCKET_BUFFER_BYTES: usize = 7 << 20;

/// Makes sockets. Time and tasks are tokio's in any case, so that a runtime with
/// a paused clock and a network that is no more than memory simulate a farm.
pub trait Network: Debug + Send + Sync + 'static {
    /// Binds a UDP socket; port 0 is one of the network's choice. Called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// The system's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket(local)?)
    }
}

fn socket(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        // One socket for both families where the system allows it.
        socket.set_only_v6(false)?;
    }
    // Larger buffers are a wish: without them a burst costs retransmissions.
    let enlarged = socket
        .set_recv_buffer_size(SOCKET_BUFFER_BYTES)
        .and(socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    if let Err(error) = enlarged {
        tracing::debug!(%error, "the UDP socket keeps its usual buffers");
    }
    socket.bind(&local.into())?;
    Ok(socket.into())
}
