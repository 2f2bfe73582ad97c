//! Compressed wide trees over boxes, the same on every machine and for any number
//! of threads. Boxes are split by the surface area heuristic from the top, in
//! halves where that would make the tree deep; many are first split into parts
//! that threads build. Obvhs turns the binary trees into wide ones.
//!
//! Obvhs's own builder, parallel locally-ordered clustering, takes less time on
//! one thread and gives trees that rays take 10 to 25 % longer in.

use std::collections::VecDeque;

use glam::Vec3A;
use obvhs::aabb::Aabb;
use obvhs::bvh2::Bvh2;
use obvhs::bvh2::node::Bvh2Node;
use obvhs::cwbvh::bvh2_to_cwbvh::bvh2_to_cwbvh;
use obvhs::cwbvh::node::CwBvhNode;
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

/// Boxes of a part at most. Threads build parts; a million boxes give 16 of them
/// or a few more, enough to keep as many threads busy, and splitting a part
/// further would cost more than it saves.
const PART_BOXES: usize = 1 << 16;

/// Bins of the surface area heuristic that parts are split by (Wald 2007, "On
/// fast Construction of SAH-based Bounding Volume Hierarchies").
const BINS: usize = 32;

/// Boxes that a thread sorts into bins at a time.
const BINNED_AT_A_TIME: usize = 1 << 14;

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
        let tree = compress(&split_down(boxes, split_at_median));
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
        let plane = Bins::<BINS>::fill_on_threads(&centres, boxes, indices).cheapest_plane();
        let is_left = |i: &u32| plane.has_left(boxes[*i as usize].center());
        let (left, right): (Vec<u32>, Vec<u32>) = indices.par_iter().copied().partition(is_left);
        if left.len().min(right.len()) >= indices.len() / LEAST_SHARE {
            indices[..left.len()].copy_from_slice(&left);
            indices[left.len()..].copy_from_slice(&right);
            return left.len();
        }
        split_at_median(boxes, indices, &centres)
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
    lowest: Vec3A,
    scale: Vec3A,
    bins: usize,
}

impl Plane {
    fn has_left(&self, centre: Vec3A) -> bool {
        bins_of(centre, self.lowest, self.scale, self.bins)[self.axis] < self.bin
    }
}

/// The bins of a centre along each axis.
fn bins_of(centre: Vec3A, lowest: Vec3A, scale: Vec3A, bins: usize) -> [usize; 3] {
    let bin = ((centre - lowest) * scale).as_uvec3().to_array();
    bin.map(|bin| (bin as usize).min(bins - 1))
}

/// Boxes and counts of so many bins along each axis.
struct Bins<const COUNT: usize> {
    lowest: Vec3A,
    scale: Vec3A,
    filled: [[(Aabb, usize); COUNT]; 3],
}

impl<const COUNT: usize> Bins<COUNT> {
    /// Empty bins between the centres of some boxes.
    #[expect(clippy::cast_precision_loss, reason = "there are few bins")]
    fn new(centres: &Aabb) -> Self {
        let scale = Vec3A::splat(COUNT as f32) / centres.diagonal().max(Vec3A::splat(1e-30));
        Self { lowest: centres.min, scale, filled: [[(Aabb::empty(), 0); COUNT]; 3] }
    }

    /// Sorts boxes into the bins by their centres.
    fn fill(mut self, boxes: &[Aabb], indices: &[u32]) -> Self {
        for &i in indices {
            let aabb = &boxes[i as usize];
            let bins = bins_of(aabb.center(), self.lowest, self.scale, COUNT);
            for (axis, bin) in bins.into_iter().enumerate() {
                let (bounds, count) = &mut self.filled[axis][bin];
                *bounds = bounds.union(aabb);
                *count += 1;
            }
        }
        self
    }

    /// The same on all threads. Minima, maxima and counts do not depend on the
    /// order in which they are brought together.
    fn fill_on_threads(centres: &Aabb, boxes: &[Aabb], indices: &[u32]) -> Self {
        let merge = |mut a: Self, b: Self| {
            for (a, b) in a.filled.as_flattened_mut().iter_mut().zip(b.filled.as_flattened()) {
                *a = (a.0.union(&b.0), a.1 + b.1);
            }
            a
        };
        let chunks = indices.par_chunks(BINNED_AT_A_TIME);
        chunks.map(|chunk| Self::new(centres).fill(boxes, chunk)).reduce(|| Self::new(centres), merge)
    }

    /// The plane with the least sum of area times count on both sides.
    fn cheapest_plane(&self) -> Plane {
        let (mut least, mut best) = (f32::INFINITY, (0, 1));
        for (axis, filled) in self.filled.iter().enumerate() {
            let mut right = [0.0; COUNT];
            let mut sum = (Aabb::empty(), 0);
            for bin in (1..COUNT).rev() {
                sum = (sum.0.union(&filled[bin].0), sum.1 + filled[bin].1);
                right[bin] = cost(&sum);
            }
            let mut sum = (Aabb::empty(), 0);
            for (bin, right) in right.into_iter().enumerate().skip(1) {
                sum = (sum.0.union(&filled[bin - 1].0), sum.1 + filled[bin - 1].1);
                let total = cost(&sum) + right;
                // A side without boxes divides nothing.
                if total < least && right > 0.0 && sum.1 > 0 {
                    (least, best) = (total, (axis, bin));
                }
            }
        }
        let (axis, bin) = best;
        Plane { axis, bin, lowest: self.lowest, scale: self.scale, bins: COUNT }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a cost is a guess anyway")]
fn cost((bounds, count): &(Aabb, usize)) -> f32 {
    if *count == 0 { 0.0 } else { bounds.half_area() * *count as f32 }
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
    let binary = split_down(boxes, split_by_area);
    if binary_levels(&binary) <= BINARY_LEVELS {
        let tree = compress(&binary);
        if wide_levels(&tree.nodes) <= levels {
            return Some(tree);
        }
    }
    tracing::debug!(boxes = boxes.len(), "the tree of least cost is too deep");
    let tree = compress(&split_down(boxes, split_at_median));
    (wide_levels(&tree.nodes) <= levels).then_some(tree)
}

fn compress(binary: &Bvh2) -> Tree {
    let wide = bvh2_to_cwbvh(binary, 3, true, false);
    Tree { nodes: wide.nodes, order: wide.primitive_indices }
}

/// A binary tree whose every node `split` divides: it brings the indices in order
/// and says how many come first, at least one and not all.
fn split_down(boxes: &[Aabb], split: fn(&[Aabb], &mut [u32], &Aabb) -> usize) -> Bvh2 {
    let mut indices: Vec<u32> = (0..index(boxes.len())).collect();
    let mut nodes = vec![Bvh2Node::default()];
    nodes.reserve(2 * boxes.len());
    let mut open = vec![(0_usize, 0..indices.len())];
    while let Some((node, range)) = open.pop() {
        let (bounds, centres) = bounds_of(boxes, &indices[range.clone()]);
        if range.len() == 1 {
            nodes[node] = Bvh2Node::new(bounds, 1, index(range.start));
            continue;
        }
        let middle = range.start + split(boxes, &mut indices[range.clone()], &centres);
        let first = nodes.len();
        nodes.resize(first + 2, Bvh2Node::default());
        nodes[node] = Bvh2Node::new(bounds, 0, index(first));
        open.push((first + 1, middle..range.end));
        open.push((first, range.start..middle));
    }
    Bvh2 { nodes, primitive_indices: indices, children_are_ordered_after_parents: true, ..Bvh2::default() }
}

/// Divides by the plane of least cost, in halves where there is none. Fewer boxes
/// get fewer bins: most nodes have few.
fn split_by_area(boxes: &[Aabb], indices: &mut [u32], centres: &Aabb) -> usize {
    let plane = match indices.len() {
        0..=2 => return 1,
        3..=6 => Bins::<4>::new(centres).fill(boxes, indices).cheapest_plane(),
        7..=32 => Bins::<8>::new(centres).fill(boxes, indices).cheapest_plane(),
        33..=512 => Bins::<16>::new(centres).fill(boxes, indices).cheapest_plane(),
        _ => Bins::<BINS>::new(centres).fill(boxes, indices).cheapest_plane(),
    };
    let mut left = 0;
    for place in 0..indices.len() {
        if plane.has_left(boxes[indices[place] as usize].center()) {
            indices.swap(place, left);
            left += 1;
        }
    }
    if (1..indices.len()).contains(&left) { left } else { split_at_median(boxes, indices, centres) }
}

/// Divides in halves along the longest axis of the centres.
fn split_at_median(boxes: &[Aabb], indices: &mut [u32], centres: &Aabb) -> usize {
    let half = indices.len() / 2;
    let size = centres.diagonal();
    let axis = (0..3).max_by(|&a, &b| size[a].total_cmp(&size[b])).unwrap_or(0);
    // Equal centres are told apart by their indices.
    indices.select_nth_unstable_by(half, |&a, &b| {
        let centre = |i: u32| boxes[i as usize].center()[axis];
        centre(a).total_cmp(&centre(b)).then(a.cmp(&b))
    });
    half
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
