"""Writes a plain with ten thousand lamps as a binary glTF file.

    python make_lamps.py lamps.glb

A Lambertian square of 120 m by 120 m, and over it, on a jittered grid of 100 by
100, triangles with edges of 0.1 m, all of one radiance, that shine downwards from a
height of 0.3 m. Each lights what is right under it and hardly anything else, so it
matters which of them a renderer asks. The camera looks down on all of it, and sees
black lids on the lamps' backs: a renderer to which a lamp is a lamp on both sides
shows the same picture so.
"""

import sys
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from gltf import write_glb

LAMPS_ALONG_EDGE = 100
SPACING = 1.2
HEIGHT = 0.3
EDGE = 0.1
RADIANCE = 400.0
LID = 1e-4
"""How far over its lamp a lid lies, metres."""
ALBEDO = 0.7


def lamps() -> tuple[np.ndarray, np.ndarray]:
    """Corners and triangles of the lamps; their fronts face down."""
    random = np.random.default_rng(5)
    place = (np.arange(LAMPS_ALONG_EDGE) + 0.5) * SPACING - LAMPS_ALONG_EDGE * SPACING / 2
    x, z = np.meshgrid(place, place)
    jitter = random.uniform(-0.4, 0.4, (2, x.size)) * SPACING
    turn = random.uniform(0, 2 * np.pi, x.size)[:, None] + np.arange(3) * 2 * np.pi / 3
    radius = EDGE / np.sqrt(3)
    corners = np.stack(
        [
            (x.ravel() + jitter[0])[:, None] + radius * np.cos(turn),
            np.full(turn.shape, HEIGHT),
            (z.ravel() + jitter[1])[:, None] + radius * np.sin(turn),
        ],
        axis=-1,
    )
    return corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3)


def lids() -> tuple[np.ndarray, np.ndarray]:
    """Corners and triangles of the lids; their fronts face up."""
    corners, triangles = lamps()
    return corners + [0.0, LID, 0.0], triangles[:, ::-1]


def ground() -> tuple[np.ndarray, np.ndarray]:
    """Corners and triangles of the square."""
    half = LAMPS_ALONG_EDGE * SPACING / 2
    corners = [[-half, 0, -half], [half, 0, -half], [-half, 0, half], [half, 0, half]]
    return np.array(corners), np.array([[0, 2, 1], [1, 2, 3]])


def material(name: str, albedo: float, radiance: float) -> dict:
    """A Lambertian material that may emit."""
    return {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorFactor": [albedo, albedo, albedo, 1.0],
            "metallicFactor": 0.0,
        },
        "emissiveFactor": [1.0, 1.0, 1.0] if radiance > 0 else [0.0, 0.0, 0.0],
        "extensions": {
            "KHR_materials_ior": {"ior": 1.0},
            "KHR_materials_emissive_strength": {"emissiveStrength": max(radiance, 1.0)},
        },
    }


def write_lamps(path: Path) -> None:
    """Writes the scene."""
    arrays, views, accessors, primitives = [], [], [], []
    offset = 0
    for number, (corners, triangles) in enumerate([ground(), lamps(), lids()]):
        corners, triangles = corners.astype("<f4"), triangles.astype("<u4")
        for array in (corners, triangles):
            views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes})
            offset += array.nbytes
            arrays.append(array.tobytes())
        low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        accessors += [
            {"bufferView": 2 * number, "componentType": 5126, "count": len(corners), "type": "VEC3",
             "min": low, "max": high},
            {"bufferView": 2 * number + 1, "componentType": 5125, "count": triangles.size,
             "type": "SCALAR"},
        ]
        primitives.append(
            {"attributes": {"POSITION": 2 * number}, "indices": 2 * number + 1, "material": number}
        )
    # Looks down by 45°: the quaternion of half that angle about X.
    camera = {
        "name": "camera",
        "camera": 0,
        "translation": [0.0, 40.0, 50.0],
        "rotation": [-0.3826834323650898, 0.0, 0.0, 0.9238795325112867],
    }
    document = {
        "asset": {"version": "2.0", "generator": "make_lamps.py"},
        "extensionsUsed": ["KHR_materials_ior", "KHR_materials_emissive_strength"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"name": "plain", "mesh": 0}, camera],
        "cameras": [{"type": "perspective", "perspective": {"yfov": 0.6, "znear": 0.01}}],
        "materials": [
            material("ground", ALBEDO, 0.0), material("lamp", 0.0, RADIANCE), material("lid", 0.0, 0.0),
        ],
        "meshes": [{"primitives": primitives}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    write_glb(path, document, b"".join(arrays))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_lamps(Path(sys.argv[1]))
