//! A world whose hits are found by trying every triangle, by the kernel's functions
//! written plainly.

use glam::{DAffine3, Vec3, Vec3A};
use obvhs::aabb::Aabb;

use super::super::*;
use crate::bvh::{self, MESH_LEVELS, WORLD_LEVELS};
use crate::layout::{INSTANCE_REFERENCE, Node};

/// What geometry packs, and the places in `triangles` of each instance's mesh.
#[derive(Default)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) triangles: Vec<Triangle>,
    pub(super) instances: Vec<Instance>,
    pub(super) spans: Vec<std::ops::Range<usize>>,
    pub(super) leaves: Vec<(Triangle, Aabb)>,
    pub(super) first_of_world: usize,
    pub(super) end_of_world: usize,
    /// Where triangles that move are at the ends of the parts.
    pub(super) moved: Vec<Triangle>,
    pub(super) root: u32,
    pub(super) parts: u32,
}

pub(super) fn word(index: usize) -> u32 {
    u32::try_from(index).expect("small")
}

fn packed(corners: [Vec3; 3], owner: u32, flags: u32) -> (Triangle, Aabb) {
    let mut aabb = Aabb::empty();
    corners.iter().for_each(|&corner| {
        aabb.extend(corner.into());
    });
    let fourth = [owner, 0, flags];
    let [a, b, c] = [0, 1, 2].map(|i| {
        let [x, y, z] = corners[i].to_array().map(f32::to_bits);
        [x, y, z, fourth[i]]
    });
    (Triangle { a, b, c }, aabb)
}

fn rows(map: &DAffine3) -> [[f32; 4]; 3] {
    let map = map.as_affine3a();
    [0, 1, 2].map(|i| {
        let row = map.matrix3.row(i);
        [row.x, row.y, row.z, map.translation[i]]
    })
}

impl World {
    /// Adds triangles to the world as an instance of their own, with the flags
    /// that `flags` gives them by index.
    pub(super) fn with_triangles(mut self, triangles: &[[Vec3; 3]], flags: impl Fn(usize) -> u32) -> Self {
        let owner = word(self.instances.len());
        self.instances.push(Instance { root: NONE, ..bytemuck::Zeroable::zeroed() });
        self.spans.push(0..0);
        self.leaves.extend((0..).zip(triangles).map(|(i, &corners)| packed(corners, owner, flags(i))));
        self
    }

    /// The same for triangles that move; `shapes` are they at the opening of the
    /// shutter and at the ends of all parts.
    pub(super) fn with_moving_triangles(
        mut self,
        shapes: &[Vec<[Vec3; 3]>],
        flags: impl Fn(usize) -> u32,
    ) -> Self {
        let owner = word(self.instances.len());
        self.instances.push(Instance { root: NONE, ..bytemuck::Zeroable::zeroed() });
        self.spans.push(0..0);
        self.parts = word(shapes.len() - 1);
        for index in 0..shapes[0].len() {
            let keys = word(self.moved.len()) << triangle_flags::KEYS_SHIFT;
            let flags = flags(index) | triangle_flags::MOVES | keys;
            let (triangle, mut aabb) = packed(shapes[0][index], owner, flags);
            for shape in &shapes[1..] {
                let (end, around) = packed(shape[index], 0, 0);
                self.moved.push(end);
                aabb = aabb.union(&around);
            }
            self.leaves.push((triangle, aabb));
        }
        self
    }

    /// Adds a mesh with a tree of its own and its instances.
    pub(super) fn with_instances(
        mut self,
        triangles: &[[Vec3; 3]],
        flags: impl Fn(usize) -> u32,
        maps: &[DAffine3],
    ) -> Self {
        assert!(self.first_of_world == 0, "not packed yet");
        let leaves = (0..).zip(triangles).map(|(i, &corners)| packed(corners, NONE, flags(i))).collect();
        let first = self.triangles.len();
        let (root, bounds) = self.add_tree(leaves, MESH_LEVELS);
        for map in maps {
            let name = word(self.instances.len());
            let (to_world, to_mesh) = (rows(map), rows(&map.inverse()));
            self.instances.push(Instance { to_mesh, to_world, root, ..bytemuck::Zeroable::zeroed() });
            self.spans.push(first..self.triangles.len());
            let mut aabb = Aabb::empty();
            for corner in 0..8 {
                let pick = |axis: usize| if corner >> axis & 1 == 0 { bounds.min } else { bounds.max }[axis];
                let corner = Vec3::new(pick(0), pick(1), pick(2)).as_dvec3();
                aabb.extend(Vec3A::from(map.transform_point3(corner).as_vec3()));
            }
            let reference = Triangle { a: [0, 0, 0, name | INSTANCE_REFERENCE], b: [0; 4], c: [0; 4] };
            self.leaves.push((reference, aabb));
        }
        self
    }

    fn add_tree(&mut self, leaves: Vec<(Triangle, Aabb)>, levels: u32) -> (u32, Aabb) {
        let boxes: Vec<Aabb> = leaves.iter().map(|leaf| leaf.1).collect();
        let tree = bvh::build(&boxes, levels).expect("a tree");
        let (first_node, first_leaf) = (word(self.nodes.len()), word(self.triangles.len()));
        self.nodes.extend(tree.nodes.iter().map(|node| {
            let mut node: Node = bytemuck::cast(*node);
            node.children[0] += first_node;
            node.children[1] += first_leaf;
            node
        }));
        self.triangles.extend(tree.order.iter().map(|&i| leaves[i as usize].0));
        (first_node, boxes.iter().copied().reduce(|a, b| a.union(&b)).expect("a box"))
    }

    pub(super) fn packed(mut self) -> Self {
        self.first_of_world = self.triangles.len();
        let leaves = std::mem::take(&mut self.leaves);
        self.root = self.add_tree(leaves, WORLD_LEVELS).0;
        self.end_of_world = self.triangles.len();
        let first = word(self.end_of_world) << triangle_flags::KEYS_SHIFT;
        let is_moving = |triangle: &&mut Triangle| triangle.c[3] & triangle_flags::MOVES != 0;
        self.triangles.iter_mut().filter(is_moving).for_each(|triangle| triangle.c[3] += first);
        self.triangles.append(&mut self.moved);
        self
    }

    pub(super) fn tree(&self) -> WideTree {
        WideTree::build(&self.nodes, &self.triangles, &self.instances, self.root, self.parts)
            .expect("it is small")
            .with_quads(&self.instances)
    }

    pub(super) fn traversal<'a>(&'a self, tree: &'a WideTree) -> Traversal<'a> {
        Traversal::new(tree, &self.triangles, &self.instances, self.parts)
    }

    /// All that a ray meets anywhere, unordered.
    pub(super) fn all_hits(&self, ray: &Ray) -> Vec<Hit> {
        let mut hits = Vec::new();
        let world = kernel::local_ray(ray.origin.into(), ray.direction.into());
        let entries = self.triangles.iter().enumerate().take(self.end_of_world).skip(self.first_of_world);
        for (place, entry) in entries {
            match referenced_instance(entry) {
                None => {
                    let entry = kernel::triangle_at_time(&self.triangles, entry, ray.time, self.parts);
                    hits.extend(kernel::hit(&world, &entry, place, NONE));
                }
                Some(name) => {
                    let rows = &self.instances[name as usize].to_mesh;
                    let local = kernel::local_ray(
                        kernel::transform_point(rows, ray.origin.into()),
                        kernel::transform_direction(rows, ray.direction.into()),
                    );
                    let span = self.spans[name as usize].clone();
                    hits.extend(
                        span.filter_map(|place| kernel::hit(&local, &self.triangles[place], place, name)),
                    );
                }
            }
        }
        hits.retain(|hit| kernel::is_behind(ray, hit));
        hits
    }

    pub(super) fn closest(&self, ray: &Ray) -> Hit {
        let none =
            Hit { t: ray.t_max, instance: NONE, triangle: NONE, b: 0.0, c: 0.0, front: false, opaque: true };
        self.all_hits(ray).into_iter().fold(
            none,
            |best, hit| {
                if kernel::is_closer(&hit, &best) { hit } else { best }
            },
        )
    }
}

/// `shaders/wgsl/intersect.wgsl` and `motion.wgsl`, and what they need, line by line.
mod kernel {
    use super::{Hit, NONE, Ray, Triangle};
    use crate::layout::triangle_flags;
    use glam::{Vec2, Vec3};

    pub(super) struct LocalRay {
        origin: Vec3,
        axis: u32,
        shear: Vec3,
    }

    fn permute(v: Vec3, axis: u32) -> Vec3 {
        match axis {
            0 => Vec3::new(v.y, v.z, v.x),
            1 => Vec3::new(v.z, v.x, v.y),
            _ => v,
        }
    }

    fn divisible(x: f32) -> f32 {
        if x.abs() < 1.0e-18 {
            return if x < 0.0 { -1.0e-18 } else { 1.0e-18 };
        }
        x
    }

    pub(super) fn local_ray(origin: Vec3, direction: Vec3) -> LocalRay {
        let size = Vec3::new(direction.x.abs(), direction.y.abs(), direction.z.abs());
        let mut axis = 2;
        if size.x >= size.y && size.x >= size.z {
            axis = 0;
        } else if size.y >= size.z {
            axis = 1;
        }
        let d = permute(direction, axis);
        let scale = 1.0 / divisible(d.z);
        LocalRay { origin, axis, shear: Vec3::new(d.x * scale, d.y * scale, scale) }
    }

    fn edge(a: Vec2, b: Vec2) -> f32 {
        (b.x - a.x) * (b.y + a.y) - (b.y - a.y) * (b.x + a.x)
    }

    pub(super) fn hit(ray: &LocalRay, triangle: &Triangle, place: usize, inside: u32) -> Option<Hit> {
        let [a, b, c] = [triangle.a, triangle.b, triangle.c].map(|bits| {
            let corner = Vec3::new(f32::from_bits(bits[0]), f32::from_bits(bits[1]), f32::from_bits(bits[2]));
            let o = ray.origin;
            permute(Vec3::new(corner.x - o.x, corner.y - o.y, corner.z - o.z), ray.axis)
        });
        let [a2, b2, c2] = [a, b, c].map(|v| Vec2::new(v.x - ray.shear.x * v.z, v.y - ray.shear.y * v.z));
        let u = edge(b2, c2);
        let v = edge(c2, a2);
        let w = edge(a2, b2);
        let determinant = (u + v) + w;
        let is_inside = (u >= 0.0 && v >= 0.0 && w >= 0.0) || (u <= 0.0 && v <= 0.0 && w <= 0.0);
        let has_area = determinant.abs() > 0.0;
        if !is_inside || !has_area {
            return None;
        }
        let inverse = 1.0 / determinant;
        let front = (determinant > 0.0) == (ray.shear.z > 0.0);
        let t = ((u * a.z + v * b.z) + w * c.z) * (ray.shear.z * inverse);
        let (owner, flags) = (triangle.a[3], triangle.c[3]);
        if !front && (flags & triangle_flags::CULLS_BACK) != 0 {
            return None;
        }
        let instance = if owner == NONE { inside } else { owner };
        let opaque = (flags & triangle_flags::OPAQUE) != 0;
        Some(Hit { t, instance, triangle: super::word(place), b: v * inverse, c: w * inverse, front, opaque })
    }

    pub(super) fn triangle_at_time(
        triangles: &[Triangle],
        triangle: &Triangle,
        time: u32,
        parts: u32,
    ) -> Triangle {
        if triangle.c[3] & triangle_flags::MOVES == 0 {
            return *triangle;
        }
        let place = u64::from(time) * u64::from(parts);
        let part = usize::try_from(place >> 32).expect("a part");
        let bits = u16::try_from(place >> 16 & 0xffff).expect("16 bits");
        let more = u8::try_from(place >> 8 & 0xff).expect("8 bits");
        let over = f32::from(bits) / 65_536.0 + f32::from(more) / 16_777_216.0;
        let keys = (triangle.c[3] >> 3) as usize;
        let first = if part == 0 { *triangle } else { triangles[keys + part - 1] };
        let second = triangles[keys + part];
        let corner = |first: [u32; 4], second: [u32; 4], fourth: u32| {
            let vector =
                |v: [u32; 4]| Vec3::new(f32::from_bits(v[0]), f32::from_bits(v[1]), f32::from_bits(v[2]));
            let (first, second) = (vector(first), vector(second));
            let at = first + (second - first) * over;
            [at.x.to_bits(), at.y.to_bits(), at.z.to_bits(), fourth]
        };
        Triangle {
            a: corner(first.a, second.a, triangle.a[3]),
            b: corner(first.b, second.b, triangle.b[3]),
            c: corner(first.c, second.c, triangle.c[3]),
        }
    }

    fn dot3(a: [f32; 4], b: Vec3) -> f32 {
        (a[0] * b.x + a[1] * b.y) + a[2] * b.z
    }

    pub(super) fn transform_point(rows: &[[f32; 4]; 3], p: Vec3) -> Vec3 {
        Vec3::new(dot3(rows[0], p) + rows[0][3], dot3(rows[1], p) + rows[1][3], dot3(rows[2], p) + rows[2][3])
    }

    pub(super) fn transform_direction(rows: &[[f32; 4]; 3], d: Vec3) -> Vec3 {
        Vec3::new(dot3(rows[0], d), dot3(rows[1], d), dot3(rows[2], d))
    }

    pub(super) fn is_behind(ray: &Ray, hit: &Hit) -> bool {
        hit.t > ray.t_min
            || (hit.t == ray.t_min && (ray.after_instance, ray.after_triangle) < (hit.instance, hit.triangle))
    }

    pub(super) fn is_closer(hit: &Hit, best: &Hit) -> bool {
        hit.t < best.t || (hit.t == best.t && (hit.instance, hit.triangle) < (best.instance, best.triangle))
    }
}
