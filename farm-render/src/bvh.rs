//! Compressed wide trees over boxes, the same on every machine: obvhs's builder
//! on one thread, and a plain median split where its input would make it slow
//! or its tree deep.

use glam::Vec3A;
use obvhs::aabb::Aabb;
use obvhs::bvh2::node::Bvh2Node;
use obvhs::bvh2::{Bvh2, reinsertion::ReinsertionOptimizer};
use obvhs::cwbvh::bvh2_to_cwbvh::bvh2_to_cwbvh;
use obvhs::cwbvh::node::CwBvhNode;
use obvhs::ploc::{PlocBuilder, PlocSearchDistance, SortPrecision};

/// Coordinates beyond this would overflow the areas that builders compare.
pub(crate) const FARTHEST: f32 = 1.0e15;

/// Levels of a tree over one mesh, and of the tree over the world. The kernel's
/// stack has 40 entries: one for each level of both, and one for the rest of
/// the group that an instance was taken from.
pub(crate) const MESH_LEVELS: u32 = 17;
pub(crate) const WORLD_LEVELS: u32 = 22;

/// Levels of a binary tree that the conversion, which recurses, is given.
const BINARY_LEVELS: u32 = 512;

/// Boxes with one centre that clustering is given: it pairs neighbours and may
/// need a pass over everything for each of many coinciding ones.
const COINCIDING: usize = 256;

/// A tree over boxes.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The nodes, root first.
    pub(crate) nodes: Vec<CwBvhNode>,
    /// The boxes in the order in which the leaves name them.
    pub(crate) order: Vec<u32>,
}

/// Builds a tree of at most `levels` levels over boxes whose corners are finite
/// and within [`FARTHEST`]; `None` where there is no box or no such tree.
pub(crate) fn build(boxes: &[Aabb], levels: u32) -> Option<Tree> {
    if boxes.is_empty() {
        return None;
    }
    if longest_coincidence(boxes) <= COINCIDING {
        let binary = cluster(boxes);
        if binary_levels(&binary) <= BINARY_LEVELS {
            let tree = compress(&binary);
            if wide_levels(&tree.nodes) <= levels {
                return Some(tree);
            }
        }
        tracing::debug!(boxes = boxes.len(), "the clustered tree is too deep");
    }
    let tree = compress(&split_at_medians(boxes));
    (wide_levels(&tree.nodes) <= levels).then_some(tree)
}

/// Parallel locally-ordered clustering with some reinsertion, on one thread.
fn cluster(boxes: &[Aabb]) -> Bvh2 {
    let indices = (0..index(boxes.len())).collect();
    let mut binary = PlocBuilder::with_capacity(boxes.len()).build(
        PlocSearchDistance::Low,
        boxes,
        indices,
        SortPrecision::U64,
        2,
    );
    ReinsertionOptimizer::default().run(&mut binary, 0.02, None);
    binary
}

fn compress(binary: &Bvh2) -> Tree {
    let wide = bvh2_to_cwbvh(binary, 3, true, false);
    Tree { nodes: wide.nodes, order: wide.primitive_indices }
}

/// The most boxes that share a centre, as finely as clustering sees it.
fn longest_coincidence(boxes: &[Aabb]) -> usize {
    let mut total = Aabb::empty();
    for aabb in boxes {
        total.extend(aabb.min);
        total.extend(aabb.max);
    }
    let scale = Vec3A::splat(2_097_151.0) / total.diagonal().max(Vec3A::splat(1e-30));
    let mut keys: Vec<u64> = boxes
        .iter()
        .map(|aabb| {
            let cell = ((aabb.center() - total.min) * scale).as_uvec3();
            u64::from(cell.x) << 42 | u64::from(cell.y) << 21 | u64::from(cell.z)
        })
        .collect();
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or(0)
}

/// A balanced binary tree: halves along the longest axis of the centres.
fn split_at_medians(boxes: &[Aabb]) -> Bvh2 {
    let mut indices: Vec<u32> = (0..index(boxes.len())).collect();
    let mut nodes = vec![Bvh2Node::default()];
    let mut open = vec![(0_usize, 0..indices.len())];
    while let Some((node, range)) = open.pop() {
        let (bounds, centres) = bounds_of(boxes, &indices[range.clone()]);
        if range.len() == 1 {
            nodes[node] = Bvh2Node::new(bounds, 1, index(range.start));
            continue;
        }
        let size = centres.diagonal();
        let axis = (0..3).max_by(|&a, &b| size[a].total_cmp(&size[b])).unwrap_or(0);
        let half = range.len() / 2;
        indices[range.clone()].select_nth_unstable_by(half, |&a, &b| {
            let centre = |i: u32| boxes[i as usize].center()[axis];
            centre(a).total_cmp(&centre(b)).then(a.cmp(&b))
        });
        let first = nodes.len();
        nodes.resize(first + 2, Bvh2Node::default());
        nodes[node] = Bvh2Node::new(bounds, 0, index(first));
        open.push((first + 1, range.start + half..range.end));
        open.push((first, range.start..range.start + half));
    }
    Bvh2 { nodes, primitive_indices: indices, children_are_ordered_after_parents: true, ..Bvh2::default() }
}

/// The box around some boxes, and the one around their centres.
fn bounds_of(boxes: &[Aabb], indices: &[u32]) -> (Aabb, Aabb) {
    let mut bounds = Aabb::empty();
    let mut centres = Aabb::empty();
    for &i in indices {
        let aabb = &boxes[i as usize];
        bounds = bounds.union(aabb);
        centres.extend(aabb.center());
    }
    (bounds, centres)
}

fn binary_levels(binary: &Bvh2) -> u32 {
    let mut deepest = 0;
    let mut open = vec![(0_u32, 1_u32)];
    while let Some((node, level)) = open.pop() {
        deepest = deepest.max(level);
        let node = &binary.nodes[node as usize];
        if !node.is_leaf() {
            open.extend([(node.first_index, level + 1), (node.first_index + 1, level + 1)]);
        }
    }
    deepest
}

fn wide_levels(nodes: &[CwBvhNode]) -> u32 {
    let mut deepest = 0;
    let mut open = vec![(0_u32, 1_u32)];
    while let Some((node, level)) = open.pop() {
        deepest = deepest.max(level);
        let node = &nodes[node as usize];
        let children = node.imask.count_ones();
        open.extend((0..children).map(|child| (node.child_base_idx + child, level + 1)));
    }
    deepest
}

/// An index as the trees hold it. Scenes of 2³² elements fit no adapter, and
/// the size of what they are packed into is what refuses them.
fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(count: u32, place: impl Fn(u32) -> Vec3A, size: impl Fn(u32) -> f32) -> Vec<Aabb> {
        (0..count)
            .map(|i| Aabb::new(place(i) - Vec3A::splat(size(i)), place(i) + Vec3A::splat(size(i))))
            .collect()
    }

    /// Every box must be named once, and lie inside every node above it.
    fn check(boxes: &[Aabb], levels: u32) {
        let tree = build(boxes, levels).expect("a tree");
        let mut order = tree.order.clone();
        order.sort_unstable();
        assert_eq!(order, (0..index(boxes.len())).collect::<Vec<_>>());
        assert!(wide_levels(&tree.nodes) <= levels);
        for node in &tree.nodes {
            for child in (0..8).filter(|&c| !node.is_child_empty(c) && node.is_leaf(c)) {
                let (start, count) = node.child_primitives(child);
                let around = node.child_aabb(child);
                let slack = node.compute_extent() * 1e-3;
                for slot in start..start + count {
                    let inner = &boxes[tree.order[slot as usize] as usize];
                    assert!(
                        inner.min.cmpge(around.min - slack).all()
                            && inner.max.cmple(around.max + slack).all()
                    );
                }
            }
        }
    }

    #[test]
    fn trees_hold_every_box_once() {
        let spread = |i: u32| Vec3A::new((i * 7 % 101) as f32, (i * 13 % 97) as f32, (i * 31 % 89) as f32);
        for count in [1, 2, 3, 4, 9, 5000] {
            check(&boxes(count, spread, |_| 0.5), MESH_LEVELS);
        }
    }

    #[test]
    fn coinciding_and_nested_boxes_give_shallow_trees() {
        check(&boxes(20_000, |_| Vec3A::ZERO, |_| 1.0), MESH_LEVELS);
        check(&boxes(20_000, |_| Vec3A::ZERO, |i| 1.0 + i as f32), MESH_LEVELS);
        check(
            &boxes(100, |i| Vec3A::splat(2_f32.powi(i32::try_from(i).expect("small") / 3)), |_| 0.1),
            MESH_LEVELS,
        );
    }

    #[test]
    fn the_same_boxes_give_the_same_tree() {
        let input = boxes(3000, |i| Vec3A::new((i % 17) as f32, (i % 29) as f32, (i % 5) as f32), |_| 0.4);
        let (a, b) =
            (build(&input, MESH_LEVELS).expect("a tree"), build(&input, MESH_LEVELS).expect("a tree"));
        assert_eq!(bytemuck::cast_slice::<_, u8>(&a.nodes), bytemuck::cast_slice::<_, u8>(&b.nodes));
        assert_eq!(a.order, b.order);
    }
}
