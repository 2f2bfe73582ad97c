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
}

const WHITE: Look = Look {
    base_color: 1.0,
    metallic: 0.0,
    roughness: 0.5,
    coated: true,
    f0: DVec3::splat(0.04),
    tilt: 0.0,
    cosine: 0.7,
};

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

    fn bsdf(self, stage: &Stage) -> Bsdf {
        let single = |value: f64| lanes(DVec3::splat(value)).x;
        let surface = Surface {
            geometric_normal: lanes(DVec3::Z),
            normal: lanes(self.normal()),
            base_color: lanes(DVec3::splat(self.base_color)),
            metallic: single(self.metallic),
            roughness: single(self.roughness),
            f0: lanes(if self.coated { self.f0 } else { DVec3::ZERO }),
            f90: single(if self.coated { 1.0 } else { 0.0 }),
            ..Surface::default()
        };
        stage.run(|bindings| scalar::bsdf_at(ON, bindings, surface, lanes(-self.outgoing())))
    }
}

/// Reflectance times cosine in red, and the density.
fn evaluate(stage: &Stage, bsdf: Bsdf, incoming: DVec3) -> (f64, f64) {
    let value = stage.run(|bindings| scalar::evaluate_bsdf(ON, bindings, bsdf, lanes(incoming)));
    (float(value.x), float(value.w))
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
    looks
}

#[test]
fn directions_are_drawn_as_their_density_says() {
    let stage = Stage::new(&Scene::default());
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
    let stage = Stage::new(&Scene::default());
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

/// What a surface reflects of a white sky.
fn albedo(stage: &Stage, look: Look) -> f64 {
    let bsdf = look.bsdf(stage);
    let sphere = Sphere::around(look.mirrored());
    sphere.integrate(&mut |incoming| evaluate(stage, bsdf, incoming).0).iter().sum()
}

#[test]
fn white_surfaces_reflect_everything_from_every_angle() {
    let stage = Stage::new(&Scene::default());
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

#[test]
fn tilted_normals_neither_gain_nor_leak() {
    let stage = Stage::new(&Scene::default());
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

/// Helmholtz's reciprocity. What compensates the metal for multiple scattering is
/// left out: it depends on the way out alone (Turquin 2019, section 3).
#[test]
fn light_goes_both_ways_alike() {
    let stage = Stage::new(&Scene::default());
    let mut random = Random(6);
    for look in looks().into_iter().filter(|look| look.tilt == 0.0) {
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
