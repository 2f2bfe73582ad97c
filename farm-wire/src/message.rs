//! Every message of the protocol `farm/1`.
//!
//! A connection is a node's, an artist's or an admin's (its certificate says which).
//! A node's first bidirectional stream is **control**: it sends [`FromNode`]
//! and receives [`ToNode`], length-delimited, for the life of the connection.
//! Each finished tile travels on a unidirectional stream of its own, a
//! [`TileHeader`] and then the EXR; each blob on a bidirectional stream of its
//! own, opened by [`Request::FetchBlob`] or [`Request::StoreBlob`].
//! An artist or an admin opens one bidirectional stream for each [`Request`] and reads one
//! [`Response`] (a sequence of them for [`Request::WatchJob`]).

use farm_core::scheduler::{FailureKind, HeldLease, JobView, Lease, NodeChange, NodeStanding, NodeView};
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, LeaseId, NodeId, Rect, TileId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A node's adapter as it describes it; claims, checked by the work itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneDescription {
    /// The adapter's name.
    pub adapter: String,
    /// Its graphics API.
    pub backend: String,
    /// Hash of all that decides its rounding.
    pub numeric_class: BlobDigest,
    /// Bytes of memory that it may use for a scene, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// From a node to the master, on the control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromNode {
    /// The first message of a connection.
    Hello {
        /// Version of the node's software.
        version: String,
        /// Digest of the shaders that it renders with.
        shader_digest: BlobDigest,
        /// Its lanes.
        lanes: Vec<LaneDescription>,
        /// What it still holds from an earlier connection.
        holding: Vec<HeldLease>,
        /// Its tags, as whoever runs it chose them: jobs may require some.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// Manifests of scenes that it has on its disk, latest used last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scenes: Vec<BlobDigest>,
    },
    /// A lease got this far.
    Progress {
        /// The lease.
        lease: LeaseId,
        /// Samples done.
        samples: u64,
    },
    /// A lease failed or is handed back.
    Failed {
        /// The lease.
        lease: LeaseId,
        /// The kind.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// The node takes nothing new.
    Draining,
    /// A lease is done and had no pixels: nothing travels but this. Only a master
    /// that measures its own dispatch takes it; for any other it breaks the
    /// protocol.
    EmptyTile {
        /// The lease.
        lease: LeaseId,
        /// The tile.
        tile: TileId,
    },
    /// The node takes nothing for now.
    Resting,
    /// The node takes leases again.
    Resumed,
}

/// From the master to a node, on the control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToNode {
    /// The answer to `Hello`.
    Welcome {
        /// Version of the master's software.
        version: String,
        /// The node's identity.
        node: NodeId,
    },
    /// Describes a job, before its first lease on this connection.
    Job {
        /// The job.
        job: JobId,
        /// What it is.
        spec: Box<JobSpec>,
    },
    /// A lease.
    Granted {
        /// The lease.
        lease: Lease,
    },
    /// Drop a lease.
    Revoked {
        /// The lease.
        lease: LeaseId,
    },
    /// A delivered tile was judged; the node may forget it.
    Settled {
        /// The lease.
        lease: LeaseId,
        /// How.
        verdict: Verdict,
    },
}

/// How a delivered tile was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the tile's result.
    Accepted,
    /// Another result came first.
    Duplicate,
    /// It did not pass the checks.
    Rejected {
        /// What was wrong.
        reason: String,
    },
}

/// Opens a tile's stream; `length` bytes of EXR follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileHeader {
    /// The lease.
    pub lease: LeaseId,
    /// The tile: the lease's, or a part of its samples where the node gave way.
    pub tile: TileId,
    /// BLAKE3 of the EXR.
    pub digest: BlobDigest,
    /// Bytes of EXR that follow.
    pub length: u64,
    /// Rays traced.
    pub rays: u64,
    /// Time on the adapter, in microseconds.
    pub render_us: u64,
}

/// A request on a bidirectional stream of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Which of these blobs does the master lack? Answered by `Missing`.
    FindMissing {
        /// Sorted digests.
        digests: Vec<BlobDigest>,
    },
    /// Store a blob. Answered by `StoreFrom`; then the bytes from that offset
    /// follow, then `Stored`.
    StoreBlob {
        /// Its digest.
        digest: BlobDigest,
        /// Its whole length in bytes.
        length: u64,
    },
    /// Fetch a blob from an offset. Answered by `Blob`, then the bytes.
    FetchBlob {
        /// Its digest.
        digest: BlobDigest,
        /// Bytes that the asker already has.
        offset: u64,
    },
    /// Submit a job. Answered by `Submitted`.
    SubmitJob {
        /// The job.
        spec: Box<JobSpec>,
    },
    /// Every job that the asker may see: an artist's own, for an admin all.
    /// Answered by `Jobs`.
    ListJobs,
    /// Answered by a `Job` whenever it changes, at most ten a second, until it
    /// ends.
    WatchJob {
        /// The job.
        job: JobId,
    },
    /// Change a job. Answered by `Done`.
    ChangeJob {
        /// The job.
        job: JobId,
        /// How.
        change: JobChange,
    },
    /// Fetch a delivered file of a frame. Answered by `Blob`, then the bytes.
    FetchFrame {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// Which file.
        file: FrameFile,
        /// For EXR, how the channels are stored.
        precision: Precision,
    },
    /// Certify another key for whoever asks. Answered by `Renewed`.
    RenewCertificate {
        /// PKCS #10, DER: the key to certify and the proof of holding it.
        signing_request: ByteBuf,
    },
    /// Every node that is connected or held back. Answered by `Nodes`.
    ListNodes,
    /// Hold a node back or let it work again; for admins. Answered by `Done`.
    ChangeNode {
        /// The node; it need not be connected.
        node: NodeId,
        /// How.
        change: NodeChange,
    },
}

/// What to do to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobChange {
    /// Grant no further tiles.
    Pause,
    /// Grant tiles again.
    Resume,
    /// Give it up.
    Cancel,
    /// Forget its failures and go on.
    Retry,
    /// Render tiles of it again.
    Rerender {
        /// Of these frames.
        frames: FrameRange,
        /// Those that touch these pixels; all where there is none.
        region: Option<Rect>,
    },
    /// Give it another priority.
    Prioritize {
        /// Higher goes first.
        priority: i32,
    },
    /// Give it another weight.
    Weigh {
        /// Its share beside jobs of the same priority.
        weight: u32,
    },
}

/// A file of a delivered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameFile {
    /// Scene-referred tiled EXR.
    Exr,
    /// Display-referred PNG.
    Png,
}

/// How an EXR stores its channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 16-bit float.
    Half,
    /// 32-bit float: the very bits that were rendered.
    #[default]
    Float,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The blobs that the master lacks.
    Missing {
        /// Their digests.
        digests: Vec<BlobDigest>,
    },
    /// Send the blob from this offset.
    StoreFrom {
        /// Bytes that are already here; the whole length when none is needed.
        offset: u64,
    },
    /// The blob is stored.
    Stored,
    /// `length` bytes follow.
    Blob {
        /// Bytes that follow.
        length: u64,
    },
    /// The key is certified.
    Renewed {
        /// X.509, DER.
        certificate: ByteBuf,
    },
    /// The job was accepted.
    Submitted {
        /// Its number.
        job: JobId,
    },
    /// Every job.
    Jobs {
        /// They.
        jobs: Vec<JobView>,
        /// The master's clock, for ages.
        now: Timestamp,
    },
    /// One job as it is now.
    Job {
        /// It.
        job: Box<JobView>,
        /// Nodes connected to the farm.
        nodes: u32,
        /// The adapters that work in the farm and their numeric classes.
        lanes: Vec<LaneDescription>,
    },
    /// The change was made (or was already so).
    Done,
    /// Every connected node.
    Nodes {
        /// They, with what they said of themselves.
        nodes: Vec<NodeListing>,
        /// Nodes that are held back and not connected.
        #[serde(default)]
        absent: Vec<AbsentNode>,
        /// The master's clock, for the ends of quarantines.
        #[serde(default)]
        now: Timestamp,
    },
    /// The request was refused.
    Refused {
        /// Why, for people.
        reason: String,
        /// What to do about it, if anything is known.
        hint: Option<String>,
    },
}

/// A node that people hold back and that is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentNode {
    /// Its identity.
    pub node: NodeId,
    /// How it is held back.
    pub standing: NodeStanding,
}

/// A connected node and what it said of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeListing {
    /// Its name, as its certificate has it.
    pub name: String,
    /// What the scheduler knows.
    pub view: NodeView,
    /// What it said of its adapters.
    pub lanes: Vec<LaneDescription>,
    /// Its software's version.
    pub version: String,
    /// Where it connects from.
    pub address: String,
}
