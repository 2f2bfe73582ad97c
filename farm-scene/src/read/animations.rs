//! Animations: which there are, and where one of them has the nodes at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gltf::json;
use json::animation::{Channel, Property};
use json::validation::Checked;

use super::accessors::Integers;
use super::curves::{Curve, Interpolation, unit_rotation};
use super::{Context, morphs, named, short_name};
use crate::error::{Fault, LoadError, Problem};
use crate::limits::SceneLimits;
use crate::load::{AnimationSummary, Warnings};
use crate::validate::at_most;

/// Names that an error lists.
const SHOWN: usize = 10;

/// One animation, ready to be evaluated.
#[derive(Debug, Default)]
pub(super) struct Animation {
    tracks: Vec<Track>,
}

/// What moves one property of one node.
#[derive(Debug)]
struct Track {
    node: usize,
    property: Property,
    curve: Arc<Curve>,
}

/// What an animation says of the nodes; those it does not name are at rest.
pub(super) type Pose = BTreeMap<usize, NodePose>;

/// What an animation says of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodePose {
    pub(super) translation: Option<[f64; 3]>,
    pub(super) rotation: Option<[f64; 4]>,
    pub(super) scale: Option<[f64; 3]>,
    pub(super) weights: Option<Vec<f64>>,
}

impl NodePose {
    /// Whether it moves the node itself.
    pub(super) fn is_placed(&self) -> bool {
        self.translation.is_some() || self.rotation.is_some() || self.scale.is_some()
    }
}

impl Animation {
    /// The nodes at a time in seconds.
    pub(super) fn pose(&self, time: f64) -> Pose {
        let mut pose = Pose::new();
        for Track { node, property, curve } in &self.tracks {
            let node: &mut NodePose = pose.entry(*node).or_default();
            let vector = || {
                let values = curve.at(time);
                std::array::from_fn(|axis| values[axis])
            };
            match property {
                Property::Translation => node.translation = Some(vector()),
                Property::Rotation => node.rotation = Some(curve.rotation_at(time)),
                Property::Scale => node.scale = Some(vector()),
                Property::MorphTargetWeights => node.weights = Some(curve.at(time)),
            }
        }
        pose
    }
}

/// The animation of a name or, where none has that name, of a number.
pub(super) fn find(scene: &str, known: &[AnimationSummary], wanted: &str) -> Result<usize, LoadError> {
    let by_name = known.iter().position(|animation| animation.name == wanted);
    let by_number = || wanted.parse().ok().filter(|&number: &usize| number < known.len());
    by_name.or_else(by_number).ok_or_else(|| {
        let mut names: Vec<_> = known.iter().take(SHOWN).map(|it| format!("`{}`", it.name)).collect();
        if known.len() > SHOWN {
            names.push(format!("{} more", known.len() - SHOWN));
        }
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        LoadError::Options(format!("scene `{scene}` has no animation `{wanted}`; it has {names}"))
    })
}

/// What the file's animations are. One that is wrong is an error only for those
/// who want to see it.
pub(super) fn summaries(
    context: &Context<'_>,
    warnings: &mut Warnings,
) -> Result<Vec<AnimationSummary>, Fault> {
    let animations = &context.root.animations;
    let channels = animations.iter().map(|animation| animation.channels.len() as u64).sum();
    at_most("animations", animations.len() as u64, context.limits.channels)
        .and_then(|()| at_most("channels", channels, context.limits.channels))
        .map_err(|problem| Fault::new("animations", problem))?;
    let mut reader = Reader::new(context);
    let mut summary = |(index, animation): (usize, &json::Animation)| {
        let duration = reader.duration(index, animation);
        if let Err(fault) = &duration {
            warnings.push(format!("{fault}; the length of the animation is not known"));
        }
        summary(index, animation, duration.unwrap_or(0.0), context.limits)
    };
    Ok(animations.iter().enumerate().map(&mut summary).collect())
}

fn summary(
    index: usize,
    file: &json::Animation,
    duration_seconds: f64,
    limits: &SceneLimits,
) -> AnimationSummary {
    let of = |wanted: Property| {
        let moves = |channel: &&Channel| matches!(channel.target.path, Checked::Valid(it) if it == wanted);
        file.channels.iter().filter(moves).count()
    };
    let name = file.name.as_deref().filter(|name| !name.is_empty());
    AnimationSummary {
        name: name.map_or_else(|| index.to_string(), |name| short_name(name, limits)),
        duration_seconds,
        channels: file.channels.len(),
        nodes: file.channels.iter().map(|channel| channel.target.node.value()).collect::<BTreeSet<_>>().len(),
        translations: of(Property::Translation),
        rotations: of(Property::Rotation),
        scales: of(Property::Scale),
        weights: of(Property::MorphTargetWeights),
    }
}

/// Reads one animation of the file.
pub(super) fn read(context: &Context<'_>, index: usize) -> Result<Animation, Fault> {
    let file = named(&context.root.animations, index, "animation", "animations")?;
    let mut reader = Reader::new(context);
    let mut tracks = Vec::with_capacity(file.channels.len());
    let mut moved = BTreeSet::new();
    for (i, channel) in file.channels.iter().enumerate() {
        let place = format!("animations[{index}].channels[{i}]");
        // A path of an extension that is not understood, of which
        // `extensions` has warned, or one that the format does not have.
        let Checked::Valid(property) = channel.target.path else { continue };
        let node = channel.target.node.value();
        if !moved.insert((node, property as u32)) {
            let text = format!("the same property of node {node} is moved by another channel too");
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        let width = width(context, node, property, &place)?;
        // A mesh without morph targets has no weights to move.
        if width == 0 {
            continue;
        }
        let curve = reader.curve(index, file, channel.sampler.value(), property, width, &place)?;
        tracks.push(Track { node, property, curve });
    }
    Ok(Animation { tracks })
}

/// Numbers in a value of a node's property.
fn width(context: &Context<'_>, node: usize, property: Property, place: &str) -> Result<usize, Fault> {
    let file = named(&context.root.nodes, node, "node", place)?;
    match property {
        Property::Translation | Property::Rotation | Property::Scale if file.matrix.is_some() => {
            let text = format!("it moves node {node}, which has a matrix; expected separate properties");
            Err(Fault::new(place, Problem::Malformed(text)))
        }
        Property::Translation | Property::Scale => Ok(3),
        Property::Rotation => Ok(4),
        Property::MorphTargetWeights => match file.mesh {
            Some(mesh) => {
                morphs::targets(named(&context.root.meshes, mesh.value(), "mesh", place)?, mesh.value())
            }
            None => Ok(0),
        },
    }
}

/// Reads samplers, each once for each use.
struct Reader<'a> {
    context: &'a Context<'a>,
    times: BTreeMap<usize, Arc<[f32]>>,
    curves: BTreeMap<(usize, u32, usize), Arc<Curve>>,
    /// Numbers read.
    numbers: u64,
}

impl<'a> Reader<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Self { context, times: BTreeMap::new(), curves: BTreeMap::new(), numbers: 0 }
    }

    /// The time of an animation's last key.
    fn duration(&mut self, index: usize, file: &json::Animation) -> Result<f64, Fault> {
        let mut samplers = BTreeSet::new();
        let mut duration = 0.0_f64;
        for channel in &file.channels {
            let sampler = channel.sampler.value();
            if samplers.insert(sampler) {
                let place = format!("animations[{index}].samplers[{sampler}]");
                let file = named(&file.samplers, sampler, "sampler", &place)?;
                let times = self.times(file.input.value(), &place)?;
                duration = duration.max(times.last().copied().map_or(0.0, f64::from));
            }
        }
        Ok(duration)
    }

    fn curve(
        &mut self,
        index: usize,
        file: &json::Animation,
        sampler: usize,
        property: Property,
        width: usize,
        place: &str,
    ) -> Result<Arc<Curve>, Fault> {
        let key = (sampler, property as u32, width);
        if let Some(curve) = self.curves.get(&key) {
            return Ok(Arc::clone(curve));
        }
        let file = named(&file.samplers, sampler, "sampler", place)?;
        let place = format!("animations[{index}].samplers[{sampler}]");
        let interpolation = match file.interpolation {
            Checked::Valid(json::animation::Interpolation::Step) => Interpolation::Step,
            Checked::Valid(json::animation::Interpolation::Linear) => Interpolation::Linear,
            Checked::Valid(json::animation::Interpolation::CubicSpline) => Interpolation::CubicSpline,
            Checked::Invalid => {
                return Err(Fault::new(place, Problem::Malformed("unknown interpolation".to_owned())));
            }
        };
        let times = self.times(file.input.value(), &place)?;
        let values = self.values(file.output.value(), property, &format!("{place}.output"))?;
        let curve = Curve { times, values, width, interpolation };
        check(&curve, property).map_err(|problem| Fault::new(format!("{place}.output"), problem))?;
        let curve = Arc::new(curve);
        self.curves.insert(key, Arc::clone(&curve));
        Ok(curve)
    }

    /// The times of keys, which never fall.
    fn times(&mut self, accessor: usize, place: &str) -> Result<Arc<[f32]>, Fault> {
        if let Some(times) = self.times.get(&accessor) {
            return Ok(Arc::clone(times));
        }
        let place = format!("{place}.input");
        self.spend(accessor, 1, &place)?;
        let times = self.context.accessors.floats::<1>(accessor, &place, Integers::AsStated)?;
        let times: Arc<[f32]> = times.into_iter().flatten().collect();
        if times.is_empty() {
            return Err(Fault::new(place, Problem::Missing("a key")));
        }
        if let Some(key) = times.windows(2).position(|pair| pair[1] < pair[0]) {
            let text = format!("key {} is at {} s, after one at {} s", key + 1, times[key + 1], times[key]);
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        self.times.insert(accessor, Arc::clone(&times));
        Ok(times)
    }

    fn values(&mut self, accessor: usize, property: Property, place: &str) -> Result<Vec<f32>, Fault> {
        let accessors = &self.context.accessors;
        Ok(match property {
            Property::Translation | Property::Scale => {
                self.spend(accessor, 3, place)?;
                accessors.floats::<3>(accessor, place, Integers::AsStated)?.into_flattened()
            }
            Property::Rotation => {
                self.spend(accessor, 4, place)?;
                accessors.floats::<4>(accessor, place, Integers::Normalized)?.into_flattened()
            }
            Property::MorphTargetWeights => {
                self.spend(accessor, 1, place)?;
                accessors.floats::<1>(accessor, place, Integers::Normalized)?.into_flattened()
            }
        })
    }

    /// Counts numbers before they are read: many samplers may name one accessor.
    fn spend(&mut self, accessor: usize, width: u64, place: &str) -> Result<(), Fault> {
        let count = self.context.accessors.count(accessor, place)?;
        self.numbers = self.numbers.saturating_add(count.saturating_mul(width));
        at_most("numbers in the animation's keys", self.numbers, self.context.limits.key_numbers)
            .map_err(|problem| Fault::new(place, problem))
    }
}

/// Checks that there is a value for each key and that rotations are some.
fn check(curve: &Curve, property: Property) -> Result<(), Problem> {
    let (keys, per_key) = (curve.times.len(), curve.interpolation.values_per_key());
    let expected = keys * per_key * curve.width;
    if curve.values.len() != expected {
        let (found, width) = (curve.values.len(), curve.width);
        let text = format!("{found} numbers for {keys} keys; expected {per_key} × {width} for each");
        return Err(Problem::Malformed(text));
    }
    if property == Property::Rotation {
        let values = curve.values.chunks_exact(4 * per_key).map(|key| &key[per_key / 2 * 4..][..4]);
        let is_none = |value: &[f32]| unit_rotation(std::array::from_fn(|i| f64::from(value[i]))).is_none();
        if let Some(key) = values.into_iter().position(is_none) {
            let text = format!("the rotation of key {key} is not a quaternion of unit length");
            return Err(Problem::Malformed(text));
        }
    }
    Ok(())
}
