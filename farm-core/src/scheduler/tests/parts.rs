//! Leases of which nodes deliver a part and hand back the rest.

use super::*;
use crate::tile::BlockRange;

/// A farm whose node A holds the whole of a rectangle of 8 blocks.
fn farm_with_whole_lease() -> (Farm, Lease) {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 128));
    farm.join(A);
    let probe = farm.first_lease(A);
    farm.report(A, &probe, 1);
    let lease = farm.first_lease(A);
    assert_eq!(lease.tile.range, BlockRange::root(8));
    (farm, lease)
}

fn part(lease: &Lease, level: u8, index: u32) -> TileId {
    TileId { range: BlockRange { level, index }, ..lease.tile }
}

impl Farm {
    fn deliver_part(&mut self, node: NodeId, lease: &Lease, level: u8, index: u32) -> Verdict {
        self.effects();
        self.report_tile(node, lease.id, part(lease, level, index), 100);
        let settled = self.effects().into_iter().find_map(|effect| match effect {
            Effect::Settle { verdict, .. } => Some(verdict),
            _ => None,
        });
        settled.expect("every tile is answered")
    }

    fn ranges_of(&self, node: NodeId) -> Vec<(u8, u32)> {
        let ranges = self.leases_of(node).into_iter().map(|lease| lease.tile.range);
        ranges.map(|range| (range.level, range.index)).collect()
    }
}

#[test]
fn part_of_a_lease_is_accepted_and_the_rest_stays_lent_until_it_is_handed_back() {
    let (mut farm, lease) = farm_with_whole_lease();
    farm.handle(Command::RestNode(A));
    // Blocks 0 to 4 were whole when the node gave way, and arrive in any order.
    assert_eq!(farm.deliver_part(A, &lease, 0, 4), Verdict::Accepted);
    farm.join(B);
    while farm.first_lease(B).tile.rect != lease.tile.rect {
        let other = farm.first_lease(B);
        farm.report(B, &other, 1_000_000);
        if farm.leases_of(B).is_empty() {
            break;
        }
    }
    assert_eq!(farm.leases_of(B), [], "all that is left is lent to A");
    assert_eq!(farm.deliver_part(A, &lease, 2, 0), Verdict::Accepted);
    assert_eq!(farm.leases_of(B), []);
    farm.fail(A, &lease, FailureKind::HandedBack);
    let mut rest = Vec::new();
    while let Some(range) = farm.ranges_of(B).first().copied() {
        rest.push(range);
        let lease = farm.first_lease(B);
        farm.report(B, &lease, 1_000_000);
    }
    rest.sort_unstable();
    assert_eq!(rest, [(0, 5), (1, 3)], "blocks 5, 6 and 7");
    assert_eq!((farm.job().tiles_done, farm.job().samples_done), (4, farm.job().samples));
    assert_eq!(farm.job().failures, [""; 0]);
}

#[test]
fn parts_that_are_all_of_a_lease_end_it() {
    let (mut farm, lease) = farm_with_whole_lease();
    for (level, index) in [(1, 3), (2, 0), (0, 5), (0, 4)] {
        assert!(farm.scheduler.nodes().all(|node| node.leases == 1));
        assert_eq!(farm.deliver_part(A, &lease, level, index), Verdict::Accepted);
    }
    farm.leases.remove(&(A, lease.id));
    assert_ne!(farm.first_lease(A).id, lease.id, "its lane has room again");
    farm.finish_all(A, 1);
    assert_eq!(farm.job().samples_done, farm.job().samples);
}

#[test]
fn part_that_has_all_the_samples_of_a_range_ends_its_lease() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 33));
    farm.join(A);
    let first = farm.first_lease(A);
    farm.report(A, &first, 1);
    let lease =
        farm.leases_of(A).into_iter().find(|lease| lease.tile.range == BlockRange { level: 1, index: 1 });
    let lease = lease.unwrap_or_else(|| {
        let second = farm.first_lease(A);
        farm.report(A, &second, 1);
        farm.first_lease(A)
    });
    assert_eq!(lease.tile.range, BlockRange { level: 1, index: 1 }, "block 2; there is no block 3");
    farm.deliver_part(A, &lease, 0, 2);
    assert_eq!(
        farm.scheduler.nodes().map(|node| node.leases).sum::<u32>(),
        u32::from(farm.job().tiles_done == 0)
    );
}

#[test]
fn part_that_comes_twice_is_a_duplicate_and_one_outside_the_lease_is_rejected() {
    let (mut farm, lease) = farm_with_whole_lease();
    assert_eq!(farm.deliver_part(A, &lease, 1, 0), Verdict::Accepted);
    assert_eq!(farm.deliver_part(A, &lease, 1, 0), Verdict::Duplicate);
    let (mut farm, lease) = farm_with_whole_lease();
    let other = Lease { tile: TileId { rect: RectIndex(3), ..lease.tile }, ..lease.clone() };
    let rejected = Verdict::Rejected { reason: "the tile is not within the one that was leased".into() };
    assert_eq!(farm.deliver_part(A, &other, 0, 0), rejected);
}

#[test]
fn rest_of_a_lease_is_free_when_its_node_is_gone() {
    for rejoins in [false, true] {
        let (mut farm, lease) = farm_with_whole_lease();
        farm.deliver_part(A, &lease, 0, 0);
        if rejoins {
            farm.rejoin(A);
            assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: lease.id }));
            farm.leave(A);
        } else {
            farm.leave(A);
        }
        farm.join(B);
        farm.finish_all(B, 1);
        assert_eq!(farm.job().samples_done, farm.job().samples);
    }
}

#[test]
fn job_that_is_over_takes_a_parted_lease_back_once() {
    let (mut farm, lease) = farm_with_whole_lease();
    farm.deliver_part(A, &lease, 0, 3);
    farm.handle(Command::CancelJob { request: 1, job: JOB });
    let revokes = farm.effects().into_iter().filter(|effect| matches!(effect, Effect::Revoke { .. }));
    assert_eq!(revokes.collect::<Vec<_>>(), [Effect::Revoke { node: A, lease: lease.id }]);
}

#[test]
fn resting_node_is_granted_nothing_until_it_resumes() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 16));
    farm.join(A);
    let lease = farm.first_lease(A);
    farm.handle(Command::RestNode(A));
    farm.fail(A, &lease, FailureKind::HandedBack);
    assert_eq!(farm.leases_of(A), []);
    assert_eq!(farm.job().explanation, "waiting: every connected node is resting");
    assert_eq!(farm.scheduler.nodes().next().map(|node| node.standing), Some(NodeStanding::Resting));
    farm.handle(Command::ResumeNode(A));
    assert_eq!(farm.first_lease(A).tile, lease.tile);
    farm.handle(Command::RestNode(A));
    farm.leases.clear();
    farm.join(A);
    assert_eq!(farm.leases_of(A).len(), 1, "who joins anew works");
}
