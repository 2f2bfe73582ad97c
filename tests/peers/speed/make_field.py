"""Writes the million-triangle scene: hills of one diffuse white under the sky.

    python make_field.py OUT.glb

1,007,618 triangles: a height field of 768×656 quads, and a plane of two
triangles below it that reaches to the horizon. One mesh, one material, no
normals and no texture coordinates, so that a renderer has nothing to do but to
find the nearest triangle: four segments at albedo 0.8 under a white sky. The
same bytes on every run and machine: only integers and the exactly rounded
operations of float64 make the heights.
"""

import sys
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from gltf import write_glb

COLUMNS, ROWS = 768, 656
QUAD = 1 / 48
ALBEDO = 0.8
# Cells of value noise across a unit of length, and how high each octave rises.
OCTAVES = [(0.375, 2.0), (0.75, 1.1), (1.5, 0.6), (3.0, 0.32), (6.0, 0.16), (12.0, 0.08)]
TRIANGLES = 2 * COLUMNS * ROWS + 2


def lattice(x: np.ndarray, y: np.ndarray, octave: int) -> np.ndarray:
    """Hashed numbers in [0, 1) at integer points (finaliser of MurmurHash3)."""
    h = x.astype(np.uint32) * np.uint32(0x9E3779B1) ^ y.astype(np.uint32) * np.uint32(0x85EBCA77)
    h ^= np.uint32(0xC2B2AE3D * (octave + 1) & 0xFFFFFFFF)
    h = (h ^ h >> 16) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> 13) * np.uint32(0xC2B2AE35)
    return (h ^ h >> 16) / 2.0**32


def fade(t: np.ndarray) -> np.ndarray:
    """Smooth from 0 to 1, flat at both ends."""
    return t * t * (3.0 - 2.0 * t)


def noise(x: np.ndarray, y: np.ndarray, octave: int) -> np.ndarray:
    """Value noise: lattice numbers, blended smoothly between the points."""
    x0, y0 = np.floor(x), np.floor(y)
    u, v = fade(x - x0), fade(y - y0)
    # Far from zero, so that no lattice coordinate is negative.
    i, j = x0.astype(np.int64) + 4096, y0.astype(np.int64) + 4096
    near = lattice(i, j, octave) * (1.0 - u) + lattice(i + 1, j, octave) * u
    far = lattice(i, j + 1, octave) * (1.0 - u) + lattice(i + 1, j + 1, octave) * u
    return near * (1.0 - v) + far * v


def hills() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n × 3) and triangles (m × 3) of the height field."""
    column, row = np.meshgrid(np.arange(COLUMNS + 1), np.arange(ROWS + 1))
    x, z = (column - COLUMNS / 2) * QUAD, (row - ROWS / 2) * QUAD
    y = np.zeros_like(x)
    for octave, (cells, height) in enumerate(OCTAVES):
        y += height * noise(x * cells, z * cells, octave)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    corner = (row * (COLUMNS + 1) + column)[:-1, :-1].reshape(-1)
    right, below = corner + 1, corner + COLUMNS + 1
    upper = np.stack([corner, below, right], axis=-1)
    lower = np.stack([right, below, below + 1], axis=-1)
    return vertices, np.stack([upper, lower], axis=1).reshape(-1, 3)


def plane(first: int) -> tuple[np.ndarray, np.ndarray]:
    """A quad below the hills; its vertices are numbered from `first`."""
    half = 400.0
    corners = [[-half, 0, -half], [half, 0, -half], [-half, 0, half], [half, 0, half]]
    triangles = np.array([[0, 2, 1], [1, 2, 3]])
    return np.array(corners), triangles + first


def document(vertices: np.ndarray, triangles: np.ndarray) -> dict:
    """The glTF around the two arrays."""
    lambertian = {
        "name": "white",
        "pbrMetallicRoughness": {
            "baseColorFactor": [ALBEDO, ALBEDO, ALBEDO, 1.0],
            "metallicFactor": 0.0,
        },
        # No reflection at the surface: only the diffuse lobe is left.
        "extensions": {"KHR_materials_ior": {"ior": 1.0}},
    }
    # Looks down by 45°, at hills only: the quaternion of half that angle about X.
    camera = {
        "name": "camera",
        "camera": 0,
        "translation": [0.0, 11.0, 8.5],
        "rotation": [-0.3826834323650898, 0.0, 0.0, 0.9238795325112867],
    }
    return {
        "asset": {"version": "2.0", "generator": "make_field.py"},
        "extensionsUsed": ["KHR_materials_ior"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"name": "field", "mesh": 0}, camera],
        "cameras": [{"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.01}}],
        "materials": [lambertian],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": len(vertices),
                "type": "VEC3",
                "min": vertices.min(axis=0).tolist(),
                "max": vertices.max(axis=0).tolist(),
            },
            {"bufferView": 1, "componentType": 5125, "count": triangles.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": vertices.nbytes},
            {"buffer": 0, "byteOffset": vertices.nbytes, "byteLength": triangles.nbytes},
        ],
        "buffers": [{"byteLength": vertices.nbytes + triangles.nbytes}],
    }


def write_field(path: Path) -> None:
    """Writes the scene."""
    vertices, triangles = hills()
    below, quad = plane(len(vertices))
    vertices = np.concatenate([vertices, below]).astype("<f4")
    triangles = np.concatenate([triangles, quad]).astype("<u4")
    assert len(triangles) == TRIANGLES
    write_glb(path, document(vertices, triangles), vertices.tobytes() + triangles.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_field(Path(sys.argv[1]))
