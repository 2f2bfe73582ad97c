"""What the judgement of pictures promises; renders nothing.

    target/peers/venv/bin/python -m unittest discover tests/peers/pictures
"""

import tempfile
import tomllib
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np

import report
import shared_modules  # noqa: F401
from cases import (
    LAMBERTIAN, MATERIALS, TABLE, Case, automatic_view, camera_from, intent_of, key_of, known_reasons, moments_of,
)  # fmt: skip
from gltf import Gltf, camera_of_view, is_lambertian, write_glb
from judge import BLOCK, Estimate, Limits, judge, smooth_variance
from make_models import write_models
from pack_glb import YFOV
from request import Moment, parse_moment


def scene(edge: int = 128) -> np.ndarray:
    """What a picture might show: slopes, an outline, a dark corner."""
    y, x = np.mgrid[0:edge, 0:edge] / edge
    picture = np.stack([0.2 + x, 0.3 + 0.5 * y, 0.4 + 0.3 * x * y], axis=-1)
    picture[(x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1] *= 2.0
    picture[: edge // 4, : edge // 4] *= 0.05
    return picture


def estimate(truth: np.ndarray, seed: int, deviation: float = 0.04, tail: bool = False) -> Estimate:
    """Two noisy pictures; with a tail, the noise of a few very bright samples."""
    random = np.random.default_rng(seed)
    # More noise on the right, as behind an edge that a lamp does not reach.
    spread = deviation * np.linspace(0.5, 2.0, truth.shape[1])[:, None]

    def noisy() -> np.ndarray:
        if not tail:
            return truth * (1.0 + spread * random.standard_normal(truth.shape))
        shape = 0.5
        return truth * (1.0 + spread * (random.gamma(shape, 1.0, truth.shape) / shape - 1.0))

    return Estimate.of(noisy(), noisy())


class Judging(unittest.TestCase):
    def assert_fails(self, wrong: np.ndarray) -> None:
        found = judge(estimate(wrong, 1), estimate(scene(), 2))
        self.assertFalse(found.within(Limits()), found)

    def test_two_renderers_of_one_scene_agree(self):
        for seed in range(0, 20, 2):
            found = judge(estimate(scene(), seed), estimate(scene(), seed + 1, 0.02))
            self.assertTrue(found.within(Limits()), found)

    def test_noise_with_a_tail_is_no_difference(self):
        for seed in range(0, 20, 2):
            ours = estimate(scene(), seed, 0.1, tail=True)
            found = judge(ours, estimate(scene(), seed + 1, 0.1))
            self.assertTrue(found.within(Limits()), found)

    def test_two_per_cent_brighter_fails(self):
        self.assert_fails(scene() * 1.02)

    def test_two_per_cent_redder_fails(self):
        self.assert_fails(scene() * [1.02, 1.0, 1.0])

    def test_one_wrong_block_fails_by_its_pixels(self):
        # A mean of 0.6 of a per cent and one block of 64: only the pixels see it.
        wrong = scene()
        wrong[64 : 64 + BLOCK, 16 : 16 + BLOCK] *= 1.4
        self.assert_fails(wrong)

    def test_weak_stripes_fail_by_their_blocks(self):
        wrong = scene()
        wrong[32:64] *= 1.08
        wrong[64:96] *= 0.93
        found = judge(estimate(wrong, 1), estimate(scene(), 2))
        self.assertTrue(all(abs(ratio - 1.0) < 0.01 for ratio in found.mean_ratios))
        self.assertGreater(found.block_error, Limits().blocks_within)

    def test_wide_sky_hides_nothing(self):
        # A model in a sixteenth of the picture, 2 % too bright, before a sky without noise.
        def before_the_sky(model: Estimate) -> Estimate:
            picture, noise = np.ones((128, 128, 3)), np.zeros((128, 128, 3))
            picture[48:80, 48:80], noise[48:80, 48:80] = model.picture, model.noise
            return Estimate(picture, noise)

        reference = before_the_sky(estimate(scene(32), 2, 0.01))
        self.assertTrue(judge(before_the_sky(estimate(scene(32), 1, 0.01)), reference).within(Limits()))
        found = judge(before_the_sky(estimate(scene(32) * 1.02, 1, 0.01)), reference)
        self.assertGreater(min(found.mean_ratios), 1.015)

    def test_difference_without_noise_is_judged(self):
        flat, noisy = np.ones((64, 64, 3)), estimate(np.ones((64, 64, 3)), 5)
        noisy.picture[:, :32], noisy.noise[:, :32] = 1.0, 0.0
        wrong = noisy.picture * np.where(np.arange(64) < 8, 1.1, 1.0)[:, None]
        self.assertFalse(judge(Estimate(wrong, noisy.noise), noisy).within(Limits()))
        found = judge(Estimate.of(1.1 * flat, 1.1 * flat), Estimate.of(flat, flat))
        self.assertEqual(found.pixels_passing, 0.0)

    def test_worst_block_is_found(self):
        wrong = scene()
        wrong[64 : 64 + BLOCK, 16 : 16 + BLOCK] *= 0.5
        found = judge(estimate(wrong, 1), estimate(scene(), 2))
        self.assertEqual(found.worst_block_at, (16, 64))
        self.assertAlmostEqual(found.worst_block, -0.5, delta=0.05)

    def test_equal_pictures_without_noise_agree(self):
        flat = np.ones((32, 32, 3))
        found = judge(Estimate.of(flat, flat), Estimate.of(flat, flat))
        self.assertEqual((found.pixels_passing, found.block_error), (1.0, 0.0))
        self.assertEqual(found.mean_ratios, (1.0, 1.0, 1.0))


class Noise(unittest.TestCase):
    def test_ratio_error_is_the_spread_of_ratios(self):
        pairs = range(0, 400, 2)
        found = [judge(estimate(scene(64), seed), estimate(scene(64), seed + 1)) for seed in pairs]
        spread = np.std([each.mean_ratios[0] for each in found])
        # The standard deviation of 200 values is known to 5 %; three of that.
        self.assertAlmostEqual(found[0].mean_ratio_errors[0] / spread, 1.0, delta=0.15)

    def test_block_noise_is_the_error_of_equal_means(self):
        # With equal means a block's error is normal: its 95th percentile is 1.96
        # deviations, here of noise of 0.04 in two renders each, over 256 pixels.
        flat = np.ones((256, 256, 3))
        random = np.random.default_rng(3)
        ours, reference = (
            Estimate.of(*(flat + 0.04 * random.standard_normal(flat.shape) for _ in range(2)))
            for _ in range(2)
        )
        expected = 1.96 * 0.04 / BLOCK
        # 1,536 values, in pairs: the percentile is known to 3 %; three of that.
        self.assertAlmostEqual(judge(ours, reference).block_noise / expected, 1.0, delta=0.09)

    def test_speckle_leaves_few_degrees_of_freedom(self):
        noise = np.full((9, 9, 1), 0.01)
        noise[4, 4] = 10.0
        _, degrees = smooth_variance(noise)
        self.assertAlmostEqual(degrees[4, 4, 0], 3.0, places=3)
        self.assertEqual(degrees[0, 0, 0], 25.0)


class Cases(unittest.TestCase):
    def test_lambertian_copy_keeps_colour_and_emission_and_has_nothing_else(self):
        strength = {"KHR_materials_emissive_strength": {"emissiveStrength": 2.0}}
        shiny = {
            "pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.2, 0.3, 1.0]},
            "extensions": strength | {"KHR_materials_clearcoat": {"clearcoatFactor": 1.0}},
        }
        primitives = [{"attributes": {}, "material": 0}, {"attributes": {}}]
        content = {
            "extensionsUsed": ["KHR_materials_clearcoat", "KHR_materials_emissive_strength"],
            "materials": [shiny],
            "meshes": [{"primitives": primitives}],
            "animations": [{}],
            "bufferViews": [],
        }
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.glb"
            write_glb(model, content, b"")
            case = Case("copy", LAMBERTIAN, model, (1.0, 1.0, 1.0), None, None)
            # Refuses what it does not know, clearcoat among it.
            found = Gltf(case.file(Path(folder)))
        self.assertTrue(all(is_lambertian(material) for material in found.materials()))
        first = found.materials()[0]
        self.assertEqual(first["pbrMetallicRoughness"]["baseColorFactor"], [0.1, 0.2, 0.3, 1.0])
        self.assertIn("KHR_materials_emissive_strength", first["extensions"])
        self.assertEqual([p["material"] for p in found.json["meshes"][0]["primitives"]], [0, 1])
        self.assertNotIn("animations", found.json)

    def test_automatic_view_looks_at_the_middle(self):
        inspected = {
            "cameras": [{"position": [1.0, 2.0, 10.0], "vertical_fov": 90.0}],
            "bounds": {"low": [0.0, 0.0, -1.0], "high": [2.0, 4.0, 1.0]},
        }
        view = automatic_view(inspected)
        self.assertAlmostEqual(view.yfov, np.pi / 2)
        expected = np.eye(4)
        expected[:3, 3] = [1.0, 2.0, 10.0]
        np.testing.assert_allclose(camera_of_view(view).to_world, expected, atol=1e-12)

    def test_camera_that_is_added_sees_the_bounds(self):
        bounds = np.array([[-1.0, 0.0, 2.0], [3.0, 1.0, 9.0]])
        inspected = {"bounds": {"low": bounds[0].tolist(), "high": bounds[1].tolist()}}
        matrix = camera_from([1.0, 0.3, 0.45], inspected)
        corners = np.array([[x, y, z] for x in bounds[:, 0] for y in bounds[:, 1] for z in bounds[:, 2]])
        seen = (corners - matrix[:3, 3]) @ matrix[:3, :3]
        widest = np.abs(seen[:, :2] / -seen[:, 2:]).max() / np.tan(YFOV / 2)
        self.assertTrue(0.8 < widest < 1.0, widest)

    def test_moments_are_frames_over_their_rate_and_rest_is_asked_for(self):
        entry = {"moments": [{"animation": "Run", "fps": 24, "frames": [6, 12], "flat": True}]}
        (first, moment, flat), (second, _, _) = moments_of(entry)
        self.assertEqual((first, second, flat), ("@Run-6-flat", "@Run-12-flat", True))
        self.assertEqual((moment.animation, moment.seconds), ("Run", 0.25))
        self.assertEqual(parse_moment(moment.word()), moment)
        self.assertEqual([word for word, _, _ in moments_of(entry | {"at-rest": True})][0], "")
        self.assertEqual(moments_of({}), [("", None, False)])

    def test_flat_copy_has_no_normals_and_keeps_what_is_shown_of_its_animations(self):
        target = {"POSITION": 0, "NORMAL": 0}
        primitive = {"attributes": {"POSITION": 0, "NORMAL": 0, "TANGENT": 0}, "targets": [target]}
        content = {"meshes": [{"primitives": [primitive]}], "animations": [{}], "bufferViews": []}
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.glb"
            write_glb(model, content, b"")
            case = Case("copy", "as they are", model, (0.0,) * 3, None, None, flat=True)
            still = Gltf(case.file(Path(folder))).json
            moving = Gltf(replace(case, moment=Moment("0", 1, 24.0)).file(Path(folder))).json
        (made,) = still["meshes"][0]["primitives"]
        self.assertEqual(made, {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}]})
        self.assertEqual(("animations" in still, "animations" in moving), (False, True))

    def test_every_intent_has_a_reason_and_known_limits(self):
        reasons = known_reasons()
        for name, entry in tomllib.loads(TABLE.read_text()).items():
            if name == "reasons":
                continue
            for kind in map(key_of, MATERIALS):
                for renderer, intent in entry.get(kind, {}).items():
                    self.assertIn(renderer, ("cycles", "mitsuba"), name)
                    found = intent_of(intent).reasons
                    self.assertTrue(found and set(found) <= set(reasons), name)


class Model(unittest.TestCase):
    def test_albedo_of_the_roughest_lobe_head_on_is_known(self):
        # At α = 1 half of the normals mirror below the surface; the others' cosines
        # c are even in 0 to 1 and masked by 2c / (1 + c): in all, 1 − ln 2.
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        from gltf_bsdf import directional_albedo

        self.assertAlmostEqual(sum(directional_albedo(1.0, 1.0)), 1.0 - np.log(2.0), delta=1e-3)


    def test_film_of_the_index_of_air_is_no_film(self):
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        from gltf_film import film_f0

        # Head on: elsewhere Schlick's term reflects at an interface of equal indices too. The
        # extension's text keeps the product of the two reflectances above 1e-5, whose root is
        # the first order's amplitude; it is doubled, and observed as little more than 1.
        found = film_f0(mitsuba.Color3f(0.04, 0.3, 0.9), 1.0, 1.0, 400.0)
        np.testing.assert_allclose(np.array(found), [0.04, 0.3, 0.9], atol=2.5 * 1e-5**0.5)

    def test_quarter_wave_of_the_middle_index_is_dark_and_half_a_wave_is_not(self):
        # √1.5 on glass of 1.5: both interfaces reflect ((√1.5 − 1)/(√1.5 + 1))² = 0.0102, which
        # cancels after a quarter of green's wave and adds to 0.0408, the bare 0.04, after half.
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        from gltf_film import film_f0

        index = 1.5**0.5
        quarter = 550.0 / index / 4.0
        dark, bright = (
            float(film_f0(mitsuba.Color3f(0.04), 1.0, index, thickness).y)
            for thickness in (quarter, 2.0 * quarter)
        )
        # An observer's green is a band and not a wave, and two orders are summed.
        self.assertLess(dark, 0.01)
        self.assertGreater(bright, 0.02)

    def test_white_film_takes_no_more_light_than_there_is(self):
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        from gltf_film import film_f0

        for thickness in range(100, 1000, 50):
            found = np.array(film_f0(mitsuba.Color3f(0.9), 0.8, 1.35, float(thickness)))
            self.assertTrue((found >= 0.0).all() and (found <= 1.0).all())
            # It colours the metal: channels are apart, or no film was there.
            self.assertGreater(np.ptp(found), 1e-4)

    def test_sheen_is_darkest_where_it_is_looked_at_head_on(self):
        from gltf_bsdf import sheen_albedo

        for roughness in (0.25, 0.5):
            found = [sheen_albedo(cosine, roughness) for cosine in (0.1, 0.5, 1.0)]
            self.assertEqual(found, sorted(found, reverse=True))
            self.assertLess(found[0], 1.0)


class Made(unittest.TestCase):
    def test_texture_coordinates_turn_towards_smaller_v(self):
        # KHR_texture_transform: counter-clockwise, in coordinates whose v grows downwards.
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        from render_mitsuba import uv_transform

        transform = {"offset": [0.25, 0.0], "rotation": np.pi / 2, "scale": [2.0, 3.0]}
        matrix = uv_transform({"extensions": {"KHR_texture_transform": transform}})
        found = np.array(matrix.matrix) @ [1.0, 0.0, 1.0]
        np.testing.assert_allclose(found, [0.25, -2.0, 1.0], atol=1e-6)

    def test_models_have_what_they_are_made_for(self):
        with tempfile.TemporaryDirectory() as folder:
            models = [Gltf(path, any_extension=True) for path in write_models(Path(folder))]
        used = [model.json["extensionsUsed"][0] for model in models]
        self.assertEqual(used, ["EXT_mesh_gpu_instancing", "KHR_lights_punctual", "KHR_texture_transform"])
        self.assertEqual(models[1].light_radii(), {"near": 0.3, "far": 0.8})
        self.assertEqual([light.radius for light in models[1].placed_lights()], [0.3, 0.8])


class Report(unittest.TestCase):
    def test_page_has_one_block_to_rewrite(self):
        text = report.PAGE.read_text()
        self.assertEqual((text.count(report.BEGIN), text.count(report.END)), (1, 1))

    def test_share_of_pixels_is_rounded_down(self):
        case = {"materials": "as they are"}
        line = {
            "name": "Cycles", "verdict": "differs", "mean_ratios": [1.0] * 3,
            "mean_ratio_errors": [0.0] * 3, "pixels_passing": 0.997499, "block_error": 0.0,
            "block_noise": 0.0, "worst_block": 0.0, "worst_block_at": [0, 0],
        }  # fmt: skip
        self.assertIn("| 99.74 % |", report.row(case, line))


if __name__ == "__main__":
    unittest.main()
