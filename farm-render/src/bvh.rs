//! Compressed wide trees over boxes, the same on every machine and for any number
//! of threads: many boxes are split into parts, for each of which obvhs builds a
//! tree on one thread, with a plain median split where its input would make it
//! slow or its tree deep.

use std::collections::VecDeque;

use glam::Vec3A;
use obvhs::aabb::Aabb;
use obvhs::bvh2::node::Bvh2Node;
use obvhs::bvh2::{Bvh2, reinsertion::ReinsertionOptimizer};
use obvhs::cwbvh::bvh2_to_cwbvh::bvh2_to_cwbvh;
use obvhs::cwbvh::node::CwBvhNode;
use obvhs::ploc::{PlocBuilder, PlocSearchDistance, SortPrecision};
use rayon::prelude::*;

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

/// Boxes of a part at most. Threads build parts; a million boxes give 16 of them
/// or a few more, enough to keep as many threads busy, and splitting a part
/// further would cost more than it saves.
const PART_BOXES: usize = 1 << 16;

/// Bins of the surface area heuristic that parts are split by (Wald 2007, "On
/// fast Construction of SAH-based Bounding Volume Hierarchies").
const BINS: usize = 32;

/// A part is no smaller than this share of what it was split from, so that
/// splitting ends soon whatever the boxes are.
const LEAST_SHARE: usize = 16;

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
    if boxes.len() <= PART_BOXES {
        return build_part(boxes, levels);
    }
    build_of_parts(boxes, levels).or_else(|| {
        tracing::debug!(boxes = boxes.len(), "the tree of parts is too deep");
        let tree = compress(&split_at_medians(boxes));
        (wide_levels(&tree.nodes) <= levels).then_some(tree)
    })
}

/// Splits the boxes into parts and joins the parts' trees.
fn build_of_parts(boxes: &[Aabb], levels: u32) -> Option<Tree> {
    let mut indices: Vec<u32> = (0..index(boxes.len())).collect();
    let split = Split::of(boxes, &mut indices, 0);
    let mut ranges = Vec::new();
    let mut binary = vec![Bvh2Node::default()];
    split.flatten(&mut binary, 0, &mut ranges);
    let count = index(ranges.len());
    let top = Bvh2 {
        nodes: binary,
        primitive_indices: (0..count).collect(),
        children_are_ordered_after_parents: true,
        ..Bvh2::default()
    };
    let top = bvh2_to_cwbvh(&top, 1, true, false);
    let top = Tree { nodes: top.nodes, order: top.primitive_indices };
    let levels_below = levels.checked_sub(wide_levels(&top.nodes))?;
    let parts: Option<Vec<Tree>> = ranges
        .into_par_iter()
        .map(|range| {
            let indices = &indices[range];
            let own: Vec<Aabb> = indices.iter().map(|&i| boxes[i as usize]).collect();
            let mut tree = build_part(&own, levels_below)?;
            tree.order.iter_mut().for_each(|place| *place = indices[*place as usize]);
            Some(tree)
        })
        .collect();
    Some(join(&top, &parts?))
}

/// How boxes are split into parts.
enum Split {
    /// A range of the indices.
    Part(Aabb, std::ops::Range<usize>),
    Halves(Aabb, Box<[Self; 2]>),
}

impl Split {
    /// Splits `indices`, which begin at `first` of all, and brings them in the
    /// order of the parts.
    fn of(boxes: &[Aabb], indices: &mut [u32], first: usize) -> Self {
        let (bounds, centres) = bounds_of(boxes, indices);
        if indices.len() <= PART_BOXES {
            return Self::Part(bounds, first..first + indices.len());
        }
        let middle = Self::partition(boxes, indices, centres);
        let (left, right) = indices.split_at_mut(middle);
        let (left, right) =
            rayon::join(|| Self::of(boxes, left, first), || Self::of(boxes, right, first + middle));
        Self::Halves(bounds, Box::new([left, right]))
    }

    /// Divides by the plane of least cost, or in halves along the longest axis
    /// where that would leave little on a side; returns how many come first.
    fn partition(boxes: &[Aabb], indices: &mut [u32], centres: Aabb) -> usize {
        if let Some(plane) = Bins::of(boxes, indices, centres).cheapest_plane() {
            let is_left = |i: &u32| plane.has_left(boxes[*i as usize].center());
            let (left, right): (Vec<u32>, Vec<u32>) = indices.par_iter().copied().partition(is_left);
            if left.len().min(right.len()) >= indices.len() / LEAST_SHARE {
                indices[..left.len()].copy_from_slice(&left);
                indices[left.len()..].copy_from_slice(&right);
                return left.len();
            }
        }
        let half = indices.len() / 2;
        select_median(boxes, indices, half, centres);
        half
    }

    /// Writes the splits as a binary tree whose leaves are the parts, in order.
    fn flatten(self, nodes: &mut Vec<Bvh2Node>, place: usize, ranges: &mut Vec<std::ops::Range<usize>>) {
        match self {
            Self::Part(bounds, range) => {
                nodes[place] = Bvh2Node::new(bounds, 1, index(ranges.len()));
                ranges.push(range);
            }
            Self::Halves(bounds, halves) => {
                let first = nodes.len();
                nodes[place] = Bvh2Node::new(bounds, 0, index(first));
                nodes.resize(first + 2, Bvh2Node::default());
                let [left, right] = *halves;
                left.flatten(nodes, first, ranges);
                right.flatten(nodes, first + 1, ranges);
            }
        }
    }
}

/// A plane between two bins of an axis.
#[derive(Clone, Copy)]
struct Plane {
    axis: usize,
    bin: usize,
    centres: Aabb,
    scale: Vec3A,
}

impl Plane {
    fn has_left(&self, centre: Vec3A) -> bool {
        bin_of(centre, &self.centres, self.scale)[self.axis] < self.bin
    }
}

/// Boxes and counts of the bins along each axis.
struct Bins {
    centres: Aabb,
    scale: Vec3A,
    filled: [[(Aabb, usize); BINS]; 3],
}

impl Bins {
    /// Sorts boxes into bins by their centres. Minima, maxima and counts do not
    /// depend on the order in which threads bring them together.
    fn of(boxes: &[Aabb], indices: &[u32], centres: Aabb) -> Self {
        let scale = bin_scale(&centres);
        let empty = || [[(Aabb::empty(), 0); BINS]; 3];
        let fill = |chunk: &[u32]| {
            let mut filled = empty();
            for &i in chunk {
                let aabb = &boxes[i as usize];
                for (axis, bin) in bin_of(aabb.center(), &centres, scale).into_iter().enumerate() {
                    let (bounds, count) = &mut filled[axis][bin];
                    *bounds = bounds.union(aabb);
                    *count += 1;
                }
            }
            filled
        };
        let merge = |mut a: [[(Aabb, usize); BINS]; 3], b: [[(Aabb, usize); BINS]; 3]| {
            for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
                *a = (a.0.union(&b.0), a.1 + b.1);
            }
            a
        };
        let filled = indices.par_chunks(PART_BOXES / 4).map(fill).reduce(empty, merge);
        Self { centres, scale, filled }
    }

    /// The plane with the least sum of area times count on both sides.
    fn cheapest_plane(&self) -> Option<Plane> {
        let mut best: Option<(f32, Plane)> = None;
        for axis in 0..3 {
            let mut right = [0.0; BINS];
            let mut sum = (Aabb::empty(), 0);
            for bin in (1..BINS).rev() {
                sum = (sum.0.union(&self.filled[axis][bin].0), sum.1 + self.filled[axis][bin].1);
                right[bin] = cost(&sum);
            }
            let mut sum = (Aabb::empty(), 0);
            for (bin, right) in right.into_iter().enumerate().skip(1) {
                sum = (sum.0.union(&self.filled[axis][bin - 1].0), sum.1 + self.filled[axis][bin - 1].1);
                let total = cost(&sum) + right;
                if best.is_none_or(|(least, _)| total < least) {
                    best = Some((total, Plane { axis, bin, centres: self.centres, scale: self.scale }));
                }
            }
        }
        best.map(|(_, plane)| plane)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a cost is a guess anyway")]
fn cost((bounds, count): &(Aabb, usize)) -> f32 {
    if *count == 0 { 0.0 } else { bounds.half_area() * *count as f32 }
}

/// Bins per unit of length along each axis.
#[expect(clippy::cast_precision_loss, reason = "there are few bins")]
fn bin_scale(centres: &Aabb) -> Vec3A {
    Vec3A::splat(BINS as f32) / centres.diagonal().max(Vec3A::splat(1e-30))
}

/// The bin of a centre along each axis.
fn bin_of(centre: Vec3A, centres: &Aabb, scale: Vec3A) -> [usize; 3] {
    let bin = ((centre - centres.min) * scale).as_uvec3().to_array();
    bin.map(|bin| (bin as usize).min(BINS - 1))
}

/// Hangs the parts' trees into the tree over the parts, whose leaves name one
/// part each. Children of a node follow one another, so the part's roots move to
/// their siblings.
fn join(top: &Tree, parts: &[Tree]) -> Tree {
    let mut nodes = vec![CwBvhNode::default()];
    let mut roots = Vec::with_capacity(parts.len());
    let mut open = VecDeque::from([(0_usize, 0_usize)]);
    while let Some((from, to)) = open.pop_front() {
        let mut node = top.nodes[from];
        let first = nodes.len();
        for slot in 0..8 {
            if node.is_child_empty(slot) {
                continue;
            }
            if node.is_leaf(slot) {
                let place = node.child_primitives(slot).0;
                roots.push((top.order[place as usize] as usize, nodes.len()));
            } else {
                open.push_back((node.child_node_index(slot) as usize, nodes.len()));
            }
            nodes.push(CwBvhNode::default());
        }
        for slot in (0..8_u8).filter(|slot| top.nodes[from].child_meta[usize::from(*slot)] != 0) {
            node.imask |= 1 << slot;
            node.child_meta[usize::from(slot)] = 1 << 5 | (24 + slot);
        }
        (node.child_base_idx, node.primitive_base_idx) = (index(first), 0);
        nodes[to] = node;
    }
    let mut order = Vec::new();
    for (part, root) in roots {
        let tree = &parts[part];
        // The root's place is not used again, so node 1 comes first.
        let (nodes_before, boxes_before) = (index(nodes.len()) - 1, index(order.len()));
        let mut moved = tree.nodes.iter().map(|node| CwBvhNode {
            child_base_idx: node.child_base_idx + nodes_before,
            primitive_base_idx: node.primitive_base_idx + boxes_before,
            ..*node
        });
        nodes[root] = moved.next().expect("a tree has a root");
        nodes.extend(moved);
        order.extend_from_slice(&tree.order);
    }
    Tree { nodes, order }
}

/// Builds the tree of one part, or of few boxes, on the calling thread.
fn build_part(boxes: &[Aabb], levels: u32) -> Option<Tree> {
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
        let half = range.len() / 2;
        select_median(boxes, &mut indices[range.clone()], half, centres);
        let first = nodes.len();
        nodes.resize(first + 2, Bvh2Node::default());
        nodes[node] = Bvh2Node::new(bounds, 0, index(first));
        open.push((first + 1, range.start + half..range.end));
        open.push((first, range.start..range.start + half));
    }
    Bvh2 { nodes, primitive_indices: indices, children_are_ordered_after_parents: true, ..Bvh2::default() }
}

/// Brings the `half` boxes whose centres come first along the longest axis to the
/// front; equal centres are told apart by their indices.
fn select_median(boxes: &[Aabb], indices: &mut [u32], half: usize, centres: Aabb) {
    let size = centres.diagonal();
    let axis = (0..3).max_by(|&a, &b| size[a].total_cmp(&size[b])).unwrap_or(0);
    indices.select_nth_unstable_by(half, |&a, &b| {
        let centre = |i: u32| boxes[i as usize].center()[axis];
        centre(a).total_cmp(&centre(b)).then(a.cmp(&b))
    });
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
        for count in [1, 2, 3, 4, 9, 5000, 200_000] {
            check(&boxes(count, spread, |_| 0.5), MESH_LEVELS);
        }
    }

    #[test]
    fn coinciding_and_nested_boxes_give_shallow_trees() {
        check(&boxes(20_000, |_| Vec3A::ZERO, |_| 1.0), MESH_LEVELS);
        check(&boxes(20_000, |_| Vec3A::ZERO, |i| 1.0 + i as f32), MESH_LEVELS);
        check(&boxes(150_000, |i| Vec3A::X * (i / 100_000) as f32, |_| 1.0), MESH_LEVELS);
        check(
            &boxes(100, |i| Vec3A::splat(2_f32.powi(i32::try_from(i).expect("small") / 3)), |_| 0.1),
            MESH_LEVELS,
        );
    }

    #[test]
    fn the_same_boxes_give_the_same_tree_on_any_number_of_threads() {
        for count in [3000, 300_000] {
            let place = |i: u32| Vec3A::new((i % 1017) as f32, (i % 729) as f32, (i % 305) as f32);
            let input = boxes(count, place, |_| 0.4);
            let build_on = |threads: usize| {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
                pool.install(|| build(&input, MESH_LEVELS).expect("a tree"))
            };
            let one = build_on(1);
            for threads in [2, 3, 7] {
                let more = build_on(threads);
                assert!(
                    bytemuck::cast_slice::<_, u8>(&one.nodes) == bytemuck::cast_slice::<_, u8>(&more.nodes)
                );
                assert!(one.order == more.order);
            }
        }
    }
}
