//! The tree that many rays walk at a time: four children to a node, and a node
//! to a cache line.
//!
//! It has the leaves of the wide tree, whose nodes are taken apart into binary
//! ones and put together anew: of all ways to cut the binary tree into nodes of
//! four, the one with the least area (as in Ylitie et al. 2017, "Efficient
//! Incoherent Ray Traversal on GPUs Through Compressed Wide BVHs", section 3.1,
//! with a cost for nodes alone).
//!
//! # How far boxes are grown
//!
//! Besides what [`super::tree`] lists, which is in the wide tree's boxes, a
//! plane's distance here is off by what the way from the grid to the distance
//! loses: four roundings of at most u(|p| + |o| + e), e being the extent of the
//! node along the longest axis. The parts of |p| and e are in the grids, and
//! that of |o| is in the shares of the origin.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write};

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::tree::{COORDINATE_SHARE, Child, Corners, WideNode, WideTree};
use crate::disk_cache::{Input, write_array};
use crate::layout::{Instance, NONE};

/// Children of a node.
pub(super) const FOUR: usize = 4;

/// Share of coordinates, of extents and of origins that the grid loses.
const GRID_SHARE: f32 = COORDINATE_SHARE * 0.5;

/// Steps of a grid, and what the step of a node is stored times.
const STEPS: f64 = 255.0;
const STORED_STEPS: f32 = 256.0;

/// Binary nodes that a wide node is taken apart into, at most; places for one
/// more keep the division simple.
const PARTS: usize = 8;

/// Subtrees that threads gather, of trees that have as many.
const SUBTREES: usize = 64;

/// A node; rows of 16 bytes are read as such.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct QuadNode {
    pub(super) children: [Child; FOUR],
    /// For each axis the lower planes of the children and their upper ones, in
    /// steps from the origin.
    pub(super) planes: [[[u8; FOUR]; 2]; 3],
    pub(super) origin: [f32; 3],
    /// 256 steps.
    pub(super) scale: [f32; 3],
}

/// The trees over the world and over the meshes that are placed more than once.
#[derive(Debug)]
pub(super) struct QuadTree {
    pub(super) nodes: Vec<QuadNode>,
    /// Root of the world's tree, or `NONE`.
    pub(super) root: u32,
    /// For each instance the root of its mesh's tree, or `NONE`.
    pub(super) mesh_roots: Vec<u32>,
    /// Shares of the origin's largest coordinate by which rays are grown.
    pub(super) world_origin_share: f32,
    pub(super) mesh_origin_share: f32,
    /// Levels of the world's tree and of the deepest mesh's together.
    pub(super) levels: usize,
}

impl QuadTree {
    /// Writes it for [`QuadTree::read`].
    pub(super) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let levels = u32::try_from(self.levels).map_err(io::Error::other)?;
        for word in [self.root, self.world_origin_share.to_bits(), self.mesh_origin_share.to_bits(), levels] {
            output.write_all(&word.to_le_bytes())?;
        }
        write_array(output, &self.mesh_roots)?;
        write_array(output, &self.nodes)
    }

    /// Reads what [`QuadTree::write`] wrote.
    pub(super) fn read(input: &mut Input) -> io::Result<Self> {
        let mut words = [[0; 4]; 4];
        input.read_exact(words.as_flattened_mut())?;
        let [root, world, mesh, levels] = words.map(u32::from_le_bytes);
        Ok(Self {
            root,
            world_origin_share: f32::from_bits(world),
            mesh_origin_share: f32::from_bits(mesh),
            levels: levels as usize,
            mesh_roots: input.array()?,
            nodes: input.array()?,
        })
    }
}

/// One of the binary nodes.
#[derive(Clone, Copy)]
struct Binary {
    aabb: Corners,
    children: [Item; 2],
}

/// A leaf, or a binary node by its index.
#[derive(Clone, Copy)]
struct Item {
    aabb: Corners,
    what: Child,
}

impl Item {
    const NOTHING: Self = Self { aabb: Corners::EMPTY, what: Child::NOTHING };
}

impl Binary {
    const EMPTY: Self = Self { aabb: Corners::EMPTY, children: [Item::NOTHING; 2] };
}

impl QuadTree {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.mesh_roots)
    }

    /// Makes one of a wide tree that was built with these instances; `None`
    /// where that would have more nodes than a [`Child`] can name.
    pub(super) fn build(tree: &WideTree, instances: &[Instance]) -> Option<Self> {
        if tree.nodes.len() > Child::PLACE as usize / PARTS {
            return None;
        }
        let indexed = tree.nodes.par_iter().enumerate();
        let binary: Vec<[Binary; PARTS]> = indexed.map(|(index, node)| take_apart(node, index)).collect();
        let cut = Cut::of(binary.as_flattened());
        let mut nodes = Vec::with_capacity(tree.nodes.len() * 5 / 2);
        let mut roots = vec![NONE; tree.nodes.len()];
        let mut mesh_levels = 0;
        let mesh_roots = instances.iter().map(|instance| {
            if instance.root == NONE {
                return NONE;
            }
            let root = &mut roots[instance.root as usize];
            if *root == NONE {
                let levels;
                (*root, levels) = cut.gather(instance.root, &mut nodes);
                mesh_levels = mesh_levels.max(levels);
            }
            *root
        });
        let mesh_roots = mesh_roots.collect();
        let (root, levels) = if tree.root == NONE { (NONE, 0) } else { cut.gather(tree.root, &mut nodes) };
        Some(Self {
            nodes,
            root,
            mesh_roots,
            world_origin_share: tree.origin_share + GRID_SHARE,
            mesh_origin_share: COORDINATE_SHARE + GRID_SHARE,
            levels: levels + mesh_levels,
        })
    }
}

/// An index below [`Child::PLACE`], which `build` sees to.
fn word(index: usize) -> u32 {
    u32::try_from(index).expect("indices of nodes fit")
}

/// Makes binary nodes of a wide one by joining, again and again, the two of its
/// children whose common box has the least area. The last one made comes first.
fn take_apart(node: &WideNode, index: usize) -> [Binary; PARTS] {
    let mut parts = [Binary::EMPTY; PARTS];
    let mut items = [Item::NOTHING; 8];
    let mut count = 0;
    for (slot, &child) in node.children.iter().enumerate().filter(|(_, child)| **child != Child::NOTHING) {
        let what = if child.is_leaf() { child } else { Child::inner(word(child.node() * PARTS)) };
        items[count] = Item { aabb: node.slot_box(slot), what };
        count += 1;
    }
    if count == 1 {
        parts[0] = Binary { aabb: items[0].aabb, children: [items[0], Item::NOTHING] };
    }
    let mut areas = [[f32::INFINITY; 8]; 8];
    for a in 0..count {
        for b in 0..a {
            areas[a][b] = items[a].aabb.union(&items[b].aabb).area();
        }
    }
    for made in (0..count.saturating_sub(1)).rev() {
        let live = made + 2;
        let (mut a, mut b) = (1, 0);
        for i in 1..live {
            for j in 0..i {
                if areas[i][j] < areas[a][b] {
                    (a, b) = (i, j);
                }
            }
        }
        let aabb = items[a].aabb.union(&items[b].aabb);
        parts[made] = Binary { aabb, children: [items[b], items[a]] };
        items[b] = Item { aabb, what: Child::inner(word(index * PARTS + made)) };
        // The last one takes the place of the one that is gone.
        let last = live - 1;
        items[a] = items[last];
        for other in 0..last {
            if other != a {
                areas[a.max(other)][a.min(other)] = areas[last][other];
            }
        }
        for other in (0..last).filter(|&other| other != b) {
            areas[b.max(other)][b.min(other)] = aabb.union(&items[other].aabb).area();
        }
    }
    parts
}

/// A node that is still to be gathered: where it is to be, the binary node at its
/// top, and its level.
#[derive(Clone, Copy)]
struct Open {
    place: usize,
    binary: usize,
    level: usize,
}

/// How binary nodes are gathered in nodes of four.
struct Cut<'a> {
    binary: &'a [Binary],
    /// For each binary node the least area of the nodes below and at it, where
    /// it may take up to 1, 2 and 3 places in the node above.
    costs: Vec<[f32; 3]>,
}

impl<'a> Cut<'a> {
    fn of(binary: &'a [Binary]) -> Self {
        let mut cut = Self { binary, costs: vec![[0.0; 3]; binary.len()] };
        // Children come after their parents.
        for index in (0..binary.len()).rev() {
            if binary[index].children[0].what != Child::NOTHING {
                let [two, three, four] = [2, 3, FOUR].map(|places| cut.cheapest_split(index, places).0);
                let one = binary[index].aabb.area() + two.min(three).min(four);
                cut.costs[index] = [one, one.min(two), one.min(two).min(three)];
            }
        }
        cut
    }

    fn cost(&self, item: &Item, places: usize) -> f32 {
        if item.what.is_leaf() { 0.0 } else { self.costs[item.what.node()][places - 1] }
    }

    /// The least cost of a binary node's children in so many places of a node,
    /// and how many of those the first child gets.
    fn cheapest_split(&self, index: usize, places: usize) -> (f32, usize) {
        let [left, right] = &self.binary[index].children;
        let mut best = (f32::INFINITY, 1);
        for first in 1..places {
            let cost = self.cost(left, first) + self.cost(right, places - first);
            if cost < best.0 {
                best = (cost, first);
            }
        }
        best
    }

    /// Gathers the tree below the root of a wide node's parts, and returns its
    /// own root and its levels.
    fn gather(&self, wide_root: u32, nodes: &mut Vec<QuadNode>) -> (u32, usize) {
        let root = nodes.len();
        nodes.push(QuadNode::zeroed());
        let mut open = VecDeque::from([Open { place: root, binary: wide_root as usize * PARTS, level: 1 }]);
        let mut levels = 0;
        while open.len() < SUBTREES
            && let Some(next) = open.pop_front()
        {
            levels = levels.max(next.level);
            self.gather_one(&next, nodes, |child| open.push_back(child));
        }
        let open = Vec::from(open);
        let subtrees: Vec<_> = open.par_iter().map(|root| self.gather_below(root)).collect();
        for (top, (below, levels_below)) in open.iter().zip(subtrees) {
            // The root of a subtree has its place; the others follow those here.
            let shift = word(nodes.len() - 1);
            let mut moved = below.into_iter().map(|mut node| {
                for child in node.children.iter_mut().filter(|child| !child.is_leaf()) {
                    *child = Child::inner(child.word() + shift);
                }
                node
            });
            nodes[top.place] = moved.next().expect("a subtree has its root");
            nodes.extend(moved);
            levels = levels.max(levels_below);
        }
        (word(root), levels)
    }

    /// Gathers a subtree, its root first, and returns it and its lowest level.
    fn gather_below(&self, root: &Open) -> (Vec<QuadNode>, usize) {
        let mut nodes = vec![QuadNode::zeroed()];
        let mut open = vec![Open { place: 0, ..*root }];
        let mut levels = 0;
        while let Some(next) = open.pop() {
            levels = levels.max(next.level);
            self.gather_one(&next, &mut nodes, |child| open.push(child));
        }
        (nodes, levels)
    }

    /// Writes a node to its place, and makes places for its children.
    fn gather_one(&self, open: &Open, nodes: &mut Vec<QuadNode>, mut then: impl FnMut(Open)) {
        let mut items = [Item::NOTHING; FOUR];
        self.fill(open.binary, FOUR, &mut items, &mut 0);
        for item in items.iter_mut().filter(|item| !item.what.is_leaf()) {
            let place = nodes.len();
            nodes.push(QuadNode::zeroed());
            then(Open { place, binary: item.what.node(), level: open.level + 1 });
            item.what = Child::inner(word(place));
        }
        nodes[open.place] = quantised(&items);
    }

    /// Writes what stands for the children of a binary node in so many places.
    fn fill(&self, index: usize, places: usize, items: &mut [Item; FOUR], count: &mut usize) {
        // The fewest places that cost no more, so that none is opened for nothing.
        let splits = (2..=places).map(|places| (places, self.cheapest_split(index, places)));
        let best = splits.reduce(|best, split| if split.1.0 < best.1.0 { split } else { best });
        let Some((places, (_, first))) = best else { return };
        for (child, places) in self.binary[index].children.iter().zip([first, places - first]) {
            let is_opened = !child.what.is_leaf() && self.cost(child, places) < self.cost(child, 1);
            if is_opened {
                self.fill(child.what.node(), places, items, count);
            } else if child.what != Child::NOTHING {
                items[*count] = *child;
                *count += 1;
            }
        }
    }
}

/// A node of four, in 64 bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 8 bits, and padded")]
fn quantised(items: &[Item; FOUR]) -> QuadNode {
    let around = items.iter().fold(Corners::EMPTY, |around, item| around.union(&item.aabb));
    let (largest, extent) = around.sizes();
    let pad = f64::from((largest + extent) * GRID_SHARE);
    let mut node = QuadNode {
        // Boxes inside out are met by rays that are grown by more than the node.
        // What is seen through them is seen anyway, twice.
        children: items.map(|item| if item.what == Child::NOTHING { items[0].what } else { item.what }),
        planes: [[[u8::MAX; FOUR], [0; FOUR]]; 3],
        origin: [0.0; 3],
        scale: [0.0; 3],
    };
    for axis in 0..3 {
        let origin = (f64::from(around.lower[axis]) - pad) as f32;
        // Rounding the origin moves it by less than a pad, and the step is more
        // than twice that too long.
        let reach = f64::from(around.upper[axis]) - f64::from(origin) + pad;
        let step = (reach / STEPS * 1.000_001).max(1.0e-30) as f32;
        // Its rounding, and those of the products below, are far below the pad.
        let steps_of_one = 1.0 / f64::from(step);
        node.origin[axis] = origin;
        node.scale[axis] = step * STORED_STEPS;
        for (slot, item) in items.iter().enumerate().filter(|(_, item)| item.what != Child::NOTHING) {
            let steps = |plane: f64| (plane - f64::from(origin)) * steps_of_one;
            // Conversions cut off what follows the point, and stop at both ends.
            let lower = steps(f64::from(item.aabb.lower[axis]) - pad);
            let upper = steps(f64::from(item.aabb.upper[axis]) + pad);
            debug_assert!(upper <= STEPS, "the last step is beyond all boxes");
            node.planes[axis][0][slot] = lower as u8;
            node.planes[axis][1][slot] = u8::MAX - (STEPS - upper) as u8;
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fills_a_cache_line() {
        assert_eq!((size_of::<QuadNode>(), align_of::<QuadNode>()), (64, 64));
    }

    #[test]
    fn boxes_on_the_grid_hold_those_that_they_stand_for() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).expect("16 bits")) / 65_536.0
        };
        for scale in [1.0e-6, 1.0, 1.0e9] {
            for offset in [0.0, 3.0, -1.0e6] {
                let mut items = [Item::NOTHING; FOUR];
                for (index, item) in items.iter_mut().take(3).enumerate() {
                    item.what = Child::inner(word(index));
                    item.aabb.lower = [0; 3].map(|_| random() * scale + offset);
                    item.aabb.upper = item.aabb.lower.map(|lower| lower + random() * scale);
                }
                let node = quantised(&items);
                for (slot, item) in items.iter().enumerate().take(3) {
                    assert_eq!(node.children[slot], item.what);
                    for axis in 0..3 {
                        let plane = |side: usize| {
                            let steps = f64::from(node.planes[axis][side][slot]);
                            f64::from(node.origin[axis])
                                + steps * f64::from(node.scale[axis]) / f64::from(STORED_STEPS)
                        };
                        assert!(plane(0) < f64::from(item.aabb.lower[axis]));
                        assert!(plane(1) > f64::from(item.aabb.upper[axis]));
                    }
                }
            }
        }
    }
}
