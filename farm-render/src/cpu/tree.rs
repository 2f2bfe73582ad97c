//! The tree that a processor walks: the topology of the compressed nodes, with
//! the boxes of the children in full.
//!
//! Node for node it is the compressed tree, so that an instance's root has the
//! same index in both, and leaves name the same places in `triangles`.
//!
//! # How far boxes are grown
//!
//! A box test may let a ray through that misses, and must never stop one that
//! the triangle test would let through. With u = 2⁻²⁴, p the corners of a box, o
//! the ray's origin and |·| the largest component, three things are lost:
//!
//! - A plane's distance, p·d⁻¹ − o·d⁻¹, is off by at most 4u(|p| + |o|) along its
//!   axis: the reciprocal, two products, and a sum.
//! - The triangle test moves corners by at most 7u(|p| + |o|): the translation,
//!   the shear (no component of which exceeds 1), its product, and the sum.
//! - Its edge functions move an edge by at most 6u times the largest extent of
//!   the box. (Slivers that are seen edge on can be hit farther from where they
//!   are; no box that is worth having catches these.)
//!
//! The parts of |p| and of the extent are in the boxes here, and that of |o| is
//! in the ray, by [`WideTree::origin_share`]. All of them are relative to what
//! is near: a far corner of the scene makes no box elsewhere any larger.

use crate::layout::{INSTANCE_REFERENCE, Instance, NONE, Node, Triangle};

/// Unit of rounding of an f32.
const ROUNDING: f32 = 1.0 / 16_777_216.0;

/// Share of the largest coordinate by which boxes, and rays, are grown: the 11
/// of the module's text, and what computing this costs.
pub(super) const COORDINATE_SHARE: f32 = 12.0 * ROUNDING;

/// Share of the largest extent by which boxes are grown.
const EXTENT_SHARE: f32 = 6.0 * ROUNDING;

/// Share of coordinates that is lost between world and mesh space: two affine
/// maps of four roundings each for origin and direction, the rounding of the
/// inverse's rows, and in mesh space all that the module's text lists.
const MAP_SHARE: f32 = 32.0 * ROUNDING;

/// The largest condition of an instance's map that rays are grown for. Beyond
/// it, f32 has lost the instance's shape anyway.
const WORST_CONDITION: f64 = 1000.0;

/// What a node says of a child: the index of an inner node, or a leaf's first
/// place in `triangles` with its number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Child(u32);

impl Child {
    const LEAF: u32 = 1 << 31;
    /// Some of a leaf's entries are instances.
    const OF_INSTANCES: u32 = 1 << 30;
    const COUNT_SHIFT: u32 = 28;
    const PLACE: u32 = (1 << Self::COUNT_SHIFT) - 1;

    /// A leaf without entries, which is how a walk ends.
    pub(super) const NOTHING: Self = Self(Self::LEAF);

    pub(super) fn inner(node: u32) -> Self {
        debug_assert!(node < Self::LEAF, "build refuses more nodes");
        Self(node)
    }

    fn leaf(first: u32, count: u32) -> Self {
        debug_assert!(first <= Self::PLACE && count <= 3, "build refuses more places");
        Self(Self::LEAF | count << Self::COUNT_SHIFT | first)
    }

    pub(super) fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    /// Index of an inner node.
    pub(super) fn node(self) -> usize {
        self.0 as usize
    }

    /// First place of a leaf.
    pub(super) fn place(self) -> u32 {
        self.0 & Self::PLACE
    }

    /// The same, to index with.
    pub(super) fn first(self) -> usize {
        self.place() as usize
    }

    /// Entries of a leaf, at most 3.
    pub(super) fn count(self) -> usize {
        (self.0 >> Self::COUNT_SHIFT & 3) as usize
    }

    pub(super) fn has_instances(self) -> bool {
        self.0 & Self::OF_INSTANCES != 0
    }
}

/// A node: the boxes of 8 children, and what these are.
///
/// The alignment fills it up to 256 bytes, four cache lines of which the first
/// three hold an axis each.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(256))]
pub(super) struct WideNode {
    /// For each axis the lower planes of the children, then their upper ones.
    pub(super) planes: [[[f32; 8]; 2]; 3],
    pub(super) children: [Child; 8],
}

impl WideNode {
    /// A node whose children no ray meets, because their boxes are inside out.
    const EMPTY: Self =
        Self { planes: [[[f32::INFINITY; 8], [f32::NEG_INFINITY; 8]]; 3], children: [Child::NOTHING; 8] };

    fn set(&mut self, slot: usize, child: Child, aabb: &Corners) {
        self.children[slot] = child;
        for (axis, planes) in self.planes.iter_mut().enumerate() {
            planes[0][slot] = aabb.lower[axis];
            planes[1][slot] = aabb.upper[axis];
        }
    }
}

/// The trees over the world and over the meshes that are placed more than once.
#[derive(Debug)]
pub(crate) struct WideTree {
    /// One for each compressed node. Inner children come after their parents.
    pub(super) nodes: Vec<WideNode>,
    /// Root of the world's tree, or `NONE`.
    pub(super) root: u32,
    /// Share of the origin's largest coordinate by which a ray is grown in world
    /// space.
    pub(super) origin_share: f32,
}

/// Nodes, or triangles, that a tree can name.
pub(crate) const MOST_NODES: u32 = Child::PLACE;

impl WideTree {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes)
    }

    /// Takes over the trees of `compressed`, whose `root` is the world's and
    /// comes after all meshes; `None` where there are more nodes or triangles
    /// than a [`Child`] can name, which is more than 2²⁸.
    ///
    /// # Panics
    ///
    /// Where a node names what does not exist or comes before it.
    pub(crate) fn build(
        compressed: &[Node],
        triangles: &[Triangle],
        instances: &[Instance],
        root: u32,
    ) -> Option<Self> {
        if compressed.len().max(triangles.len()) > Child::PLACE as usize {
            return None;
        }
        let mut nodes = vec![WideNode::EMPTY; compressed.len()];
        let mut bounds = vec![Corners::EMPTY; compressed.len()];
        // Children before parents, and meshes before the world.
        let first_of_world = if root == NONE { nodes.len() } else { root as usize };
        for index in (0..first_of_world).rev().chain((first_of_world..nodes.len()).rev()) {
            bounds[index] = fill(&mut nodes[index], index, &compressed[index], &bounds, triangles, instances);
        }
        let condition = instances.iter().filter(|i| i.root != NONE).map(condition).fold(0.0, f64::max);
        let origin_share = COORDINATE_SHARE + MAP_SHARE * to_f32(condition.min(WORST_CONDITION));
        Some(Self { nodes, root, origin_share })
    }
}

/// Fills a node whose inner children are done, and returns the box around it.
fn fill(
    wide: &mut WideNode,
    index: usize,
    node: &Node,
    bounds: &[Corners],
    triangles: &[Triangle],
    instances: &[Instance],
) -> Corners {
    let inner = node.grid[3] >> 24;
    let mut next_inner = node.children[0];
    let mut around = Corners::EMPTY;
    for slot in 0..8 {
        let meta = node.children[2 + slot / 4] >> (slot % 4 * 8) & 0xff;
        if meta == 0 {
            continue;
        }
        let (child, mut aabb);
        if inner >> slot & 1 == 1 {
            assert!(next_inner as usize > index, "children come after their parents");
            (child, aabb) = (Child::inner(next_inner), bounds[next_inner as usize]);
            next_inner += 1;
        } else {
            let (first, count) = (node.children[1] + (meta & 31), (meta >> 5).count_ones());
            (child, aabb) = leaf(first, count, bounds, triangles, instances);
        }
        around.include(&aabb);
        aabb.grow();
        wide.set(slot, child, &aabb);
    }
    around
}

/// A leaf and the box around its entries.
fn leaf(
    first: u32,
    count: u32,
    bounds: &[Corners],
    triangles: &[Triangle],
    instances: &[Instance],
) -> (Child, Corners) {
    let mut child = Child::leaf(first, count);
    let mut around = Corners::EMPTY;
    for entry in &triangles[first as usize..(first + count) as usize] {
        if let Some(instance) = referenced_instance(entry) {
            let instance = &instances[instance as usize];
            child.0 |= Child::OF_INSTANCES;
            around.include(&instance_box(instance, &bounds[instance.root as usize]));
        } else {
            around.include(&Corners::of_triangle(entry));
        }
    }
    (child, around)
}

/// The instance that an entry of a leaf names, if it names one.
pub(super) fn referenced_instance(entry: &Triangle) -> Option<u32> {
    let owner = entry.a[3];
    (owner & INSTANCE_REFERENCE != 0 && owner != NONE).then_some(owner ^ INSTANCE_REFERENCE)
}

/// A box by its corners, lower and upper.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Corners {
    lower: [f32; 3],
    upper: [f32; 3],
}

impl Corners {
    const EMPTY: Self = Self { lower: [f32::INFINITY; 3], upper: [f32::NEG_INFINITY; 3] };

    fn of_triangle(triangle: &Triangle) -> Self {
        let [a, b, c] = [triangle.a, triangle.b, triangle.c].map(|v| [0, 1, 2].map(|i| f32::from_bits(v[i])));
        Self {
            lower: [0, 1, 2].map(|i| a[i].min(b[i]).min(c[i])),
            upper: [0, 1, 2].map(|i| a[i].max(b[i]).max(c[i])),
        }
    }

    fn include(&mut self, other: &Self) {
        for axis in 0..3 {
            self.lower[axis] = self.lower[axis].min(other.lower[axis]);
            self.upper[axis] = self.upper[axis].max(other.upper[axis]);
        }
    }

    /// Grows it by what the module's text says of |p| and of the extent.
    fn grow(&mut self) {
        let (mut largest, mut extent) = (0.0_f32, 0.0_f32);
        for axis in 0..3 {
            largest = largest.max(self.lower[axis].abs()).max(self.upper[axis].abs());
            extent = extent.max(self.upper[axis] - self.lower[axis]);
        }
        let pad = largest * COORDINATE_SHARE + extent * EXTENT_SHARE;
        self.lower = self.lower.map(|x| x - pad);
        self.upper = self.upper.map(|x| x + pad);
    }
}

/// The box in the world of an instance of a mesh, grown by what is lost on the
/// way into mesh space and there, other than the ray's part.
fn instance_box(instance: &Instance, mesh: &Corners) -> Corners {
    let mut aabb = Corners::EMPTY;
    let corner = |axis: usize| [f64::from(mesh.lower[axis]), f64::from(mesh.upper[axis])];
    let exact = instance.to_world.map(|row| {
        let mut range = [f64::from(row[3]); 2];
        for (axis, factor) in row.into_iter().take(3).enumerate() {
            let ends = corner(axis).map(|x| x * f64::from(factor));
            range = [range[0] + ends[0].min(ends[1]), range[1] + ends[0].max(ends[1])];
        }
        range
    });
    let reach = exact.map(|[low, high]| low.abs().max(high.abs()));
    // What mesh space computes with, by axis.
    let local = [0, 1, 2].map(|axis| {
        let row = instance.to_mesh[axis];
        let there = (0..3).map(|i| f64::from(row[i]).abs() * reach[i]).sum::<f64>();
        let [low, high] = corner(axis);
        there + f64::from(row[3]).abs() + low.abs().max(high.abs())
    });
    for (axis, [low, high]) in exact.into_iter().enumerate() {
        let row = instance.to_world[axis];
        let lost = (0..3).map(|i| f64::from(row[i]).abs() * local[i]).sum::<f64>();
        // The last place of the conversion is within a share of the reach.
        let pad = (lost + reach[axis]) * f64::from(MAP_SHARE);
        aabb.lower[axis] = to_f32(low - pad);
        aabb.upper[axis] = to_f32(high + pad);
    }
    aabb
}

/// How much larger the way into an instance's mesh and back can make an error:
/// the largest row sum of |to_world|·|to_mesh|.
fn condition(instance: &Instance) -> f64 {
    let row_sum = |row: [f32; 4]| (0..3).map(|i| f64::from(row[i]).abs()).sum::<f64>();
    let inner = instance.to_mesh.map(row_sum);
    let rows = instance.to_world.map(|row| (0..3).map(|i| f64::from(row[i]).abs() * inner[i]).sum::<f64>());
    rows.into_iter().fold(0.0, f64::max)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is part of the pads")]
fn to_f32(value: f64) -> f32 {
    value as f32
}
