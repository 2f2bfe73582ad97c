//! The lobes of a material: where they send light, and how much of it.

use glam::DVec3;
use shaders::native::scalar::{self, Bsdf, Surface};

use super::*;

/// A surface in the xy plane, seen from +Z.
#[derive(Clone, Copy, Debug)]
struct Look {
    base_color: f64,
    metallic: f64,
    roughness: f64,
    /// Whether the dielectric has microfacets at all.
    coated: bool,
    /// Their reflectance at normal incidence.
    f0: DVec3,
    /// Angle between the triangle's and the shading normal.
    tilt: f64,
    /// Cosine between the shading normal and the way back.
    cosine: f64,
    coat: Coat,
    /// Colour in all channels, and roughness.
    sheen: [f64; 2],
    /// Strength; the tangent lies along +X.
    anisotropy: f64,
    /// Share, index and thickness in nanometres of a film.
    film: [f64; 3],
    /// Share that goes through, and share of the diffuse light that does.
    transmission: f64,
    diffuse_transmission: f64,
    /// The index behind the surface over that in front of it, where it encloses
    /// a solid.
    ratio: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Coat {
    factor: f64,
    roughness: f64,
    /// Angle between the triangle's and the coat's normal.
    tilt: f64,
}

const WHITE: Look = Look {
    base_color: 1.0,
    metallic: 0.0,
    roughness: 0.5,
    coated: true,
    f0: DVec3::splat(0.04),
    tilt: 0.0,
    cosine: 0.7,
    coat: Coat { factor: 0.0, roughness: 0.0, tilt: 0.0 },
    sheen: [0.0; 2],
    anisotropy: 0.0,
    film: [0.0, 1.3, 400.0],
    transmission: 0.0,
    diffuse_transmission: 0.0,
    ratio: None,
};

/// White glass of index 1.5 seen from outside.
const GLASS: Look = Look { transmission: 1.0, ratio: Some(1.5), ..WHITE };

/// The same from inside.
const GLASS_INSIDE: Look = Look { ratio: Some(1.0 / 1.5), ..GLASS };

/// A white thin wall.
const WALL: Look = Look { transmission: 1.0, ..WHITE };

impl Look {
    fn normal(self) -> DVec3 {
        DVec3::new(self.tilt.sin(), 0.0, self.tilt.cos())
    }

    /// The way back along the ray, aside of the plane in which the normal is tilted.
    fn outgoing(self) -> DVec3 {
        let (aside, up) = self.normal().any_orthonormal_pair();
        let sine = (1.0 - self.cosine * self.cosine).sqrt();
        self.normal() * self.cosine + (aside * 0.8 + up * 0.6) * sine
    }

    fn mirrored(self) -> DVec3 {
        self.normal() * (2.0 * self.cosine) - self.outgoing()
    }

    /// The middle of what goes through.
    fn refracted(self) -> DVec3 {
        let ratio = self.ratio.unwrap_or(1.0);
        let square = 1.0 - (1.0 - self.cosine * self.cosine) / (ratio * ratio);
        let along = self.cosine / ratio - square.max(0.0).sqrt();
        self.normal() * along - self.outgoing() / ratio
    }

    fn bsdf(self, stage: &Stage) -> Bsdf {
        let single = |value: f64| lanes(DVec3::splat(value)).x;
        let [sheen, sheen_roughness] = self.sheen;
        let [iridescence, film_index, thickness] = self.film;
        let surface = Surface {
            geometric_normal: lanes(DVec3::Z),
            normal: lanes(self.normal()),
            base_color: lanes(DVec3::splat(self.base_color)),
            metallic: single(self.metallic),
            roughness: single(self.roughness),
            f0: lanes(if self.coated { self.f0 } else { DVec3::ZERO }),
            f90: single(if self.coated { 1.0 } else { 0.0 }),
            front: ON,
            coat: single(self.coat.factor),
            coat_roughness: single(self.coat.roughness),
            coat_normal: lanes(DVec3::new(0.0, self.coat.tilt.sin(), self.coat.tilt.cos())),
            sheen: lanes(DVec3::splat(sheen)),
            sheen_roughness: single(sheen_roughness),
            anisotropy: single(self.anisotropy),
            tangent: lanes(DVec3::X),
            iridescence: single(iridescence),
            film: vector::Vec2::new(single(film_index), single(thickness)),
            transmission: single(self.transmission),
            diffuse_transmission: single(self.diffuse_transmission),
            diffuse_transmission_color: lanes(DVec3::splat(self.base_color)),
            solid: Mask::splat(self.ratio.is_some()),
            index: single(1.5),
            ..Surface::default()
        };
        let ratio = single(self.ratio.unwrap_or(1.0));
        stage.run(|bindings| scalar::bsdf_at(ON, bindings, surface, lanes(-self.outgoing()), ratio))
    }
}

/// Reflectance times cosine in red, and the density.
fn evaluate(stage: &Stage, bsdf: Bsdf, incoming: DVec3) -> (f64, f64) {
    let value = evaluate_all(stage, bsdf, incoming);
    (float(value.x), float(value.w))
}

/// Reflectance times cosine, and the density.
fn evaluate_all(stage: &Stage, bsdf: Bsdf, incoming: DVec3) -> vector::Vec4<F32> {
    stage.run(|bindings| scalar::evaluate_bsdf(ON, bindings, bsdf, lanes(incoming)))
}

fn looks() -> Vec<Look> {
    let mut looks = vec![Look { coated: false, ..WHITE }, Look { coated: false, tilt: 0.5, ..WHITE }];
    let f0 = DVec3::new(0.9, 0.3, 0.02);
    looks.push(Look { base_color: 0.7, roughness: 0.3, f0, ..WHITE });
    for roughness in [0.15, 0.4, 1.0] {
        for cosine in [0.95, 0.6, 0.15] {
            for (metallic, tilt) in [(1.0, 0.0), (0.0, 0.0), (0.4, 0.4)] {
                looks.push(Look { base_color: 0.7, metallic, roughness, tilt, cosine, ..WHITE });
            }
        }
    }
    looks.extend(layered_looks());
    looks
}

/// Each layer alone, and some of them together.
fn layered_looks() -> Vec<Look> {
    let coat = Coat { factor: 0.8, roughness: 0.3, tilt: 0.0 };
    let mut looks = Vec::new();
    for cosine in [0.9, 0.5, 0.2] {
        let base = Look { base_color: 0.7, cosine, ..WHITE };
        looks.extend([
            Look { coat, ..base },
            Look { coat: Coat { tilt: 0.3, ..coat }, metallic: 1.0, ..base },
            Look { sheen: [0.8, 0.4], ..base },
            Look { sheen: [0.5, 0.9], coat, ..base },
            Look { anisotropy: 0.8, roughness: 0.4, metallic: 1.0, ..base },
            Look { anisotropy: 0.5, roughness: 0.5, tilt: 0.3, ..base },
            Look { film: [1.0, 1.3, 450.0], roughness: 0.3, metallic: 0.5, ..base },
            Look { diffuse_transmission: 0.4, ..base },
            Look { cosine, roughness: 0.4, ..WALL },
            Look { cosine, roughness: 0.6, transmission: 0.6, base_color: 0.8, tilt: 0.3, ..WALL },
            Look { cosine, roughness: 0.4, ..GLASS },
            Look { cosine, roughness: 0.4, ..GLASS_INSIDE },
            Look { cosine, roughness: 0.7, transmission: 0.5, diffuse_transmission: 0.5, coat, ..GLASS },
            Look { cosine, roughness: 0.5, anisotropy: 0.6, tilt: 0.2, ..GLASS },
        ]);
    }
    looks
}

#[test]
fn directions_are_drawn_as_their_density_says() {
    let stage = stage(&Scene::default());
    let p_values: Vec<_> = looks()
        .into_iter()
        .map(|look| {
            let bsdf = look.bsdf(&stage);
            let mut random = Random(3);
            let mut draw = || {
                let (choice, bits) = (random.lane(), random.pair());
                let sample = stage.run(|bindings| scalar::sample_bsdf(ON, bindings, bsdf, choice, bits));
                (float(sample.pdf) > 0.0).then(|| exact(sample.direction))
            };
            let sphere = Sphere::around(look.mirrored());
            let mut density = |incoming| evaluate(&stage, bsdf, incoming).1;
            (format!("{look:?}"), directions_p_value(&sphere, &mut density, &mut draw))
        })
        .collect();
    assert_all_probable(&p_values);
}

#[test]
fn a_drawn_direction_has_the_weight_and_density_that_it_is_evaluated_to() {
    let stage = stage(&Scene::default());
    let mut random = Random(4);
    for look in looks() {
        let bsdf = look.bsdf(&stage);
        for _ in 0..1000 {
            let (choice, bits) = (random.lane(), random.pair());
            let sample = stage.run(|bindings| scalar::sample_bsdf(ON, bindings, bsdf, choice, bits));
            let pdf = float(sample.pdf);
            if pdf > 0.0 {
                let (value, density) = evaluate(&stage, bsdf, exact(sample.direction));
                assert_near(pdf, density, 1e-5);
                assert_near(float(sample.weight.x) * pdf, value, 1e-5);
            }
        }
    }
}

/// What a surface reflects of a white sky and lets through of one behind it.
fn albedo(stage: &Stage, look: Look) -> f64 {
    albedo_of_channel(stage, look, |value| value.x)
}

/// [`albedo`], of one of the channels.
fn albedo_of_channel(stage: &Stage, look: Look, channel: fn(vector::Vec4<F32>) -> F32) -> f64 {
    let bsdf = look.bsdf(stage);
    let side = |axis: DVec3, sign: f64| -> f64 {
        let mut value = |incoming: DVec3| {
            if incoming.z * sign > 0.0 { float(channel(evaluate_all(stage, bsdf, incoming))) } else { 0.0 }
        };
        Sphere::around(axis).integrate(&mut value).iter().sum()
    };
    side(look.mirrored(), 1.0) + side(look.refracted(), -1.0)
}

#[test]
fn white_surfaces_reflect_everything_from_every_angle() {
    let stage = stage(&Scene::default());
    for roughness in [0.1, 0.2, 0.35, 0.5, 0.75, 1.0] {
        for cosine in [1.0, 0.8, 0.5, 0.25, 0.1] {
            for metallic in [0.0, 0.5, 1.0] {
                let look = Look { metallic, roughness, cosine, ..WHITE };
                let albedo = albedo(&stage, look);
                assert!((albedo - 1.0).abs() < 0.01, "{albedo} for {look:?}");
            }
        }
    }
}

/// Fails unless a surface of these looks reflects and lets through everything.
fn check_furnace(looks: impl IntoIterator<Item = Look>) {
    let stage = stage(&Scene::default());
    for look in looks {
        for cosine in [1.0, 0.8, 0.5, 0.25, 0.1] {
            let look = Look { cosine, ..look };
            let albedo = albedo(&stage, look);
            assert!((albedo - 1.0).abs() < 0.01, "{albedo} for {look:?}");
        }
    }
}

#[test]
fn white_surfaces_under_a_coat_reflect_everything() {
    check_furnace([0.1, 0.3, 0.6, 1.0].into_iter().flat_map(|roughness| {
        let coat = Coat { factor: 1.0, roughness, tilt: 0.0 };
        [Look { coat, ..WHITE }, Look { coat, metallic: 1.0, roughness: 0.3, ..WHITE }]
    }));
}

#[test]
fn white_surfaces_under_a_sheen_reflect_everything() {
    check_furnace([0.3, 0.5, 0.75, 1.0].map(|roughness| Look { sheen: [1.0, roughness], ..WHITE }));
}

#[test]
fn white_thin_walls_reflect_or_let_through_everything() {
    check_furnace([0.2, 0.35, 0.5, 0.75, 1.0].into_iter().flat_map(|roughness| {
        let wall = Look { roughness, ..WALL };
        [
            wall,
            Look { transmission: 0.5, ..wall },
            Look { transmission: 0.5, diffuse_transmission: 0.5, ..wall },
        ]
    }));
}

#[test]
fn white_glass_reflects_or_lets_through_everything() {
    let ratios = [1.2, 1.5, 2.0, 1.0 / 1.2, 1.0 / 1.5, 1.0 / 2.0];
    check_furnace(
        [0.3, 0.5, 0.75, 1.0]
            .into_iter()
            .flat_map(|roughness| ratios.map(|ratio| Look { ratio: Some(ratio), roughness, ..GLASS })),
    );
}

/// An index of refraction of 0 asks for a mirror, and a film may reflect where the
/// rest of the interface does not: what is under it gets what is left of the
/// brightest channel.
#[test]
fn perfect_mirrors_and_films_on_nothing_keep_energy() {
    let stage = stage(&Scene::default());
    let mirror = Look { f0: DVec3::ONE, base_color: 0.5, ..WHITE };
    for roughness in [0.0, 0.02, 0.2, 0.6] {
        for metallic in [0.0, 0.5, 1.0] {
            let bsdf = Look { roughness, metallic, ..mirror }.bsdf(&stage);
            let (value, density) = evaluate(&stage, bsdf, mirror.mirrored());
            assert!(value.is_finite() && density.is_finite(), "{value} and {density} at {roughness}");
        }
    }
    let film = Look { coated: false, film: [1.0, 2.4, 400.0], ..WHITE };
    for metallic in [0.0, 0.01] {
        let channels: [fn(vector::Vec4<F32>) -> F32; 3] = [|value| value.x, |value| value.y, |value| value.z];
        let albedos = channels.map(|channel| albedo_of_channel(&stage, Look { metallic, ..film }, channel));
        let brightest = albedos.into_iter().fold(0.0, f64::max);
        assert!((brightest - 1.0).abs() < 0.01, "{albedos:?} with metalness {metallic}");
    }
}

/// The tables know one roughness for all directions; what two of them say of brushed
/// metal is nearly right.
#[test]
fn white_brushed_metal_reflects_nearly_everything() {
    let stage = stage(&Scene::default());
    for (anisotropy, allowed) in [(0.3, 0.01), (0.6, 0.015), (1.0, 0.08)] {
        let mut worst = 0.0_f64;
        for roughness in [0.2, 0.4, 0.7] {
            for cosine in [1.0, 0.7, 0.4] {
                let look = Look { anisotropy, roughness, cosine, metallic: 1.0, ..WHITE };
                let error = albedo(&stage, look) - 1.0;
                worst = worst.max(error.abs());
            }
        }
        assert!(worst < allowed, "{worst} at {anisotropy}");
    }
}

#[test]
fn tilted_normals_neither_gain_nor_leak() {
    let stage = stage(&Scene::default());
    for (tilt, cosine) in [(0.3, 0.9), (0.6, 0.7), (1.0, 0.5)] {
        let look = Look { tilt, cosine, ..WHITE };
        let bsdf = look.bsdf(&stage);
        let mut random = Random(5);
        for _ in 0..10_000 {
            let z = -random.unit();
            let (sine, turn) = ((1.0 - z * z).sqrt(), random.unit() * std::f64::consts::TAU);
            let below = DVec3::new(sine * turn.cos(), sine * turn.sin(), z);
            assert_eq!(evaluate(&stage, bsdf, below), (0.0, 0.0), "{below} is under the triangle");
        }
        let albedo = albedo(&stage, look);
        assert!((albedo - 1.0).abs() < 0.01, "{albedo} for {look:?}");
    }
}

/// Whether a look has none of the layers that know the way out alone: those that
/// cover others take from them by it, and so does what a film colours.
fn is_reciprocal(look: &Look) -> bool {
    look.coat.factor == 0.0 && look.sheen[0] == 0.0 && look.film[0] == 0.0
}

/// Helmholtz's reciprocity. What compensates the metal for multiple scattering is
/// left out: it depends on the way out alone (Turquin 2019, section 3).
#[test]
fn light_goes_both_ways_alike() {
    let stage = stage(&Scene::default());
    let mut random = Random(6);
    for look in looks().into_iter().filter(|look| look.tilt == 0.0 && is_reciprocal(look)) {
        for _ in 0..200 {
            let mut direction = || {
                let (z, turn) = (random.unit().max(0.05), random.unit() * std::f64::consts::TAU);
                let sine = (1.0 - z * z).sqrt();
                DVec3::new(sine * turn.cos(), sine * turn.sin(), z)
            };
            let (one, other) = (direction(), direction());
            let reflectance = |outgoing: DVec3, incoming: DVec3| {
                let bsdf = Bsdf {
                    outgoing: lanes(outgoing),
                    compensation: lanes(DVec3::ONE),
                    glass_compensation: F32::from(1.0),
                    ..Look { cosine: outgoing.z, ..look }.bsdf(&stage)
                };
                let incoming_local = lanes(incoming);
                let value = stage.run(|bindings| scalar::evaluate_lobes(ON, bindings, bsdf, incoming_local));
                float(value.x) / incoming.z
            };
            assert_near(reflectance(one, other), reflectance(other, one), 2e-3);
        }
    }
}
