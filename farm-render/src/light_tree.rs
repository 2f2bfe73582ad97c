//! The tree by which the kernel chooses among the lights that have a place
//! (`light_tree.wgsl`): binary, built from the top by a surface-area-and-orientation
//! heuristic (Conty Estevez & Kulla 2018, section 4).
//!
//! Only additions, products, quotients and roots of f64, which are the same on
//! every machine; so the tree is.

use bytemuck::Zeroable as _;
use glam::DVec3;

use crate::geometry::pack_octahedral;
use crate::layout::{Light, light_node_flags};
use crate::pack::{to_f32, word_index};

/// Places at which a node's lights may be parted, along each axis.
const BINS: usize = 12;

/// Bits of a trail, and so the largest depth.
const TRAIL_BITS: u32 = 32;

/// Cosine of 2e-4, more than which no axis is off by: its 15 bits are steps of 6e-5.
const AXIS_COSINE: f64 = 1.0 - 2e-8;

/// Intensities are held below this: the kernel takes no squared distance for less than
/// 1e-18, and the sum of two quotients is a float.
const BRIGHTEST: f64 = 1e18;

/// What the tree knows of a light.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitter {
    /// The box around it.
    pub(crate) low: DVec3,
    pub(crate) high: DVec3,
    /// Unit vector in the middle of the directions in which it shines brightest.
    pub(crate) axis: DVec3,
    /// Cosine of the angle around the axis within which those lie.
    pub(crate) cosine: f64,
    /// Cosine of the angle beyond them at which it stops shining.
    pub(crate) falloff_cosine: f64,
    /// Whether it shines along the other end of the axis too.
    pub(crate) both_ways: bool,
    /// Luminance of its largest intensity.
    pub(crate) intensity: f64,
}

impl Emitter {
    fn center(&self) -> DVec3 {
        (self.low + self.high) * 0.5
    }
}

/// A tree: its root, its pairs of nodes, and the trail to each light, of which bit
/// `n` says which of a pair leads to it from depth `n`.
#[derive(Debug)]
pub(crate) struct LightTree {
    pub(crate) root: u32,
    pub(crate) pairs: Vec<Light>,
    pub(crate) trails: Vec<u32>,
}

/// Builds the tree over at least one emitter. Pairs are named by their place plus
/// `first_pair`, lights by theirs among `emitters` plus `first_light`.
pub(crate) fn build(emitters: &[Emitter], first_pair: usize, first_light: usize) -> LightTree {
    let mut order: Vec<usize> = (0..emitters.len()).collect();
    let mut tree = LightTree { root: 0, pairs: Vec::new(), trails: vec![0; emitters.len()] };
    let mut open = vec![Span { start: 0, end: emitters.len(), depth: 0, trail: 0, above: None }];
    while let Some(span) = open.pop() {
        let lights = &mut order[span.start..span.end];
        let node = Bounds::around(emitters, lights).node();
        let link = if let [light] = lights {
            tree.trails[*light] = span.trail;
            word_index(first_light + *light) | light_node_flags::IS_LIGHT
        } else {
            let middle = span.start + part(emitters, lights, span.depth);
            let pair = tree.pairs.len();
            tree.pairs.push(Light::zeroed());
            let (depth, second) = (span.depth + 1, span.trail | 1 << span.depth);
            let below = Span { depth, above: Some((pair, 1)), ..span };
            open.push(Span { start: middle, trail: second, ..below });
            open.push(Span { end: middle, above: Some((pair, 0)), ..below });
            word_index(first_pair + pair)
        };
        match span.above {
            None => tree.root = link,
            Some((pair, place)) => node.put(&mut tree.pairs[pair], place, link),
        }
    }
    tree
}

/// Lights that are yet to be put under a node, and the pair that this is one of.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    depth: u32,
    trail: u32,
    above: Option<(usize, usize)>,
}

/// A node as the kernel reads it.
struct Node {
    middle: [f32; 3],
    /// Half the box's sizes along x and y.
    size_xy: u32,
    /// That along z, and the intensity.
    size_z: u32,
    axis: u32,
    cosines: u32,
}

impl Node {
    /// Makes it one of a pair, from where `link` leads on.
    fn put(&self, pair: &mut Light, place: usize, link: u32) {
        pair.place[place] = self.axis;
        pair.place[2 + place] = self.cosines;
        let [x, y, z] = self.middle;
        let sphere = [x, y, z, f32::from_bits(self.size_xy)];
        if place == 0 {
            (pair.threshold, pair.direction, pair.pick) = (link, sphere, f32::from_bits(self.size_z));
        } else {
            (pair.alias_entry, pair.intensity, pair.kind) = (link, sphere, self.size_z);
        }
    }
}

/// Two numbers from 0 on, as the upper halves of floats, the first in the lower half
/// of the word. The second is never so small that the word is no normal float: some
/// drivers take others for 0.
fn halves(low: u32, high: u32) -> u32 {
    low | high.max(f32::MIN_POSITIVE.to_bits() >> 16) << 16
}

/// The least float of 16 bits that is not below a number.
fn rounded_up(value: f64) -> u32 {
    (to_f32(value).to_bits() + 0xffff) >> 16
}

/// The float of 16 bits next to a number.
fn rounded(value: f64) -> u32 {
    (to_f32(value).to_bits() + 0x8000) >> 16
}

/// What is around some lights.
struct Bounds {
    low: DVec3,
    high: DVec3,
    axis: DVec3,
    /// Cosine of the largest angle between the axis and where a light shines.
    cosine: f64,
    falloff_cosine: f64,
    both_ways: bool,
    intensity: f64,
}

impl Bounds {
    fn around(emitters: &[Emitter], lights: &[usize]) -> Self {
        let lights = || lights.iter().map(|&light| &emitters[light]);
        // Lights that shine both ways have no sign.
        let reference = lights().next().map_or(DVec3::Z, |light| light.axis);
        let upright = |light: &Emitter| {
            if light.both_ways && light.axis.dot(reference) < 0.0 { -light.axis } else { light.axis }
        };
        let sum: DVec3 = lights().map(|light| upright(light) * light.intensity).sum();
        let axis = if sum.length() > 1e-12 { sum / sum.length() } else { reference };
        let cosine =
            lights().map(|light| cosine_of_sum(axis.dot(upright(light)), light.cosine)).fold(1.0, f64::min);
        Self {
            low: lights().map(|light| light.low).fold(DVec3::INFINITY, DVec3::min),
            high: lights().map(|light| light.high).fold(DVec3::NEG_INFINITY, DVec3::max),
            axis,
            cosine,
            falloff_cosine: lights().map(|light| light.falloff_cosine).fold(1.0, f64::min),
            both_ways: lights().any(|light| light.both_ways),
            intensity: lights().map(|light| light.intensity).sum(),
        }
    }

    fn node(&self) -> Node {
        let middle = ((self.low + self.high) * 0.5).to_array().map(to_f32);
        // Around the middle as it was rounded, so that all lies within.
        let center = DVec3::from_array(middle.map(f64::from));
        let reach = (self.high - center).max(center - self.low) * 1.000_001;
        let both_ways = if self.both_ways { light_node_flags::SHINES_BOTH_WAYS } else { 0 };
        let spread = cosine_of_sum(self.cosine, AXIS_COSINE);
        let half_sine = ((1.0 - spread) * 0.5).max(0.0).sqrt();
        let falloff = (self.falloff_cosine - 1e-6).max(-1.0);
        Node {
            middle,
            size_xy: halves(rounded_up(reach.x), rounded_up(reach.y)),
            size_z: halves(rounded_up(reach.z), rounded(self.intensity.min(BRIGHTEST))),
            axis: pack_octahedral(self.axis.as_vec3()),
            // Rounded away from the axis.
            cosines: steps(half_sine + 1.0 / 65_535.0, 65_535)
                | steps((falloff + 1.0) * 0.5, 32_767) << 16
                | both_ways,
        }
    }
}

/// A share of 0 to 1 as a number of whole steps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held between 0 and the last")]
fn steps(share: f64, last: u32) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(last)) as u32
}

/// Cosine of the sum of two angles between 0 and π; −1 where that is beyond π.
fn cosine_of_sum(one: f64, other: f64) -> f64 {
    if one <= -other {
        return -1.0;
    }
    let sines = ((1.0 - one * one).max(0.0) * (1.0 - other * other).max(0.0)).sqrt();
    (one * other - sines).clamp(-1.0, 1.0)
}

/// What is summed over a bin or a half.
#[derive(Clone, Copy)]
struct Sum {
    low: DVec3,
    high: DVec3,
    axis: DVec3,
    intensity: f64,
    count: usize,
}

impl Sum {
    const NOTHING: Self =
        Self { low: DVec3::INFINITY, high: DVec3::NEG_INFINITY, axis: DVec3::ZERO, intensity: 0.0, count: 0 };

    fn add(&mut self, other: &Self) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.axis += other.axis;
        self.intensity += other.intensity;
        self.count += other.count;
    }

    fn of(light: &Emitter) -> Self {
        let axis = if light.both_ways || light.cosine < 0.0 { DVec3::ZERO } else { light.axis };
        Self {
            low: light.low,
            high: light.high,
            axis: axis * light.intensity,
            intensity: light.intensity,
            count: 1,
        }
    }

    /// Intensity times surface, times 1 for lights that shine alike, to 2 for such
    /// that shine everywhere.
    fn cost(&self) -> f64 {
        if self.count == 0 || self.intensity <= 0.0 {
            return 0.0;
        }
        let size = self.high - self.low;
        let area = size.x * size.y + size.y * size.z + size.z * size.x;
        self.intensity * area * (2.0 - (self.axis.length() / self.intensity).min(1.0))
    }
}

/// Orders the lights so that those of the first half come first, and says how many
/// those are: at least one, and not all.
fn part(emitters: &[Emitter], lights: &mut [usize], depth: u32) -> usize {
    let (low, high) = lights.iter().fold((DVec3::INFINITY, DVec3::NEG_INFINITY), |(low, high), &light| {
        (low.min(emitters[light].center()), high.max(emitters[light].center()))
    });
    let size = high - low;
    let best = (0..3)
        .filter(|&axis| size[axis] > 0.0)
        .filter_map(|axis| cheapest_plane(emitters, lights, axis, low[axis], size))
        .min_by(|a, b| a.cost.total_cmp(&b.cost));
    // Whatever is cut off, the rest must fit below.
    if let Some(plane) = best
        && depth + 1 + even_depth(lights.len() - 1) <= TRAIL_BITS
    {
        let is_first = |light: usize| {
            bin_of(emitters[light].center()[plane.axis], low[plane.axis], size[plane.axis]) < plane.bin
        };
        // Stable, so that the order does not depend on how it is done.
        lights.sort_by_key(|&light| !is_first(light));
        return lights.iter().filter(|&&light| is_first(light)).count();
    }
    let axis = size.max_position();
    lights.sort_by(|&a, &b| emitters[a].center()[axis].total_cmp(&emitters[b].center()[axis]));
    lights.len() / 2
}

/// Depth of a tree whose halves have as many lights each.
fn even_depth(lights: usize) -> u32 {
    lights.next_power_of_two().ilog2()
}

struct Plane {
    axis: usize,
    /// The first bin behind it.
    bin: usize,
    cost: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a dozen bins"
)]
fn bin_of(center: f64, low: f64, size: f64) -> usize {
    (((center - low) / size * BINS as f64) as usize).min(BINS - 1)
}

/// The plane across an axis that parts the lights at the least cost; `None` where
/// all lie in one bin. Long and narrow parts cost more along their short sides.
fn cheapest_plane(
    emitters: &[Emitter],
    lights: &[usize],
    axis: usize,
    low: f64,
    size: DVec3,
) -> Option<Plane> {
    let mut bins = [Sum::NOTHING; BINS];
    for &light in lights {
        bins[bin_of(emitters[light].center()[axis], low, size[axis])].add(&Sum::of(&emitters[light]));
    }
    let stretch = size.max_element() / size[axis];
    let halves = |bin: usize| {
        let mut sums = [Sum::NOTHING; 2];
        for (i, sum) in bins.iter().enumerate() {
            sums[usize::from(i >= bin)].add(sum);
        }
        sums
    };
    (1..BINS)
        .map(|bin| (bin, halves(bin)))
        .filter(|(_, [first, second])| first.count > 0 && second.count > 0)
        .map(|(bin, [first, second])| Plane { axis, bin, cost: stretch * (first.cost() + second.cost()) })
        .min_by(|a, b| a.cost.total_cmp(&b.cost))
}

#[cfg(test)]
mod tests {
    use crate::random::Random;

    use super::*;

    fn point(center: DVec3) -> Emitter {
        Emitter {
            low: center,
            high: center,
            axis: DVec3::Z,
            cosine: -1.0,
            falloff_cosine: 0.0,
            both_ways: false,
            intensity: 1.0,
        }
    }

    fn check(emitters: &[Emitter]) {
        let tree = build(emitters, 0, 1000);
        assert_eq!(tree.pairs.len(), emitters.len() - 1);
        for (light, &trail) in tree.trails.iter().enumerate() {
            let (mut node, mut rest, mut depth) = (tree.root, trail, 0);
            while node & light_node_flags::IS_LIGHT == 0 {
                let pair = &tree.pairs[node as usize];
                node = if rest & 1 == 0 { pair.threshold } else { pair.alias_entry };
                (rest, depth) = (rest >> 1, depth + 1);
            }
            assert_eq!((node & !light_node_flags::IS_LIGHT) as usize, 1000 + light);
            assert!(depth <= TRAIL_BITS && rest == 0, "light {light} lies {depth} deep");
        }
    }

    #[test]
    fn every_trail_leads_to_its_light_however_the_lights_lie() {
        check(&[point(DVec3::X)]);
        check(&[point(DVec3::X); 700]);
        // Every plane cuts off one light alone.
        let lonely: Vec<Emitter> = (0..300).map(|i| point(DVec3::X * 2.0_f64.powi(i))).collect();
        check(&lonely);
        let grid: Vec<Emitter> =
            (0..1000).map(|i| point(DVec3::new(f64::from(i % 31), f64::from(i / 31), 0.0))).collect();
        check(&grid);
    }

    /// Lights of all kinds about a place.
    fn anything(random: &mut Random, place: DVec3, spread: f64) -> Emitter {
        let mut anywhere = || random.point().as_dvec3();
        let center = place + anywhere() * spread;
        let reach = anywhere().abs() * spread * 0.1;
        let axis = anywhere().normalize_or(DVec3::X);
        let shape = anywhere();
        Emitter {
            low: center - reach,
            high: center + reach,
            axis,
            cosine: [1.0, 1.0 - shape.x.abs() * 0.1, shape.x, -1.0][random.below(4)],
            falloff_cosine: [0.0, shape.y][random.below(2)],
            both_ways: random.below(3) == 0,
            intensity: shape.z.abs() + 0.01,
        }
    }

    /// A node as the kernel reads it: the corners of its box, its axis, the cosine of the
    /// angle around that, that of the falloff, whether it shines both ways, and what.
    fn read(pair: &Light, second: bool) -> ([DVec3; 2], DVec3, f64, f64, bool, f64) {
        let ([x, y, z, xy], high) = match second {
            false => (pair.direction, pair.pick.to_bits()),
            true => (pair.intensity, pair.kind),
        };
        let float = |bits: u32| f64::from(f32::from_bits(bits));
        let (lower, upper) = (|word: u32| float(word << 16), |word: u32| float(word & 0xffff_0000));
        let size = DVec3::new(lower(xy.to_bits()), upper(xy.to_bits()), lower(high));
        let middle = DVec3::new(x.into(), y.into(), z.into());
        let (axis, cosines) = (pair.place[usize::from(second)], pair.place[2 + usize::from(second)]);
        let on_octahedron = |bits: u32| f64::from(bits & 0x7fff) / 16_383.0 - 1.0;
        let (x, y) = (on_octahedron(axis), on_octahedron(axis >> 15));
        let z = 1.0 - x.abs() - y.abs();
        let fold = (-z).max(0.0);
        let axis = DVec3::new(x - fold.copysign(x), y - fold.copysign(y), z).normalize();
        let half_sine = f64::from(cosines & 0xffff) / 65_535.0;
        let falloff = f64::from(cosines >> 16 & 0x7fff) * 2.0 / 32_767.0 - 1.0;
        let both_ways = cosines & light_node_flags::SHINES_BOTH_WAYS != 0;
        let spread = 1.0 - 2.0 * half_sine * half_sine;
        ([middle - size, middle + size], axis, spread, falloff, both_ways, upper(high))
    }

    /// Else the kernel would never choose what shines where no node says so.
    #[test]
    fn every_node_on_the_way_to_a_light_holds_it_as_the_kernel_reads_it() {
        let random = &mut Random(33);
        for (place, spread) in [(0.0, 1.0), (1000.0, 1.0), (-3.0, 1e-3), (1e-3, 1e6)] {
            let emitters: Vec<Emitter> =
                (0..400).map(|_| anything(random, DVec3::splat(place), spread)).collect();
            let tree = build(&emitters, 0, 0);
            let mut sums = vec![[0.0; 2]; tree.pairs.len()];
            for (light, trail) in emitters.iter().zip(&tree.trails) {
                let (mut node, mut rest) = (tree.root, *trail);
                while node & light_node_flags::IS_LIGHT == 0 {
                    let (index, second) = (node as usize, rest & 1 == 1);
                    let pair = &tree.pairs[index];
                    let ([low, high], axis, cosine, falloff, both_ways, _) = read(pair, second);
                    assert!(low.cmple(light.low).all() && light.high.cmple(high).all(), "{light:?}");
                    // By angles, which tell small ones apart.
                    let mut apart = axis.angle_between(light.axis);
                    if both_ways {
                        apart = apart.min(std::f64::consts::PI - apart);
                    }
                    let needed = (apart + light.cosine.acos()).min(std::f64::consts::PI);
                    assert!(cosine.clamp(-1.0, 1.0).acos() > needed - 1e-9, "{light:?}");
                    assert!(falloff <= light.falloff_cosine, "{light:?}");
                    assert!(both_ways || !light.both_ways, "{light:?}");
                    sums[index][usize::from(second)] += light.intensity;
                    node = if second { pair.alias_entry } else { pair.threshold };
                    rest >>= 1;
                }
            }
            for (pair, sums) in tree.pairs.iter().zip(sums) {
                for (second, sum) in [false, true].into_iter().zip(sums) {
                    let (.., intensity) = read(pair, second);
                    // Stored by 8 bits.
                    assert!((intensity / sum - 1.0).abs() < 1.0 / 256.0, "{intensity} for {sum}");
                }
            }
        }
    }
}
