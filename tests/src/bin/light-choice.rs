//! How well lights are chosen: the variance of the direct light of a pixel by the
//! lights that the kernel chooses, by a uniform choice, and by the ideal one, in
//! proportion to what arrives from each light, with what is in between.
//!
//! Everything that is measured is done by the kernel's own functions. All three look
//! at the same places of a pixel and draw points on the chosen light alike; the ideal
//! knows nothing of these points, so its variance is that of places and points alone.
//!
//! A sample of a pixel draws a place and then a light for it. Its variance is the mean
//! over the places of the variance there, which so many samples of each place tell, plus
//! the variance between the places of all light that arrives, which is known. That
//! second part is the picture's own: no choice of lights makes it smaller.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use farm_core::{BlockRange, FrameNumber, PixelFilter, Rect, RenderSettings, RenderTask, Resolution};
use farm_render::Stage;
use farm_scene::LoadOptions;
use shaders::native::lanes1::{F32, Mask, U32};
use shaders::native::scalar::{self, Bindings, Bsdf, Choice, LightSample};
use shaders::native::vector::{Vec2, Vec3};

const ON: Mask = Mask::splat(true);

/// Points on each light by which the ideal knows what arrives from it; of those that
/// give more than `WORTH` of all light, as many as follow.
const POINTS: u32 = 4;
const MANY_POINTS: u32 = 64;
const WORTH: f64 = 1e-4;

/// What the errors are stated for.
const SAMPLES_OF_A_PIXEL: f64 = 16.0;

/// Compares choices of lights.
#[derive(Parser)]
struct Arguments {
    /// The scene, `.glb` or `.gltf`.
    scene: PathBuf,
    /// Edge of the frame in pixels.
    #[arg(long, default_value_t = 192)]
    edge: u32,
    /// Every so manyth pixel is looked at, along both edges.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    step: u32,
    /// Places of each pixel.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..))]
    places: u32,
    /// Samples of each place.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    samples: u32,
    /// Seeds, each with other places and samples.
    #[arg(long, default_value_t = 3)]
    seeds: u32,
}

fn main() -> ExitCode {
    farm_tests::exit(run(&Arguments::parse()))
}

#[expect(clippy::print_stdout, reason = "the table is data")]
fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let scene = farm_scene::load(&arguments.scene, &LoadOptions::default())?.scene;
    println!(
        "| seed | pixels | uniform | ours | ideal | ours / ideal | uniform / ours | picture's own | means |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for seed in 1..=arguments.seeds {
        let stage = Stage::for_task(&scene, &task(arguments.edge, seed))?;
        let found = measure(&stage, arguments, seed);
        let mean = |value: &dyn Fn(&Pixel) -> f64| found.iter().map(value).sum::<f64>() / found.len() as f64;
        let own = mean(&|pixel| pixel.own);
        let [uniform, ours, ideal] = [0, 1, 2].map(|way| mean(&|pixel| pixel.chosen[way]) + own);
        let means = [0, 1, 2].map(|way| mean(&|pixel| pixel.means[way]));
        println!(
            "| {seed} | {} | {uniform:.4} | {ours:.4} | {ideal:.4} | {:.3} | {:.1} | {own:.4} | {means:.3?} |",
            found.len(),
            ours / ideal,
            uniform / ours,
        );
    }
    println!("\nrelative mean squared errors at {SAMPLES_OF_A_PIXEL} samples a pixel; the means are of");
    println!("what is estimated, over what arrives");
    Ok(())
}

fn task(edge: u32, seed: u32) -> RenderTask {
    RenderTask {
        resolution: Resolution { width: edge, height: edge },
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width: edge, height: edge },
        range: BlockRange::root(1),
        settings: RenderSettings {
            samples_per_pixel: 1,
            seed,
            max_depth: 2,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
    }
}

/// What was found in a pixel, for the uniform choice, ours and the ideal.
struct Pixel {
    /// Relative mean squared errors by choosing lights and points on them.
    chosen: [f64; 3],
    /// The same by what the picture shows within the pixel.
    own: f64,
    /// Means of the estimates over the sum of what arrives from each light.
    means: [f64; 3],
}

/// Looks at pixels on all threads.
fn measure(stage: &Stage, arguments: &Arguments, seed: u32) -> Vec<Pixel> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let lights = stage.lights();
    let edge = || (0..arguments.edge).step_by(arguments.step as usize);
    let pixels: Vec<(u32, u32)> = edge().flat_map(|y| edge().map(move |x| (x, y))).collect();
    let share = |first: usize| {
        let look = |&(x, y): &(u32, u32)| look_at(stage, &lights, arguments, [x, y, seed]);
        pixels.iter().skip(first).step_by(threads).filter_map(look).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let share = &share;
        let working: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        working.into_iter().flat_map(|pixels| pixels.join().expect("nothing panics")).collect()
    })
}

/// The errors of a pixel; `None` where no light arrives.
fn look_at(stage: &Stage, lights: &[u32], arguments: &Arguments, [x, y, seed]: [u32; 3]) -> Option<Pixel> {
    let key = scalar::pixel_key(seed.into(), 1.into(), x.into(), y.into());
    let places: Vec<Place> = (0..arguments.places)
        .map(|sample| {
            let look = |bindings: &mut Bindings<'_>| {
                let shaded = Shaded::seen(bindings, [x, y, sample], key)?;
                let key = scalar::hash_combine(key, sample.into());
                Some(shaded.look_at_lights(bindings, lights, arguments.samples, key))
            };
            stage.run(look).unwrap_or_default()
        })
        .collect();
    let count = f64::from(arguments.places);
    let mean = |value: &dyn Fn(&Place) -> f64| places.iter().map(value).sum::<f64>() / count;
    let light = mean(&|place| place.light);
    if light <= 0.0 {
        return None;
    }
    let relative = |variance: f64| variance / (light * light) / SAMPLES_OF_A_PIXEL;
    Some(Pixel {
        chosen: [0, 1, 2].map(|way| relative(mean(&|place| place.variances[way]))),
        own: relative(mean(&|place| (place.light - light).powi(2)) * count / (count - 1.0)),
        means: [0, 1, 2].map(|way| mean(&|place| place.means[way]) / light),
    })
}

/// What was found at a place, for the uniform choice, ours and the ideal.
#[derive(Default)]
struct Place {
    /// What arrives from all lights.
    light: f64,
    means: [f64; 3],
    variances: [f64; 3],
}

/// A place that a camera ray meets.
struct Shaded {
    origin: Vec3<F32>,
    /// Zero where light comes from both sides.
    normal: Vec3<F32>,
    bsdf: Bsdf,
    /// When, while the shutter is open.
    time: U32,
}

impl Shaded {
    /// What a sample of a pixel shows, if that is anything.
    fn seen(bindings: &mut Bindings<'_>, [x, y, sample]: [u32; 3], key: U32) -> Option<Self> {
        let time = scalar::shutter_time(ON, bindings, key, sample.into());
        let ray = scalar::camera_ray(ON, bindings, x.into(), y.into(), key, sample.into(), time);
        let hit = scalar::traverse(ON, bindings, ray, time, Mask::splat(false));
        if u32::from(hit.instance) == u32::MAX {
            return None;
        }
        let surface = scalar::surface_at(ON, bindings, hit, ray.direction, time);
        let bsdf = scalar::bsdf_at(ON, bindings, surface, ray.direction, F32::splat(1.0));
        let both = scalar::transmits(bindings, bsdf).bits() != 0;
        let normal = if both { Vec3::default() } else { surface.geometric_normal };
        Some(Self { origin: scalar::off_surface(surface, Mask::splat(false)), normal, bsdf, time })
    }

    /// Luminance that is seen of the light of a sample, which nothing may be in the
    /// way of.
    fn reflected(&self, bindings: &mut Bindings<'_>, sample: LightSample) -> f64 {
        let reflected = scalar::evaluate_bsdf(ON, bindings, self.bsdf, sample.direction);
        let light = Vec3::new(
            reflected.x * sample.radiance.x,
            reflected.y * sample.radiance.y,
            reflected.z * sample.radiance.z,
        );
        let seen = f64::from(f32::from(scalar::luminance(light)));
        if seen <= 0.0 {
            return 0.0;
        }
        let shadow = scalar::ray_from(self.origin, sample.reach, F32::splat(scalar::SHORT_OF_LIGHT));
        let hit = scalar::traverse(ON, bindings, shadow, self.time, ON);
        if u32::from(hit.instance) == u32::MAX { seen } else { 0.0 }
    }

    /// What comes of a light that was chosen with a probability.
    fn sample(&self, bindings: &mut Bindings<'_>, light: u32, pick: f64, random: &mut Words) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel computes in f32")]
        let pick = F32::splat(pick as f32);
        let chosen = Choice { light: light.into(), pick };
        let (bits, cell) = (Vec2::new(random.next(), random.next()), random.next());
        let sample = scalar::sample_chosen(ON, bindings, chosen, self.origin, bits, cell, self.time);
        self.reflected(bindings, sample)
    }

    /// The mean over stratified points of a light.
    fn arriving(&self, bindings: &mut Bindings<'_>, light: u32, points: u32, key: U32) -> f64 {
        let chosen = Choice { light: light.into(), pick: F32::splat(1.0) };
        let key = scalar::hash_combine(key, light.into());
        let mut sum = 0.0;
        for point in 0..points {
            let bits = scalar::sample_pair(key, point.into(), 0.into());
            let cell = scalar::sample_pair(key, point.into(), 1.into()).x;
            let sample = scalar::sample_chosen(ON, bindings, chosen, self.origin, bits, cell, self.time);
            sum += self.reflected(bindings, sample);
        }
        sum / f64::from(points)
    }

    /// What arrives, and mean and variance of what each choice estimates of it.
    fn look_at_lights(&self, bindings: &mut Bindings<'_>, lights: &[u32], samples: u32, key: U32) -> Place {
        let mut arriving: Vec<f64> =
            lights.iter().map(|&light| self.arriving(bindings, light, POINTS, key)).collect();
        let worth = arriving.iter().sum::<f64>() * WORTH;
        for (value, &light) in arriving.iter_mut().zip(lights).filter(|(value, _)| **value > worth) {
            *value = self.arriving(bindings, light, MANY_POINTS, key);
        }
        let add = |sum: &mut f64, value: &f64| {
            *sum += value;
            Some(*sum)
        };
        let sums: Vec<f64> = arriving.iter().scan(0.0, add).collect();
        let total = sums.last().copied().unwrap_or_default();
        if total <= 0.0 {
            return Place::default();
        }
        let mut random = Words { key: scalar::hash_combine(key, 0x5eed.into()), count: 0 };
        let even = 1.0 / lights.len() as f64;
        let estimates = [
            estimate(samples, || {
                let light = lights[index_below(random.unit(), lights.len())];
                self.sample(bindings, light, even, &mut random)
            }),
            estimate(samples, || {
                let chosen = scalar::choose_light(ON, bindings, self.origin, self.normal, random.next());
                let pick = f64::from(f32::from(chosen.pick));
                self.sample(bindings, chosen.light.into(), pick, &mut random)
            }),
            estimate(samples, || {
                let wanted = random.unit() * total;
                let chosen = sums.partition_point(|&sum| sum <= wanted).min(lights.len() - 1);
                self.sample(bindings, lights[chosen], arriving[chosen] / total, &mut random)
            }),
        ];
        Place {
            light: total,
            means: estimates.map(|[mean, _]| mean),
            variances: estimates.map(|[_, variance]| variance),
        }
    }
}

/// Mean and variance of what `draw` yields.
fn estimate(samples: u32, mut draw: impl FnMut() -> f64) -> [f64; 2] {
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..samples {
        let value = draw();
        sum += value;
        squares += value * value;
    }
    let count = f64::from(samples);
    let mean = sum / count;
    [mean, (squares - sum * mean) / (count - 1.0)]
}

/// Independent random words.
struct Words {
    key: U32,
    count: u32,
}

impl Words {
    fn next(&mut self) -> U32 {
        self.count += 1;
        scalar::hash_combine(self.key, self.count.into())
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        f64::from(u32::from(self.next())) / 2_f64.powi(32)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held below the count")]
fn index_below(unit: f64, count: usize) -> usize {
    ((unit * count as f64) as usize).min(count - 1)
}
