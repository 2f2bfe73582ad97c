//! Every message and every fact survives the codec, also next to fields that
//! an older program does not know.

use std::fmt::Debug;
use std::num::NonZeroU32;

use farm_core::scheduler::{
    BlockedJob, Fact, FailureKind, HeldLease, JobShare, JobStatus, JobView, Lease, NodeChange, NodeStanding,
    NodeView,
};
use farm_core::{
    BlobDigest, BlockRange, FilmSettings, FrameNumber, FrameRange, FrameScene, JobId, JobSpec, LeaseId,
    Needs, NodeId, OwnerId, PixelFilter, Rect, RectIndex, RenderSettings, Resolution, TileId, Timestamp,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::seeds;
use crate::codec::{RESPONSE_LIMIT, decode, encode};
use crate::message::{
    AbsentNode, FrameFile, FromNode, JobChange, LaneDescription, NodeListing, Precision, Request, Response,
    TileHeader, ToNode, Verdict,
};

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let encoded = encode(value);
    seeds::of_value::<T>(&encoded);
    let decoded: T = decode(&encoded, RESPONSE_LIMIT).expect("what we encode decodes");
    prop_assert_eq!(&decoded, value);
    Ok(())
}

fn digest() -> impl Strategy<Value = BlobDigest> {
    any::<[u8; 32]>().prop_map(BlobDigest)
}

fn job() -> impl Strategy<Value = JobId> {
    any::<u64>().prop_map(JobId)
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn lease_id() -> impl Strategy<Value = LeaseId> {
    any::<u64>().prop_map(LeaseId)
}

fn frame() -> impl Strategy<Value = FrameNumber> {
    any::<u32>().prop_map(FrameNumber)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn tile() -> impl Strategy<Value = TileId> {
    (job(), frame(), any::<u32>(), 0..17u8, any::<u32>()).prop_map(|(job, frame, rect, level, index)| {
        TileId { job, frame, rect: RectIndex(rect), range: BlockRange { level, index } }
    })
}

fn rect() -> impl Strategy<Value = Rect> {
    any::<[u32; 4]>().prop_map(|[x, y, width, height]| Rect { x, y, width, height })
}

fn lease() -> impl Strategy<Value = Lease> {
    (lease_id(), tile(), rect()).prop_map(|(id, tile, rect)| Lease { id, tile, rect })
}

fn kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        Just(FailureKind::OutOfMemory),
        Just(FailureKind::DeviceLost),
        Just(FailureKind::DiskFull),
        Just(FailureKind::BlobUnavailable),
        Just(FailureKind::HandedBack),
        Just(FailureKind::Render),
    ]
}

fn settings() -> impl Strategy<Value = RenderSettings> {
    let filter =
        prop_oneof![Just(PixelFilter::Box), Just(PixelFilter::Gaussian), Just(PixelFilter::BlackmanHarris),];
    let clamp = any::<u32>().prop_map(NonZeroU32::new);
    let film = (any::<i32>(), clamp.clone(), clamp).prop_map(
        |(exposure_milli_ev, clamp_direct_milli, clamp_indirect_milli)| FilmSettings {
            exposure_milli_ev,
            clamp_direct_milli,
            clamp_indirect_milli,
        },
    );
    (any::<[u32; 4]>(), filter, any::<bool>(), film).prop_map(
        |([samples_per_pixel, seed, max_depth, camera], filter, transparent, film)| RenderSettings {
            samples_per_pixel,
            seed,
            max_depth,
            filter,
            camera,
            transparent,
            film,
        },
    )
}

fn spec() -> impl Strategy<Value = Box<JobSpec>> {
    let needs = (vec(text(), 0..3), any::<[u64; 2]>())
        .prop_map(|(tags, [memory_bytes, download_bytes])| Needs { tags, memory_bytes, download_bytes });
    let share = (any::<i32>(), any::<u32>(), needs);
    let shape = (any::<[u32; 3]>(), frame(), frame(), share);
    let frame_scene = (digest(), vec(digest(), 0..3)).prop_map(|(scene, blobs)| FrameScene { scene, blobs });
    let frame_scenes = vec(frame_scene, 0..3);
    (text(), digest(), vec(digest(), 0..5), frame_scenes, digest(), shape, settings()).prop_map(
        |(
            name,
            scene,
            blobs,
            frame_scenes,
            shader_digest,
            ([width, height, tile_size], first, last, (priority, weight, needs)),
            settings,
        )| {
            Box::new(JobSpec {
                name,
                scene,
                blobs,
                frame_scenes,
                shader_digest,
                resolution: Resolution { width, height },
                frames: FrameRange { first, last },
                tile_size,
                settings,
                priority,
                weight,
                needs,
            })
        },
    )
}

fn lane() -> impl Strategy<Value = LaneDescription> {
    (text(), text(), digest(), option::of(any::<u64>())).prop_map(
        |(adapter, backend, numeric_class, memory_bytes)| LaneDescription {
            adapter,
            backend,
            numeric_class,
            memory_bytes,
        },
    )
}

fn job_view() -> impl Strategy<Value = JobView> {
    let status = prop_oneof![
        Just(JobStatus::Waiting),
        Just(JobStatus::Running),
        Just(JobStatus::Stranded),
        Just(JobStatus::Paused),
        Just(JobStatus::Done),
        Just(JobStatus::Failed),
        Just(JobStatus::Cancelled),
    ];
    let lists = (vec((frame(), digest()), 0..4), vec(text(), 0..4));
    (job(), text(), status, text(), any::<i32>(), any::<[u64; 10]>(), lists).prop_map(
        |(job, name, status, explanation, priority, counts, (delivered, failures))| JobView {
            job,
            name,
            status,
            explanation,
            owner: Some(OwnerId(counts[1])).filter(|_| counts[2].is_multiple_of(2)),
            priority,
            share: JobShare { weight: 3, level: priority, per_mille: 250, delivered_s: 1.5 },
            submitted_at: Timestamp(counts[0]),
            frames_done: counts[1],
            frames: counts[2],
            tiles_done: counts[3],
            tiles: counts[4],
            samples_done: counts[5],
            samples: counts[6],
            rays: counts[7],
            render_us: counts[8],
            results: counts[9],
            left_ms: Some(counts[9]).filter(|left| left.is_multiple_of(2)),
            backup_samples: counts[8],
            delivered,
            failures,
        },
    )
}

fn frames() -> impl Strategy<Value = FrameRange> {
    (frame(), frame()).prop_map(|(first, last)| FrameRange { first, last })
}

fn region() -> impl Strategy<Value = Option<Rect>> {
    let rect = any::<[u32; 4]>().prop_map(|[x, y, width, height]| Rect { x, y, width, height });
    option::of(rect)
}

fn standing() -> impl Strategy<Value = NodeStanding> {
    prop_oneof![
        Just(NodeStanding::Working),
        Just(NodeStanding::Probation),
        Just(NodeStanding::Quarantined),
        Just(NodeStanding::Draining),
        Just(NodeStanding::Resting),
        Just(NodeStanding::Drained),
        Just(NodeStanding::Banned),
    ]
}

fn absent_node() -> impl Strategy<Value = AbsentNode> {
    (node(), standing()).prop_map(|(node, standing)| AbsentNode { node, standing })
}

fn node_change() -> impl Strategy<Value = NodeChange> {
    prop_oneof![
        Just(NodeChange::Drain),
        Just(NodeChange::Undrain),
        Just(NodeChange::Ban),
        Just(NodeChange::Forgive),
    ]
}

fn listing() -> impl Strategy<Value = NodeListing> {
    let until = option::of(any::<u64>().prop_map(Timestamp));
    let blocked = (job(), vec(kind(), 0..3)).prop_map(|(job, kinds)| BlockedJob { job, kinds });
    let standing = (standing(), until, vec(blocked, 0..3));
    let view = (node(), any::<[u32; 2]>(), standing, 0.0..1e15, any::<[u64; 2]>()).prop_map(
        |(node, [lanes, leases], standing, samples_per_second, [tiles, failures])| NodeView {
            node,
            lanes,
            leases,
            standing: standing.0,
            samples_per_second,
            tiles,
            failures,
            tags: vec!["gpu".into()],
            memory_bytes: Some(tiles),
            quarantined_until: standing.1,
            blocked: standing.2,
        },
    );
    (text(), view, vec(lane(), 0..3), text(), text())
        .prop_map(|(name, view, lanes, version, address)| NodeListing { name, view, lanes, version, address })
}

fn from_node() -> impl Strategy<Value = FromNode> {
    let held = (lease_id(), tile()).prop_map(|(lease, tile)| HeldLease { lease, tile });
    prop_oneof![
        (text(), digest(), vec(lane(), 0..3), vec(held, 0..3), vec(text(), 0..3), vec(digest(), 0..3))
            .prop_map(|(version, shader_digest, lanes, holding, tags, scenes)| FromNode::Hello {
                version,
                shader_digest,
                lanes,
                holding,
                tags,
                scenes
            }),
        (lease_id(), any::<u64>()).prop_map(|(lease, samples)| FromNode::Progress { lease, samples }),
        (lease_id(), kind(), text()).prop_map(|(lease, kind, message)| FromNode::Failed {
            lease,
            kind,
            message
        }),
        Just(FromNode::Draining),
        (lease_id(), tile()).prop_map(|(lease, tile)| FromNode::EmptyTile { lease, tile }),
        Just(FromNode::Resting),
        Just(FromNode::Resumed),
    ]
}

fn to_node() -> impl Strategy<Value = ToNode> {
    let verdict = prop_oneof![
        Just(Verdict::Accepted),
        Just(Verdict::Duplicate),
        text().prop_map(|reason| Verdict::Rejected { reason }),
    ];
    prop_oneof![
        (text(), node()).prop_map(|(version, node)| ToNode::Welcome { version, node }),
        (job(), spec()).prop_map(|(job, spec)| ToNode::Job { job, spec }),
        lease().prop_map(|lease| ToNode::Granted { lease }),
        lease_id().prop_map(|lease| ToNode::Revoked { lease }),
        (lease_id(), verdict).prop_map(|(lease, verdict)| ToNode::Settled { lease, verdict }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let change = prop_oneof![
        Just(JobChange::Pause),
        Just(JobChange::Resume),
        Just(JobChange::Cancel),
        Just(JobChange::Retry),
        any::<i32>().prop_map(|priority| JobChange::Prioritize { priority }),
        any::<u32>().prop_map(|weight| JobChange::Weigh { weight }),
        (frames(), region()).prop_map(|(frames, region)| JobChange::Rerender { frames, region }),
    ];
    let file = prop_oneof![Just(FrameFile::Exr), Just(FrameFile::Png)];
    let precision = prop_oneof![Just(Precision::Half), Just(Precision::Float)];
    prop_oneof![
        vec(digest(), 0..5).prop_map(|digests| Request::FindMissing { digests }),
        (digest(), any::<u64>()).prop_map(|(digest, length)| Request::StoreBlob { digest, length }),
        (digest(), any::<u64>()).prop_map(|(digest, offset)| Request::FetchBlob { digest, offset }),
        spec().prop_map(|spec| Request::SubmitJob { spec }),
        Just(Request::ListJobs),
        job().prop_map(|job| Request::WatchJob { job }),
        (job(), change).prop_map(|(job, change)| Request::ChangeJob { job, change }),
        (job(), frame(), file, precision).prop_map(|(job, frame, file, precision)| Request::FetchFrame {
            job,
            frame,
            file,
            precision
        }),
        Just(Request::ListNodes),
        (node(), node_change()).prop_map(|(node, change)| Request::ChangeNode { node, change }),
        vec(any::<u8>(), 0..64).prop_map(|bytes| Request::RenewCertificate { signing_request: bytes.into() }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        vec(digest(), 0..5).prop_map(|digests| Response::Missing { digests }),
        any::<u64>().prop_map(|offset| Response::StoreFrom { offset }),
        Just(Response::Stored),
        any::<u64>().prop_map(|length| Response::Blob { length }),
        job().prop_map(|job| Response::Submitted { job }),
        (vec(job_view(), 0..3), any::<u64>())
            .prop_map(|(jobs, now)| Response::Jobs { jobs, now: Timestamp(now) }),
        (job_view(), any::<u32>(), vec(lane(), 0..3)).prop_map(|(job, nodes, lanes)| Response::Job {
            job: Box::new(job),
            nodes,
            lanes
        }),
        Just(Response::Done),
        (vec(listing(), 0..3), vec(absent_node(), 0..3), any::<u64>())
            .prop_map(|(nodes, absent, now)| Response::Nodes { nodes, absent, now: Timestamp(now) }),
        (text(), option::of(text())).prop_map(|(reason, hint)| Response::Refused { reason, hint }),
    ]
}

fn tile_header() -> impl Strategy<Value = TileHeader> {
    (lease_id(), tile(), digest(), any::<[u64; 3]>()).prop_map(
        |(lease, tile, digest, [length, rays, render_us])| TileHeader {
            lease,
            tile,
            digest,
            length,
            rays,
            render_us,
        },
    )
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (job(), any::<u64>(), spec(), any::<Option<u64>>()).prop_map(|(job, at, spec, owner)| {
            Fact::JobSubmitted { job, at: Timestamp(at), spec, owner: owner.map(OwnerId) }
        }),
        job().prop_map(|job| Fact::JobPaused { job }),
        job().prop_map(|job| Fact::JobResumed { job }),
        job().prop_map(|job| Fact::JobCancelled { job }),
        job().prop_map(|job| Fact::JobRetried { job }),
        (job(), any::<i32>()).prop_map(|(job, priority)| Fact::JobPrioritized { job, priority }),
        (job(), any::<u32>()).prop_map(|(job, weight)| Fact::JobWeighted { job, weight }),
        (job(), frames(), region()).prop_map(|(job, frames, region)| Fact::TilesForgotten {
            job,
            frames,
            region
        }),
        node().prop_map(|node| Fact::NodeDrained { node }),
        node().prop_map(|node| Fact::NodeUndrained { node }),
        node().prop_map(|node| Fact::NodeBanned { node }),
        node().prop_map(|node| Fact::NodeForgiven { node }),
        (tile(), node(), digest(), any::<[u64; 2]>()).prop_map(|(tile, node, blob, [rays, render_us])| {
            Fact::TileAccepted { tile, node, blob, rays, render_us }
        }),
        (tile(), node(), kind(), text()).prop_map(|(tile, node, kind, message)| Fact::TileFailed {
            tile,
            node,
            kind,
            message
        }),
        (job(), frame(), digest()).prop_map(|(job, frame, pixel_digest)| Fact::FrameDelivered {
            job,
            frame,
            pixel_digest
        }),
    ]
}

proptest! {
    #[test]
    fn messages_of_nodes_survive(from in from_node(), to in to_node(), header in tile_header()) {
        survives(&from)?;
        survives(&to)?;
        survives(&header)?;
    }

    #[test]
    fn messages_of_artists_survive(request in request(), response in response()) {
        survives(&request)?;
        survives(&response)?;
    }

    #[test]
    fn facts_survive(fact in fact()) {
        survives(&fact)?;
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<Request>(&bytes, RESPONSE_LIMIT);
        let _ = decode::<FromNode>(&bytes, RESPONSE_LIMIT);
        let _ = decode::<Response>(&bytes, RESPONSE_LIMIT);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(
        request in request(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&request);
        let place = place.index(bytes.len());
        prop_assert!(decode::<Request>(&bytes[..place], RESPONSE_LIMIT).is_err());
        bytes[place] = byte;
        let _ = decode::<Request>(&bytes, RESPONSE_LIMIT);
    }
}

/// A job of one scene.
fn still(blobs: Vec<BlobDigest>) -> JobSpec {
    JobSpec {
        name: "kitchen".into(),
        scene: BlobDigest([1; 32]),
        blobs,
        frame_scenes: Vec::new(),
        shader_digest: BlobDigest([2; 32]),
        resolution: Resolution { width: 1, height: 1 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 8,
        settings: RenderSettings {
            samples_per_pixel: 1,
            seed: 0,
            max_depth: 1,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Needs::default(),
    }
}

#[test]
fn the_longest_job_fits_a_request() {
    let digest = |i: u32| BlobDigest([u8::try_from(i % 256).expect("a byte"); 32]);
    let blobs: Vec<BlobDigest> = (0..65_536).map(digest).collect();
    let request = Request::FindMissing { digests: blobs.clone() };
    assert!(encode(&request).len() < crate::codec::REQUEST_LIMIT);
    let request = Request::SubmitJob { spec: Box::new(still(blobs)) };
    assert!(encode(&request).len() < crate::codec::REQUEST_LIMIT);
    // A manifest for each frame takes the most room.
    let frame_scenes = (0..65_536).map(|i| FrameScene { scene: digest(i), blobs: Vec::new() }).collect();
    let request = Request::SubmitJob { spec: Box::new(JobSpec { frame_scenes, ..still(Vec::new()) }) };
    assert!(encode(&request).len() < crate::codec::REQUEST_LIMIT);
}

/// Journals and programs from before frames had scenes of their own.
#[test]
fn jobs_of_one_scene_are_written_as_they_ever_were() {
    let spec = still(vec![BlobDigest([3; 32])]);
    let bytes = encode(&spec);
    assert!(!bytes.windows(12).any(|window| window == b"frame_scenes"));
    assert_eq!(decode::<JobSpec>(&bytes, RESPONSE_LIMIT).expect("nothing is missing"), spec);
}

/// Journals and programs from before there were settings of the film, and the other
/// way round: what an older program does not know it must not be asked for.
#[test]
fn settings_of_a_plain_film_are_written_as_they_ever_were() {
    #[derive(Serialize)]
    struct Older {
        samples_per_pixel: u32,
        seed: u32,
        max_depth: u32,
        filter: PixelFilter,
        camera: u32,
        transparent: bool,
    }
    let plain = still(Vec::new()).settings;
    let RenderSettings { samples_per_pixel, seed, max_depth, filter, camera, transparent, film: _ } = plain;
    let older = encode(&Older { samples_per_pixel, seed, max_depth, filter, camera, transparent });
    assert_eq!(encode(&plain), older);
    assert_eq!(decode::<RenderSettings>(&older, RESPONSE_LIMIT).expect("nothing is missing"), plain);
    let film = FilmSettings { clamp_indirect_milli: NonZeroU32::new(1), ..FilmSettings::default() };
    let clamped = RenderSettings { film, ..plain };
    assert_eq!(decode::<RenderSettings>(&encode(&clamped), RESPONSE_LIMIT).expect("understood"), clamped);
}

/// What a newer program may send: a field more.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum NewerFromNode {
    Progress { lease: LeaseId, watts: Vec<(String, f32)>, samples: u64 },
}

#[test]
fn fields_of_a_newer_program_are_ignored() {
    let newer = NewerFromNode::Progress { lease: LeaseId(1), watts: vec![("gpu".into(), 300.0)], samples: 2 };
    let older: FromNode = decode(&encode(&newer), 1000).expect("understood");
    assert_eq!(older, FromNode::Progress { lease: LeaseId(1), samples: 2 });
}
