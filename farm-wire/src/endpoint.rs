//! QUIC's settings and endpoints, the same on both ends.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};

use crate::network::Network;

/// Longest time for a handshake and for a greeting.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time for a join after its handshake: the master's disk takes part.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a goodbye to be out.
pub(crate) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer that says nothing for this long is gone. The scheduler's
/// `node_timeout` is the same 3 s.
const IDLE_TIMEOUT_MS: u32 = 3000;
/// Six chances to be heard before the idle timeout, also on a machine whose
/// every core renders.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// Bytes in flight on one stream: 10 Gbit/s at 3 ms, 1 Gbit/s at 30 ms.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes in flight on one connection, and so what a peer may make us hold: two
/// streams' worth, as several tiles and a blob travel at once.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Streams that a peer may have open at once, of each kind: leases in flight of
/// a machine with many adapters, and its blobs.
const STREAMS_OF_PEER: u32 = 64;
/// Streams that the master may have open at once towards a member: its
/// greeting.
const STREAMS_OF_MASTER: u32 = 1;

/// The master's transport: peers open streams.
pub(crate) fn master_transport() -> Arc<TransportConfig> {
    let mut transport = transport();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_OF_PEER));
    transport.max_concurrent_uni_streams(VarInt::from_u32(STREAMS_OF_PEER));
    Arc::new(transport)
}

/// A member's transport: the master opens the greeting alone.
pub(crate) fn member_transport() -> Arc<TransportConfig> {
    let mut transport = transport();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(STREAMS_OF_MASTER));
    Arc::new(transport)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into())
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(quinn::congestion::CubicConfig::default()));
    transport
}

/// Binds a listening endpoint. Must be called inside a tokio runtime.
pub(crate) fn listen(
    network: &dyn Network,
    address: SocketAddr,
    config: ServerConfig,
) -> io::Result<quinn::Endpoint> {
    endpoint(network, address, Some(config))
}

/// An endpoint that can reach `remote`, on a port of the network's choice. Must
/// be called inside a tokio runtime.
pub(crate) fn towards(network: &dyn Network, remote: SocketAddr) -> io::Result<quinn::Endpoint> {
    let local = match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    endpoint(network, local, None)
}

fn endpoint(
    network: &dyn Network,
    local: SocketAddr,
    config: Option<ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(io::Error::other("no tokio runtime is running"));
    }
    let socket = network.bind(local)?;
    let runtime = Arc::new(TokioRuntime);
    quinn::Endpoint::new_with_abstract_socket(EndpointConfig::default(), config, socket, runtime)
}
