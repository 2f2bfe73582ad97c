//! What a studio may choose: where the data lies, where to listen, and limits.

mod limits;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farm_wire::{Network, PEER_LIFE, Passphrase, SystemNetwork};
use serde::{Deserialize, Deserializer};

pub use self::limits::parse_duration;
use crate::{ArtistQuotas, MasterError};

/// The UDP port that masters listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7400;

/// How to run a master.
#[derive(Clone, Debug)]
pub struct MasterConfig {
    /// The data folder; made if it is not there.
    pub data: PathBuf,
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// `host:port` that tickets name; empty for this machine's own addresses.
    pub advertise: Vec<String>,
    /// The scheduler's bounds.
    pub limits: farm_core::Limits,
    /// The master's own bounds.
    pub bounds: Bounds,
    /// Whether it takes tiles without pixels and delivers frames of them without a
    /// file: for measuring what remains of a tile then. Not for a farm that
    /// renders, so no configuration file has it.
    pub takes_empty_tiles: bool,
    /// How long certificates of nodes, artists and admins are good.
    pub certificate_life: Duration,
    /// What the authority's key is encrypted with, where it is.
    pub passphrase: Option<Passphrase>,
    /// The network to listen on: the system's but in a simulation, so no
    /// configuration file has it either.
    pub network: Arc<dyn Network>,
}

impl MasterConfig {
    /// A master on `data` that listens on `listen`, with every default.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            advertise: Vec::new(),
            limits: farm_core::Limits::default(),
            bounds: Bounds::default(),
            takes_empty_tiles: false,
            certificate_life: PEER_LIFE,
            passphrase: None,
            network: Arc::new(SystemNetwork),
        }
    }
}

/// Bounds of the master's own work, beside the scheduler's limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Longest blob: 4 GiB is what WebGPU can bind at most, several times over.
    pub blob_bytes: u64,
    /// Peers connected at once. Each may cost 12 MiB of stream windows at
    /// worst and a few KiB as a rule.
    pub peers: usize,
    /// Bytes of tiles on their way from the wire to the disk, over all peers:
    /// 512 MiB are 32 of the largest tiles.
    pub tile_bytes_in_flight: u64,
    /// Tiles that one node may send at once; more wait in its own memory.
    pub tiles_per_node: usize,
    /// Requests that one peer may have open at once.
    pub requests_per_peer: usize,
    /// Frames assembled at once; each uses every core by itself, so two only
    /// hide each other's disk waits.
    pub assemblies: usize,
    /// Facts since the last snapshot of the journal for which the next is made,
    /// or a sixteenth of its entries, where that is more: 65,536 facts are
    /// replayed in half a second, and a snapshot of as many tiles is 7 MB.
    pub facts_per_snapshot: u64,
    /// Seconds for which a blob that no job names stays after it was stored or
    /// asked for: an artist's upload of 100 GB at 10 Mbit/s takes 22 hours before
    /// its job can be submitted, and twice that is 48.
    pub blob_grace_s: u64,
    /// Bytes of blobs that may stay beyond that though no job names them, so that
    /// a scene which is submitted again need not be uploaded: 64 GiB are a few
    /// dozen large scenes.
    pub unused_blob_bytes: u64,
    /// What each artist may take.
    pub artist: ArtistQuotas,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            blob_bytes: 4 << 30,
            peers: 4096,
            tile_bytes_in_flight: 512 << 20,
            tiles_per_node: 16,
            requests_per_peer: 32,
            assemblies: 2,
            facts_per_snapshot: 1 << 16,
            blob_grace_s: 48 * 3600,
            unused_blob_bytes: 64 << 30,
            artist: ArtistQuotas::default(),
        }
    }
}

/// A configuration file; every field may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// As [`MasterConfig::data`].
    pub data: Option<PathBuf>,
    /// As [`MasterConfig::listen`].
    pub listen: Option<SocketAddr>,
    /// As [`MasterConfig::advertise`].
    pub advertise: Option<Vec<String>>,
    /// As [`MasterConfig::bounds`].
    pub bounds: Option<Bounds>,
    /// As [`MasterConfig::limits`].
    #[serde(default, deserialize_with = "read_limits")]
    pub limits: Option<farm_core::Limits>,
    /// As [`MasterConfig::certificate_life`], in days: at least 1, as clocks differ.
    pub certificate_days: Option<NonZeroU16>,
}

impl ConfigFile {
    /// Reads a file in TOML.
    ///
    /// # Errors
    /// Names the file and the first key that is wrong; unknown keys are errors.
    pub fn load(path: &Path) -> Result<Self, MasterError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| MasterError::Folder { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|error| MasterError::Config { path: path.to_owned(), reason: error.to_string() })
    }
}

fn read_limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<farm_core::Limits>, D::Error> {
    let changes = toml::Table::deserialize(deserializer)?;
    limits::read(&changes).map(Some).map_err(serde::de::Error::custom)
}

/// The data folder of this user where none is named.
#[must_use]
pub fn default_data_folder() -> PathBuf {
    use etcetera::BaseStrategy;
    etcetera::choose_base_strategy().map_or_else(
        |_| PathBuf::from("farm-master"),
        |strategy| strategy.data_dir().join("tessera").join("master"),
    )
}

/// The address to listen on where none is named: every interface.
#[must_use]
pub fn default_listen() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()
}

/// The addresses that tickets name: `advertise` if anything is there, else the
/// bound address, where "every interface" becomes this machine's address on
/// its default route and then loopback.
#[must_use]
pub fn ticket_addresses(advertise: &[String], bound: SocketAddr) -> Vec<String> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    let probes = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let probes = if bound.is_ipv4() { &probes[..1] } else { &probes[..] };
    let mut addresses: Vec<String> = probes
        .iter()
        .filter_map(|(from, to)| outgoing_address(from, to))
        .map(|address| SocketAddr::new(address.ip(), bound.port()).to_string())
        .collect();
    addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())).to_string());
    addresses
}

/// The address that packets to `to` would leave from. Connecting a UDP socket
/// only asks the routing table; nothing is sent.
fn outgoing_address(from: &str, to: &str) -> Option<SocketAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("farm-master.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nlisten_on = 3\n").expect("it is written");
        let error = ConfigFile::load(&path).expect_err("the key is unknown").to_string();
        assert!(error.contains("listen_on"), "{error}");
    }

    #[test]
    fn named_keys_are_read() {
        let text = "data = \"/srv/farm\"\nadvertise = [\"farm:1\"]\n[bounds]\npeers = 3\n";
        let file: ConfigFile = toml::from_str(text).expect("it is right");
        let bounds = file.bounds.expect("bounds are there");
        assert_eq!((bounds.peers, bounds.assemblies), (3, Bounds::default().assemblies));
        assert_eq!(file.advertise, Some(vec!["farm:1".to_owned()]));
    }

    #[test]
    fn tickets_name_addresses_that_can_be_dialled() {
        let check = |bound: &str, advertise: &[String]| {
            ticket_addresses(advertise, bound.parse().expect("an address"))
        };
        assert_eq!(check("10.1.2.3:5", &[]), ["10.1.2.3:5"]);
        assert_eq!(check("0.0.0.0:5", &["farm:9".to_owned()]), ["farm:9"]);
        let local = check("0.0.0.0:5", &[]);
        assert_eq!(local.last().map(String::as_str), Some("127.0.0.1:5"));
        assert!(local.iter().all(|address| !address.starts_with("0.0.0.0")));
    }
}
