"""What the comparison's arithmetic promises; renders nothing.

    target/peers/venv/bin/python -m unittest discover tests/peers/speed
"""

import hashlib
import tempfile
import unittest
from pathlib import Path

import numpy as np

import report
import shared_modules  # noqa: F401
from errors import relative_mse
from gltf import Gltf, Unsupported, emitted_radiance, is_lambertian, write_glb
from make_field import TRIANGLES, write_field
from make_lamps import LAMPS_ALONG_EDGE, LID, write_lamps
from pack_glb import YFOV, camera_matrix
from request import Request, View, parser, request_of

FIELD_SHA256 = "ab752324c46ece0d5ad322d86ea8f306328cdc6f2f9163c5a199557b0325a050"


class Field(unittest.TestCase):
    def test_field_is_the_same_bytes_everywhere(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "field.glb"
            write_field(path)
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), FIELD_SHA256)
            (mesh,) = Gltf(path).placed_meshes()
            self.assertEqual(mesh.triangles.shape, (TRIANGLES, 3))
            self.assertTrue(is_lambertian(Gltf(path).materials()[mesh.material]))


class Lamps(unittest.TestCase):
    def test_each_lamp_has_a_lid_right_above_it_and_facing_up(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lamps.glb"
            write_lamps(path)
            gltf = Gltf(path)
            _, lamps, lids = gltf.placed_meshes()
        self.assertEqual([emitted_radiance(m).any() for m in gltf.materials()], [False, True, False])
        self.assertEqual(lamps.triangles.shape, (LAMPS_ALONG_EDGE**2, 3))
        above = lids.positions - lamps.positions
        # Single precision at a height of 0.3 m.
        np.testing.assert_allclose(above, np.broadcast_to([0.0, LID, 0.0], above.shape), atol=3e-8)
        for mesh, way in ((lamps, -1.0), (lids, 1.0)):
            a, b, c = (mesh.positions[mesh.triangles[:, corner]] for corner in range(3))
            self.assertTrue((way * np.cross(b - a, c - a)[:, 1] > 0.0).all())


class Reading(unittest.TestCase):
    def read(self, content: dict) -> Gltf:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.glb"
            write_glb(path, content, b"")
            return Gltf(path)

    def test_unknown_extension_is_named(self):
        with self.assertRaisesRegex(Unsupported, "KHR_materials_sheen"):
            self.read({"extensionsUsed": ["KHR_materials_sheen"]})

    def test_child_is_placed_by_its_parent(self):
        turned = {"rotation": [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)], "children": [1]}
        content = {"scenes": [{"nodes": [0]}], "nodes": [turned, {"translation": [2.0, 0.0, 0.0]}]}
        (_, (_, matrix)) = self.read(content).placed_nodes()
        np.testing.assert_allclose(matrix[:3, 3], [0.0, 2.0, 0.0], atol=1e-12)

    def test_emission_is_factor_times_strength(self):
        strength = {"KHR_materials_emissive_strength": {"emissiveStrength": 4.0}}
        material = {"emissiveFactor": [1.0, 0.5, 0.0], "extensions": strength}
        self.assertEqual(emitted_radiance(material).tolist(), [4.0, 2.0, 0.0])


class Packing(unittest.TestCase):
    def test_camera_sees_all_and_wastes_nothing(self):
        points = np.random.default_rng(1).uniform([-1, 0, -2], [3, 1, 2], (500, 3))
        matrix = camera_matrix(points)
        x, y, z = ((points - matrix[:3, 3]) @ matrix[:3, :3]).T
        widest = np.max(np.maximum(abs(x), abs(y)) / -z) / np.tan(YFOV / 2)
        self.assertAlmostEqual(widest, 1.0)


class Errors(unittest.TestCase):
    def test_reference_noise_is_taken_out(self):
        random = np.random.default_rng(7)
        truth = np.full((400, 400, 3), 2.0)

        def noisy(spp: int) -> np.ndarray:
            return truth + random.normal(0.0, 1.0, truth.shape) / np.sqrt(spp)

        # Variance 1/16 over a square of 4 and the floor of 0.04; five sigma of the mean
        # over 480,000 values are 0.010 relative, the worst 0.1 % hold under 0.006 of it.
        expected = 1.0 / 16.0 / 4.04
        found = relative_mse(noisy(16), noisy(64), 16, 64)
        # The reference's noise in the denominator: E[1/r²] is larger by 3/(64·4).
        self.assertAlmostEqual(found / expected, 1.0, delta=0.010 + 0.006 + 3 / 256)


class Flags(unittest.TestCase):
    def test_request_survives_its_command_line(self):
        request = Request(
            scene=Path("a.glb"), width=3, height=4, spp=5, max_depth=6, seed=7, threads=8,
            sky=(1.0, 0.5, 0.25), environment=Path("sky.hdr"), picture=Path("o.npy"), timed=False,
            view=View((-1.0, 0.1, 2.0), (0.0, 1e-9, 3.0), 0.7),
        )  # fmt: skip
        self.assertEqual(request_of(parser("").parse_args(request.flags())), request)


class Report(unittest.TestCase):
    def scene(self) -> dict:
        def turns(*seconds: float) -> list[dict]:
            return [{"samples": 100, "seconds": each} for each in seconds]

        base = {"name": "base", "rounds": turns(1.0, 2.0, 1.0), "relative_mses": [0.4]}
        fast = {"name": "fast", "rounds": turns(0.5, 1.0, 0.5), "relative_mses": [0.1]}
        return {"width": 10, "height": 10, "spp": 1, "renderers": [base, fast]}

    def test_ratio_is_of_turns_in_one_round(self):
        scene = self.scene()
        report.summarise(scene, "base")
        self.assertEqual(scene["renderers"][1]["speed_ratio"], 2.0)

    def test_efficiency_is_error_times_time(self):
        scene = self.scene()
        report.summarise(scene, "base")
        base, fast = scene["renderers"]
        self.assertAlmostEqual(fast["efficiency_ratio"], 8.0)
        self.assertAlmostEqual(base["seconds_to_equal_error"], 1.0)
        self.assertAlmostEqual(fast["seconds_to_equal_error"], 0.125)

    def test_page_has_one_block_to_rewrite(self):
        text = report.PAGE.read_text()
        self.assertEqual((text.count(report.BEGIN), text.count(report.END)), (1, 1))


if __name__ == "__main__":
    unittest.main()
