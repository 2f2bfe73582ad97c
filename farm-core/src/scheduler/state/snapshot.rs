//! The recorded state as a list of parts of bounded size, from which it is
//! built again.
//!
//! Parts hold what the facts said and nothing that follows from it: what a
//! job's plan, its tiles and the limits determine is computed anew. Taking a
//! state apart and putting it together both name every field, so one that is
//! added to the state does not compile until it is kept here too.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Accepted, FrameRecord, Hold, JobRecord, State, Strikes};
use crate::id::{BlobDigest, FrameNumber, JobId, NodeId, OwnerId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::scheduler::{Fact, FailureKind};
use crate::tile::{BlockRange, RectIndex, TileId};
use crate::time::Timestamp;

/// The version of the form of [`SnapshotPart`]. Any addition to it, even a field
/// with a default, has a new number: a program that does not know it must not
/// go on without. Earlier forms are read as well, so what is added has a default.
/// Version 2 knows of weights and needs of jobs, version 3 of failures of nodes,
/// version 4 of owners of jobs.
pub const SNAPSHOT_VERSION: u32 = 4;

/// Entries of one part: 4096 tiles of about 100 bytes are 400 KiB, written in a
/// few milliseconds.
const ENTRIES_PER_PART: usize = 4096;

/// A part of a snapshot. A job comes before the lists that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SnapshotPart {
    /// A job without its lists.
    Job(Box<JobPart>),
    /// Delivered frames of a job.
    Delivered {
        /// The job.
        job: JobId,
        /// Each frame with the BLAKE3 of its final pixels.
        frames: Vec<(FrameNumber, BlobDigest)>,
    },
    /// Rectangles of a frame that was delivered before and is not now: they are in its
    /// file.
    Kept {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// The rectangles.
        rects: Vec<RectIndex>,
    },
    /// Accepted tiles of a frame that is not delivered.
    Tiles {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// The tiles, by rectangle and first block.
        tiles: Vec<TilePart>,
    },
    /// Rectangles of a job that failed somewhere and are not complete.
    Strikes {
        /// The job.
        job: JobId,
        /// The rectangles, by frame.
        strikes: Vec<StrikePart>,
    },
    /// Failures on a job that may be its fault or a node's. Since version 3.
    FailureCounts {
        /// The job.
        job: JobId,
        /// How often each node failed, less what it did well.
        counts: Vec<FailureCountPart>,
    },
    /// Nodes that people hold back.
    Holds {
        /// The nodes.
        nodes: Vec<HoldPart>,
    },
}

/// How often a node failed on a job by one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureCountPart {
    /// The node.
    pub node: NodeId,
    /// The kind.
    pub kind: FailureKind,
    /// Eight for each failure, less one for each accepted tile.
    pub weight: u32,
}

/// How people hold a node back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldPart {
    /// The node.
    pub node: NodeId,
    /// Whether it is drained.
    pub drained: bool,
    /// Whether it is banned.
    pub banned: bool,
}

/// What is recorded of a job beside its lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobPart {
    /// Its number.
    pub job: JobId,
    /// What it is.
    pub spec: JobSpec,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Whether a person paused it.
    pub paused: bool,
    /// Whether a person cancelled it.
    pub cancelled: bool,
    /// Messages of failures, latest last.
    pub failures: Vec<String>,
    /// Rectangles completed, those of delivered frames too.
    pub rects_done: u64,
    /// Samples accepted.
    pub samples_done: u64,
    /// Rays traced in accepted tiles.
    pub rays: u64,
    /// Time on adapters in accepted tiles, in microseconds.
    pub render_us: u64,
    /// Results accepted.
    pub results: u64,
    /// Who submitted it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
}

/// An accepted tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TilePart {
    /// Its rectangle.
    pub rect: RectIndex,
    /// Its base blocks.
    pub range: BlockRange,
    /// Its EXR.
    pub blob: BlobDigest,
    /// Who rendered it.
    pub node: NodeId,
}

/// A rectangle that failed somewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrikePart {
    /// Its frame.
    pub frame: FrameNumber,
    /// Its place in the frame.
    pub rect: RectIndex,
    /// Distinct nodes that it failed on.
    pub nodes: Vec<NodeId>,
    /// How often it failed in all.
    pub attempts: u32,
}

/// What a state is restored from: the parts of a snapshot, if there is one, and
/// then the facts after it.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A part of the snapshot.
    Snapshot(SnapshotPart),
    /// A fact that is not in the snapshot.
    Fact(Fact),
}

/// A snapshot that does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A list belongs to a job that no part before it introduced.
    #[error("a part of the snapshot belongs to job {0}, which is not in it")]
    UnknownJob(JobId),
    /// A part of a snapshot comes after a fact.
    #[error("a part of the snapshot comes after facts")]
    LatePart,
}

impl State {
    /// Builds the state that a snapshot and the facts after it describe.
    ///
    /// `limits` decide anew which rectangles failed too often and how many
    /// messages are kept, as they do when facts are replayed.
    ///
    /// # Errors
    /// The entries are not a whole snapshot followed by facts.
    pub fn restore(entries: impl IntoIterator<Item = Entry>, limits: &Limits) -> Result<Self, SnapshotError> {
        let mut state = Self::new(limits);
        let mut facts_began = false;
        for entry in entries {
            match entry {
                Entry::Snapshot(_) if facts_began => return Err(SnapshotError::LatePart),
                Entry::Snapshot(part) => state.take_part(part)?,
                Entry::Fact(fact) => {
                    facts_began = true;
                    state.apply(&fact);
                }
            }
        }
        Ok(state)
    }

    /// The state as parts; [`State::restore`] makes an equal state of them.
    pub fn snapshot(&self) -> impl Iterator<Item = SnapshotPart> + '_ {
        // The limits are the next life's own, and `open_jobs` is counted again.
        let Self {
            strikes_per_tile: _,
            attempts_per_tile: _,
            failure_messages: _,
            jobs,
            open_jobs: _,
            held_back,
        } = self;
        let holds = chunks(held_back.iter().map(|(node, hold)| hold.part(*node)));
        let holds = holds.map(|nodes| SnapshotPart::Holds { nodes });
        jobs.iter().flat_map(|(job, record)| record.parts(*job)).chain(holds)
    }

    /// How many entries a snapshot has: jobs, frames, tiles, strikes and nodes.
    #[must_use]
    pub fn snapshot_entries(&self) -> u64 {
        let entries = |record: &JobRecord| {
            let in_frames = |frame: &FrameRecord| frame.tiles.len() + frame.kept.len();
            let in_frames: usize = record.frames.values().map(in_frames).sum();
            let failed = record.failed_on.weights().len();
            1 + (record.delivered.len() + in_frames + record.strikes.len() + failed) as u64
        };
        self.jobs.values().map(entries).sum::<u64>() + self.held_back.len() as u64
    }

    fn take_part(&mut self, part: SnapshotPart) -> Result<(), SnapshotError> {
        match part {
            SnapshotPart::Job(part) => {
                let job = part.job;
                let record = JobRecord::from_part(*part, self.failure_messages);
                self.open_jobs += u64::from(!record.cancelled);
                self.jobs.insert(job, record);
            }
            SnapshotPart::Delivered { job, frames } => {
                self.introduced(job)?;
                self.change(job, |record| record.delivered.extend(frames));
            }
            SnapshotPart::Kept { job, frame, rects: kept } => {
                let record = self.introduced(job)?;
                let (rects, blocks) = (record.rects, record.blocks);
                let frame_record = record.frames.entry(frame).or_insert_with(|| FrameRecord::new(rects));
                kept.into_iter().for_each(|rect| frame_record.keep(rect, blocks));
            }
            SnapshotPart::Tiles { job, frame, tiles } => {
                let record = self.introduced(job)?;
                let (rects, blocks) = (record.rects, record.blocks);
                let frame_record = record.frames.entry(frame).or_insert_with(|| FrameRecord::new(rects));
                for TilePart { rect, range, blob, node } in tiles {
                    let tile = TileId { job, frame, rect, range };
                    frame_record.accept(&tile, Accepted { range, blob, node }, blocks);
                }
            }
            SnapshotPart::Strikes { job, strikes } => {
                let (nodes, attempts) = (self.strikes_per_tile, self.attempts_per_tile);
                let record = self.introduced(job)?;
                strikes.into_iter().for_each(|part| record.take_strikes(part, nodes, attempts));
            }
            SnapshotPart::FailureCounts { job, counts } => {
                let record = self.introduced(job)?;
                for FailureCountPart { node, kind, weight } in counts {
                    record.failed_on.put(node, kind, weight);
                }
            }
            SnapshotPart::Holds { nodes } => {
                let holds = nodes
                    .into_iter()
                    .map(|HoldPart { node, drained, banned }| (node, Hold { drained, banned }));
                self.held_back.extend(holds);
            }
        }
        Ok(())
    }

    fn introduced(&mut self, job: JobId) -> Result<&mut JobRecord, SnapshotError> {
        self.jobs.get_mut(&job).ok_or(SnapshotError::UnknownJob(job))
    }
}

impl JobRecord {
    fn parts(&self, job: JobId) -> impl Iterator<Item = SnapshotPart> + '_ {
        let Self {
            spec,
            submitted_at,
            owner,
            paused,
            cancelled,
            rects: _,   // Of the spec's plan.
            columns: _, // Likewise.
            blocks: _,  // Of the spec's settings.
            frames,
            delivered,
            strikes,
            struck_out: _, // By the limits, of `strikes`.
            failures,
            failed_on,
            rects_done,
            samples_done,
            rays,
            render_us,
            results,
        } = self;
        let head = SnapshotPart::Job(Box::new(JobPart {
            job,
            spec: (**spec).clone(),
            submitted_at: *submitted_at,
            paused: *paused,
            cancelled: *cancelled,
            failures: failures.iter().cloned().collect(),
            rects_done: *rects_done,
            samples_done: *samples_done,
            rays: *rays,
            render_us: *render_us,
            results: *results,
            owner: *owner,
        }));
        let delivered = delivered.iter().map(|(frame, digest)| (*frame, *digest));
        let delivered = chunks(delivered).map(move |frames| SnapshotPart::Delivered { job, frames });
        let tiles = frames.iter().flat_map(move |(frame, record)| record.parts(job, *frame));
        let strikes = chunks(strikes.iter().map(|((frame, rect), strikes)| strikes.part(*frame, *rect)));
        let strikes = strikes.map(move |strikes| SnapshotPart::Strikes { job, strikes });
        let counts = failed_on.weights();
        let counts = chunks(counts.map(|(node, kind, weight)| FailureCountPart { node, kind, weight }));
        let counts = counts.map(move |counts| SnapshotPart::FailureCounts { job, counts });
        std::iter::once(head).chain(delivered).chain(tiles).chain(strikes).chain(counts)
    }

    fn from_part(part: JobPart, failure_messages: usize) -> Self {
        let JobPart {
            job: _, // Its key.
            spec,
            submitted_at,
            paused,
            cancelled,
            failures,
            rects_done,
            samples_done,
            rays,
            render_us,
            results,
            owner,
        } = part;
        let too_many = failures.len().saturating_sub(failure_messages);
        Self {
            paused,
            cancelled,
            failures: VecDeque::from(failures).split_off(too_many),
            rects_done,
            samples_done,
            rays,
            render_us,
            results,
            ..Self::new(Box::new(spec), submitted_at, owner)
        }
    }

    fn take_strikes(&mut self, part: StrikePart, strikes_per_tile: usize, attempts_per_tile: u32) {
        let StrikePart { frame, rect, nodes, attempts } = part;
        let strikes = Strikes { nodes: nodes.into_iter().take(strikes_per_tile).collect(), attempts };
        if strikes.is_out(strikes_per_tile, attempts_per_tile) {
            self.struck_out.insert((frame, rect));
        }
        self.strikes.insert((frame, rect), strikes);
    }
}

impl FrameRecord {
    fn parts(&self, job: JobId, frame: FrameNumber) -> impl Iterator<Item = SnapshotPart> + '_ {
        // Both counts are sums over the tiles and what is kept.
        let Self { tiles, kept, blocks_done: _, rects_done: _ } = self;
        let kept = chunks(kept.iter().copied());
        let kept = kept.map(move |rects| SnapshotPart::Kept { job, frame, rects });
        let tiles = tiles.iter().map(|(&(rect, _), &Accepted { range, blob, node })| TilePart {
            rect,
            range,
            blob,
            node,
        });
        kept.chain(chunks(tiles).map(move |tiles| SnapshotPart::Tiles { job, frame, tiles }))
    }
}

impl Hold {
    fn part(self, node: NodeId) -> HoldPart {
        let Self { drained, banned } = self;
        HoldPart { node, drained, banned }
    }
}

impl Strikes {
    fn part(&self, frame: FrameNumber, rect: RectIndex) -> StrikePart {
        let Self { nodes, attempts } = self;
        StrikePart { frame, rect, nodes: nodes.iter().copied().collect(), attempts: *attempts }
    }
}

/// The items in lists of [`ENTRIES_PER_PART`], the last one shorter.
fn chunks<T>(mut items: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(ENTRIES_PER_PART).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
