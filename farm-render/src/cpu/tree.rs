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
//! the ray's origin and |·| the largest component, four things are lost:
//!
//! - A plane's distance, p·d⁻¹ − o·d⁻¹, is off by at most 4u(|p| + |o|) along its
//!   axis: the reciprocal, two products, and a sum.
//! - The triangle test moves corners by at most 7u(|p| + |o|): the translation,
//!   the shear (no component of which exceeds 1), its product, and the sum.
//! - Its edge functions move an edge by at most 6u times the largest extent of
//!   the box.
//! - A hit's distance, which other boxes are compared with, is off by at most
//!   10u(|p| + |o|) along the longest axis: the translation and nine roundings.
//!
//! Never more than two of them meet in one comparison, or the first three. The
//! parts of |p| and of the extent are in the boxes here, and that of |o| is in
//! the ray, by [`WideTree::origin_share`]. All are relative to what is near: a
//! far corner of the scene makes no box elsewhere any larger.
//!
//! Triangles that are seen edge on are beyond this: where the sum of the edge
//! functions is itself made of rounding, so are the weights, and a hit may be
//! told anywhere on the triangle. Which of two such hits is found depends on the
//! order of visits, in the kernel too. In tests that aim at corners it was seen
//! once in 10⁷ rays.

use std::io::{self, Read as _, Write};

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::batch;
use super::quad::QuadTree;
use crate::disk_cache::{Input, write_array};
use crate::geometry::MOTION_SHARE;
use crate::layout::{INSTANCE_REFERENCE, Instance, NONE, Node, Triangle, triangle_flags};

/// Unit of rounding of an f32.
const ROUNDING: f32 = 1.0 / 16_777_216.0;

/// Share of the largest coordinate by which boxes, and rays, are grown: the 14
/// of the module's text, and what computing this costs.
pub(super) const COORDINATE_SHARE: f32 = 16.0 * ROUNDING;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Child(u32);

impl Child {
    pub(super) const LEAF: u32 = 1 << 31;
    /// Some of a leaf's entries are instances.
    pub(super) const OF_INSTANCES: u32 = 1 << 30;
    pub(super) const COUNT_SHIFT: u32 = 28;
    pub(super) const PLACE: u32 = (1 << Self::COUNT_SHIFT) - 1;

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

    pub(super) fn word(self) -> u32 {
        self.0
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

/// What only steps over many lanes read.
#[cfg(target_arch = "x86_64")]
impl Child {
    /// The bits of a leaf's number of entries.
    pub(super) const COUNT: u32 = 3 << Self::COUNT_SHIFT;

    /// What taking the first entry from a leaf adds to it.
    pub(super) const LESS_ONE: u32 = 1_u32.wrapping_sub(1 << Self::COUNT_SHIFT);

    /// A leaf without entries again, which is how a walk of many rays leaves an
    /// instance.
    pub(super) const LEAVE: Self = Self(Self::LEAF | 1);

    /// The same, where a ray's next child is still to be taken from its stack.
    pub(super) const PENDING: Self = Self(Self::LEAF | 2);
}

/// A node: the boxes of 8 children, and what these are.
///
/// Four cache lines: an axis in each of the first three and the children in the
/// last.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(256))]
pub(super) struct WideNode {
    /// For each axis the lower planes of the children, then their upper ones.
    pub(super) planes: [[[f32; 8]; 2]; 3],
    pub(super) children: [Child; 8],
    padding: [u32; 8],
}

impl WideNode {
    /// A node whose children no ray meets, because their boxes are inside out.
    const EMPTY: Self = Self {
        planes: [[[f32::INFINITY; 8], [f32::NEG_INFINITY; 8]]; 3],
        children: [Child::NOTHING; 8],
        padding: [0; 8],
    };

    /// The box of a child.
    pub(super) fn slot_box(&self, slot: usize) -> Corners {
        Corners {
            lower: [0, 1, 2].map(|axis| self.planes[axis][0][slot]),
            upper: [0, 1, 2].map(|axis| self.planes[axis][1][slot]),
        }
    }

    /// Sets a child and its box, which grows by what is lost.
    fn set(&mut self, slot: usize, child: Child, aabb: &Corners) {
        self.children[slot] = child;
        let aabb = aabb.grown();
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
    /// The tree that many rays walk at a time, where the processor can.
    pub(super) quads: Option<QuadTree>,
}

/// Nodes, or triangles, that a tree can name.
pub(crate) const MOST_NODES: u32 = Child::PLACE;

impl WideTree {
    /// Bytes of a node.
    pub(crate) const NODE_BYTES: u64 = size_of::<WideNode>() as u64;

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + self.quads.as_ref().map_or(0, QuadTree::bytes)
    }

    /// Takes over the trees of `compressed`, whose `root` is the world's and
    /// comes after all meshes; what moves does so in so many `parts` of the
    /// shutter's time. `None` where there are more nodes or triangles
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
        parts: u32,
    ) -> Option<Self> {
        let triangles = Moving { triangles, parts };
        if compressed.len().max(triangles.triangles.len()) > Child::PLACE as usize {
            return None;
        }
        let (mut nodes, mut bounds) = (Vec::new(), Vec::new());
        let indexed = compressed.par_iter().enumerate();
        indexed
            .map(|(index, node)| with_leaves(node, index, triangles))
            .unzip_into_vecs(&mut nodes, &mut bounds);
        // Children before parents, and meshes before the world.
        let first_of_world = if root == NONE { nodes.len() } else { root as usize };
        for index in (0..first_of_world).rev().chain((first_of_world..nodes.len()).rev()) {
            set_other_boxes(&mut nodes[index], index, &mut bounds, triangles, instances);
        }
        let condition = instances.iter().filter(|i| i.root != NONE).map(condition).fold(0.0, f64::max);
        let origin_share = COORDINATE_SHARE + MAP_SHARE * to_f32(condition.min(WORST_CONDITION));
        Some(Self { nodes, root, origin_share, quads: None })
    }

    /// Adds the tree that many rays walk at a time, where the processor can;
    /// `instances` are those that this one was built with.
    pub(crate) fn with_quads(mut self, instances: &[Instance]) -> Self {
        if batch::is_here() {
            self.quads = QuadTree::build(&self, instances).filter(batch::can_walk);
        }
        self
    }

    /// Writes it for [`WideTree::read`].
    pub(crate) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.root.to_le_bytes())?;
        output.write_all(&self.origin_share.to_le_bytes())?;
        write_array(output, &self.nodes)?;
        output.write_all(&[self.quads.is_some().into()])?;
        self.quads.as_ref().map_or(Ok(()), |quads| quads.write(output))
    }

    /// Reads what [`WideTree::write`] wrote.
    pub(crate) fn read(input: &mut Input) -> io::Result<Self> {
        let mut words = [[0; 4]; 2];
        input.read_exact(words.as_flattened_mut())?;
        let [root, origin_share] = words;
        let nodes = input.array()?;
        let mut has_quads = [0];
        input.read_exact(&mut has_quads)?;
        Ok(Self {
            root: u32::from_le_bytes(root),
            origin_share: f32::from_le_bytes(origin_share),
            nodes,
            quads: if has_quads == [0] { None } else { Some(QuadTree::read(input)?) },
        })
    }
}

/// A node with its children and the boxes of the leaves that name triangles
/// alone, and the box around these.
fn with_leaves(node: &Node, index: usize, triangles: Moving<'_>) -> (WideNode, Corners) {
    let inner = node.grid[3] >> 24;
    let mut next_inner = node.children[0];
    let (mut wide, mut around) = (WideNode::EMPTY, Corners::EMPTY);
    for slot in 0..8 {
        let meta = node.children[2 + slot / 4] >> (slot % 4 * 8) & 0xff;
        if meta == 0 {
            continue;
        }
        if inner >> slot & 1 == 1 {
            assert!(next_inner as usize > index, "children come after their parents");
            wide.children[slot] = Child::inner(next_inner);
            next_inner += 1;
            continue;
        }
        let mut child = Child::leaf(node.children[1] + (meta & 31), (meta >> 5).count_ones());
        let entries = triangles.entries(child);
        if entries.iter().any(|entry| referenced_instance(entry).is_some()) {
            child.0 |= Child::OF_INSTANCES;
            wide.children[slot] = child;
            continue;
        }
        let aabb =
            entries.iter().map(|entry| triangles.corners(entry)).fold(Corners::EMPTY, |a, b| a.union(&b));
        around.include(&aabb);
        wide.set(slot, child, &aabb);
    }
    (wide, around)
}

/// Sets the boxes that [`with_leaves`] left out, from those around the nodes that
/// they name, and completes the box around the node.
fn set_other_boxes(
    wide: &mut WideNode,
    index: usize,
    bounds: &mut [Corners],
    triangles: Moving<'_>,
    instances: &[Instance],
) {
    for slot in 0..8 {
        let child = wide.children[slot];
        let aabb = if !child.is_leaf() {
            bounds[child.node()]
        } else if child.has_instances() {
            let entries = triangles.entries(child);
            let boxes = entries.iter().map(|entry| match referenced_instance(entry) {
                Some(instance) => {
                    let instance = &instances[instance as usize];
                    instance_box(instance, &bounds[instance.root as usize])
                }
                None => triangles.corners(entry),
            });
            boxes.fold(Corners::EMPTY, |a, b| a.union(&b))
        } else {
            continue;
        };
        bounds[index].include(&aabb);
        wide.set(slot, child, &aabb);
    }
}

/// Triangles, of which some move.
#[derive(Clone, Copy)]
struct Moving<'a> {
    triangles: &'a [Triangle],
    parts: u32,
}

impl<'a> Moving<'a> {
    /// What a leaf names.
    fn entries(self, leaf: Child) -> &'a [Triangle] {
        &self.triangles[leaf.first()..leaf.first() + leaf.count()]
    }

    /// The box around a triangle wherever it is.
    fn corners(self, triangle: &Triangle) -> Corners {
        let mut corners = Corners::of_triangle(triangle);
        if triangle.c[3] & triangle_flags::MOVES == 0 {
            return corners;
        }
        let first = (triangle.c[3] >> triangle_flags::KEYS_SHIFT) as usize;
        for end in &self.triangles[first..first + self.parts as usize] {
            corners.include(&Corners::of_triangle(end));
        }
        let pad = corners.sizes().0 * MOTION_SHARE;
        Corners { lower: corners.lower.map(|x| x - pad), upper: corners.upper.map(|x| x + pad) }
    }
}

/// The instance that an entry of a leaf names, if it names one.
pub(super) fn referenced_instance(entry: &Triangle) -> Option<u32> {
    let owner = entry.a[3];
    (owner & INSTANCE_REFERENCE != 0 && owner != NONE).then_some(owner ^ INSTANCE_REFERENCE)
}

/// A box by its corners, lower and upper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Corners {
    pub(super) lower: [f32; 3],
    pub(super) upper: [f32; 3],
}

impl Corners {
    pub(super) const EMPTY: Self = Self { lower: [f32::INFINITY; 3], upper: [f32::NEG_INFINITY; 3] };

    fn of_triangle(triangle: &Triangle) -> Self {
        let [a, b, c] = [triangle.a, triangle.b, triangle.c].map(|v| [0, 1, 2].map(|i| f32::from_bits(v[i])));
        Self {
            lower: [0, 1, 2].map(|i| a[i].min(b[i]).min(c[i])),
            upper: [0, 1, 2].map(|i| a[i].max(b[i]).max(c[i])),
        }
    }

    pub(super) fn include(&mut self, other: &Self) {
        for axis in 0..3 {
            self.lower[axis] = self.lower[axis].min(other.lower[axis]);
            self.upper[axis] = self.upper[axis].max(other.upper[axis]);
        }
    }

    /// The box around both.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut both = *self;
        both.include(other);
        both
    }

    /// Half the area of its surface.
    pub(super) fn area(&self) -> f32 {
        let [x, y, z] = [0, 1, 2].map(|axis| self.upper[axis] - self.lower[axis]);
        x * y + y * z + z * x
    }

    /// Its largest coordinate and its largest extent.
    pub(super) fn sizes(&self) -> (f32, f32) {
        let (mut largest, mut extent) = (0.0_f32, 0.0_f32);
        for axis in 0..3 {
            largest = largest.max(self.lower[axis].abs()).max(self.upper[axis].abs());
            extent = extent.max(self.upper[axis] - self.lower[axis]);
        }
        (largest, extent)
    }

    /// It grown by what the module's text says of |p| and of the extent.
    fn grown(&self) -> Self {
        let (largest, extent) = self.sizes();
        let pad = largest * COORDINATE_SHARE + extent * EXTENT_SHARE;
        Self { lower: self.lower.map(|x| x - pad), upper: self.upper.map(|x| x + pad) }
    }
}

/// The box in the world of an instance of a mesh, grown by what is lost on the
/// way into mesh space and there, other than the ray's part.
fn instance_box(instance: &Instance, mesh: &Corners) -> Corners {
    let (low, high) = (mesh.lower.map(f64::from), mesh.upper.map(f64::from));
    let centre = [0, 1, 2].map(|i| (low[i] + high[i]) * 0.5);
    let half = [0, 1, 2].map(|i| (high[i] - low[i]) * 0.5);
    let world_centre = instance.to_world.map(|[x, y, z, w]| {
        f64::from(x) * centre[0] + f64::from(y) * centre[1] + f64::from(z) * centre[2] + f64::from(w)
    });
    let world_half = instance.to_world.map(|row| sizes(row, half));
    let reach = [0, 1, 2].map(|i| world_centre[i].abs() + world_half[i]);
    // The largest terms that are added up in mesh space, and those back again.
    let terms = [0, 1, 2].map(|i| {
        let row = instance.to_mesh[i];
        sizes(row, reach) + f64::from(row[3]).abs() + low[i].abs().max(high[i].abs())
    });
    let pad = [0, 1, 2].map(|i| f64::from(MAP_SHARE) * (sizes(instance.to_world[i], terms) + reach[i]));
    Corners {
        lower: [0, 1, 2].map(|i| to_f32(world_centre[i] - world_half[i] - pad[i])),
        upper: [0, 1, 2].map(|i| to_f32(world_centre[i] + world_half[i] + pad[i])),
    }
}

/// How much larger the way into an instance's mesh and back can make an error:
/// the largest row sum of |to_world|·|to_mesh|.
fn condition(instance: &Instance) -> f64 {
    let there = instance.to_mesh.map(|row| sizes(row, [1.0; 3]));
    instance.to_world.map(|row| sizes(row, there)).into_iter().fold(0.0, f64::max)
}

/// The sizes of a row's first three, times a vector.
fn sizes([x, y, z, _]: [f32; 4], vector: [f64; 3]) -> f64 {
    f64::from(x.abs()) * vector[0] + f64::from(y.abs()) * vector[1] + f64::from(z.abs()) * vector[2]
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is part of the pads")]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bvh::{self, MESH_LEVELS};
    use glam::Vec3A;
    use obvhs::aabb::Aabb;

    const IDENTITY: [[f32; 4]; 3] = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];

    /// A rippled strip as compressed nodes and triangles.
    fn strip(count: u16) -> (Vec<Node>, Vec<Triangle>) {
        let at = |i: u16| Vec3A::new(f32::from(i) * 0.1 - 3.0, (f32::from(i) * 0.7).sin(), f32::from(i % 2));
        let corners: Vec<_> = (0..count).map(|i| [at(i), at(i + 1), at(i + 2)]).collect();
        let boxes: Vec<_> = corners
            .iter()
            .map(|corners| {
                let mut aabb = Aabb::empty();
                corners.iter().for_each(|&corner| {
                    aabb.extend(corner);
                });
                aabb
            })
            .collect();
        let tree = bvh::build(&boxes, MESH_LEVELS).expect("a tree");
        let word = |p: Vec3A| [p.x.to_bits(), p.y.to_bits(), p.z.to_bits(), 0];
        let triangles = tree
            .order
            .iter()
            .map(|&i| {
                let [a, b, c] = corners[i as usize].map(word);
                Triangle { a, b, c }
            })
            .collect();
        (tree.nodes.iter().map(|node| bytemuck::cast(*node)).collect(), triangles)
    }

    fn contains(outer: &Corners, inner: &Corners) -> bool {
        (0..3).all(|axis| outer.lower[axis] <= inner.lower[axis] && inner.upper[axis] <= outer.upper[axis])
    }

    #[test]
    fn every_triangle_lies_in_all_boxes_above_it() {
        for count in [1, 2, 7, 100, 3000] {
            let (nodes, triangles) = strip(count);
            let tree = WideTree::build(&nodes, &triangles, &[], 0, 0).expect("it is small");
            assert_eq!(tree.nodes.len(), nodes.len());
            let everything = Corners { lower: [-1.0e9; 3], upper: [1.0e9; 3] };
            let mut open = vec![(0, everything)];
            let mut seen = vec![0; triangles.len()];
            while let Some((node, around)) = open.pop() {
                for slot in 0..8 {
                    let (child, aabb) = (tree.nodes[node].children[slot], tree.nodes[node].slot_box(slot));
                    if child == Child::NOTHING {
                        assert!((0..3).all(|axis| aabb.lower[axis] > aabb.upper[axis]));
                        continue;
                    }
                    assert!(contains(&around, &aabb));
                    if child.is_leaf() {
                        for place in child.first()..child.first() + child.count() {
                            seen[place] += 1;
                            assert!(contains(&aabb, &Corners::of_triangle(&triangles[place])));
                        }
                    } else {
                        open.push((child.node(), aabb));
                    }
                }
            }
            assert!(seen.iter().all(|&times| times == 1));
        }
    }

    #[test]
    fn an_instance_lies_in_its_box() {
        let to_world = [[0.0, -2.0, 0.5, 10.0], [1.0e-3, 0.0, 0.0, -7.0], [0.0, 0.5, 3.0, 0.1]];
        let instance = Instance { to_world, to_mesh: IDENTITY, ..Zeroable::zeroed() };
        let mesh = Corners { lower: [-1.0, 0.0, 2.0], upper: [3.0, 0.5, 2.0] };
        let aabb = instance_box(&instance, &mesh);
        for corner in 0..8 {
            let p = [0, 1, 2].map(|i| if corner >> i & 1 == 0 { mesh.lower[i] } else { mesh.upper[i] });
            let mapped = to_world.map(|r| r[0] * p[0] + r[1] * p[1] + r[2] * p[2] + r[3]);
            assert!(contains(&aabb, &Corners { lower: mapped, upper: mapped }));
        }
    }

    #[test]
    fn rays_are_grown_more_where_instances_are() {
        let (nodes, triangles) = strip(50);
        let plain = WideTree::build(&nodes, &triangles, &[], 0, 0).expect("it is small");
        let instance = Instance { to_world: IDENTITY, to_mesh: IDENTITY, ..Zeroable::zeroed() };
        let placed = WideTree::build(&nodes, &triangles, &[instance], 0, 0).expect("it is small");
        assert!(plain.origin_share == COORDINATE_SHARE);
        assert!(placed.origin_share > COORDINATE_SHARE);
    }

    #[test]
    fn a_node_fills_four_cache_lines() {
        assert_eq!((size_of::<WideNode>(), align_of::<WideNode>() % 64), (256, 0));
    }
}
