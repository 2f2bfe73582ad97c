//! Records: what stands in a row of the journal's tables, and how it is read
//! again or refused.

use farm_core::JobSpec;
use farm_core::scheduler::{Fact, SNAPSHOT_VERSION, SnapshotPart};
use farm_wire::codec;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::JournalError;

/// The first version of records of facts: a fact in MessagePack with named
/// fields.
const FIRST_FACTS: i64 = 1;

/// The version of record 1 once a snapshot stands for it. The record holds
/// nothing; it makes a program that knows no snapshots name a version that it
/// does not know, where it would else miss a record and ask for a backup.
pub(super) const COMPACTED: i64 = 2;

/// The version of the facts that record what people did to priorities, to nodes and
/// to what was rendered.
const FACTS_OF_CHANGES: i64 = 3;

/// The version of the facts that know of shares and pools: jobs of another
/// weight than the usual, or that need something of a node.
const FACTS_OF_SHARES: i64 = 4;

/// The version of the facts that know whose a job is.
const FACTS_OF_OWNERS: i64 = 5;

/// The latest version of records of facts.
pub(super) const FACT_VERSION: i64 = FACTS_OF_OWNERS;

/// The latest version of parts of snapshots: a [`SnapshotPart`] in MessagePack
/// with named fields. Those before it are read too.
pub(super) const PART_VERSION: i64 = SNAPSHOT_VERSION as i64;

/// The first version of parts of snapshots.
const FIRST_PARTS: i64 = 1;

/// The version of the parts that know of shares and pools.
const PARTS_OF_SHARES: i64 = 2;

/// The version of parts that count the failures of nodes.
const PARTS_OF_FAILURES: i64 = 3;

/// The version of the parts that know whose a job is.
const PARTS_OF_OWNERS: i64 = 4;

/// Longest record. A job of 65,536 blobs, 34 bytes each, is a little over 2 MiB.
const RECORD_BYTES: usize = 16 << 20;

/// The version that a fact's record carries: the first that knows its kind, so
/// that an earlier program names the version and takes nothing for damage. A
/// kind that is not here yet gets a number of its own, after [`COMPACTED`].
pub(super) fn fact_version(fact: &Fact) -> i64 {
    match fact {
        Fact::JobSubmitted { owner: Some(_), .. } => FACTS_OF_OWNERS,
        Fact::JobSubmitted { spec, .. } if knows_shares(spec) => FACTS_OF_SHARES,
        Fact::JobWeighted { .. } => FACTS_OF_SHARES,
        Fact::JobSubmitted { .. }
        | Fact::JobPaused { .. }
        | Fact::JobResumed { .. }
        | Fact::JobCancelled { .. }
        | Fact::JobRetried { .. }
        | Fact::TileAccepted { .. }
        | Fact::TileFailed { .. }
        | Fact::FrameDelivered { .. } => FIRST_FACTS,
        Fact::JobPrioritized { .. }
        | Fact::TilesForgotten { .. }
        | Fact::NodeDrained { .. }
        | Fact::NodeUndrained { .. }
        | Fact::NodeBanned { .. }
        | Fact::NodeForgiven { .. } => FACTS_OF_CHANGES,
    }
}

/// The version that a part of a snapshot carries: the first that knows all that
/// is in it.
pub(super) fn part_version(part: &SnapshotPart) -> i64 {
    match part {
        SnapshotPart::Job(part) if part.owner.is_some() => PARTS_OF_OWNERS,
        SnapshotPart::Job(part) if knows_shares(&part.spec) => PARTS_OF_SHARES,
        SnapshotPart::Job(_)
        | SnapshotPart::Delivered { .. }
        | SnapshotPart::Kept { .. }
        | SnapshotPart::Tiles { .. }
        | SnapshotPart::Strikes { .. }
        | SnapshotPart::Holds { .. } => FIRST_PARTS,
        SnapshotPart::FailureCounts { .. } => PARTS_OF_FAILURES,
    }
}

/// Whether a job says what those before shares and pools could not.
fn knows_shares(spec: &JobSpec) -> bool {
    spec.weight != 1 || !spec.needs.is_nothing()
}

/// One record of a fact, which must be number `expected`, undamaged and of a
/// known version.
pub(super) fn read_fact(row: &SqliteRow, expected: i64) -> Result<Fact, JournalError> {
    let sequence: i64 = row.try_get(0).map_err(JournalError::Read)?;
    if sequence != expected {
        return Err(JournalError::Missing { sequence: expected });
    }
    let damaged = |reason| JournalError::Damaged { sequence, reason };
    let (version, payload) = read(row, |version, payload| checksum(sequence, version, payload));
    let payload = payload.map_err(damaged)?;
    match version {
        FIRST_FACTS | FACTS_OF_CHANGES | FACTS_OF_SHARES | FACTS_OF_OWNERS => {
            codec::decode(payload, RECORD_BYTES).map_err(|error| damaged(error.to_string()))
        }
        // It stood for a snapshot, which is not there any more.
        COMPACTED => Err(JournalError::Missing { sequence }),
        _ => Err(JournalError::UnknownVersion { sequence, version, known: FACT_VERSION }),
    }
}

/// Part `expected` of the snapshot at `position`.
pub(super) fn read_part(row: &SqliteRow, position: i64, expected: i64) -> Result<SnapshotPart, JournalError> {
    let part: i64 = row.try_get(0).map_err(JournalError::Read)?;
    let damaged = |reason: String| JournalError::DamagedSnapshot { position, part: expected, reason };
    if part != expected {
        return Err(damaged("it is missing".into()));
    }
    let (version, payload) = read(row, |version, payload| part_checksum(position, part, version, payload));
    let payload = payload.map_err(damaged)?;
    // Earlier forms lack fields and kinds of parts that have defaults.
    if !(1..=PART_VERSION).contains(&version) {
        return Err(JournalError::UnknownSnapshot { position, version, known: PART_VERSION });
    }
    codec::decode(payload, RECORD_BYTES).map_err(|error| damaged(error.to_string()))
}

/// Version and payload of a row (number, version, checksum, payload), or what
/// is wrong with it.
fn read(row: &SqliteRow, checksum: impl Fn(i64, &[u8]) -> i64) -> (i64, Result<&[u8], String>) {
    let column = |error: sqlx::Error| error.to_string();
    let version: i64 = row.try_get(1).unwrap_or_default();
    let payload = row.try_get(3).map_err(column).and_then(|payload: &[u8]| {
        let stored: i64 = row.try_get(2).map_err(column)?;
        let right = stored == checksum(version, payload);
        right.then_some(payload).ok_or_else(|| "its checksum is wrong".to_owned())
    });
    (version, payload)
}

/// The first 64 bits of a BLAKE3 over a record and its place. SQLite has no
/// checksums of its own, and a flipped bit may well decode.
pub(super) fn checksum(sequence: i64, version: i64, payload: &[u8]) -> i64 {
    hash(&[sequence, version], payload)
}

/// As [`checksum`], of a part of a snapshot.
pub(super) fn part_checksum(position: i64, part: i64, version: i64, payload: &[u8]) -> i64 {
    hash(&[position, part, version], payload)
}

fn hash(place: &[i64], payload: &[u8]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for number in place {
        hasher.update(&number.to_le_bytes());
    }
    let first = hasher.update(payload).finalize().as_bytes().first_chunk().copied();
    i64::from_le_bytes(first.expect("a digest has 32 bytes"))
}
