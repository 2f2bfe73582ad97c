"""Writes small models of what no file of scenes/ exercises.

    python make_models.py FOLDER

texture-transform.glb   four squares with one texture, moved, scaled, turned, and all
                        three (KHR_texture_transform)
gpu-instancing.glb      twelve boxes of one node, each with a place, a turn and a size
                        of its own (EXT_mesh_gpu_instancing)
lamp-radius.glb         boxes on a floor under two lamps that are spheres (`extras.radius`
                        of lights of KHR_lights_punctual)
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from gltf import write_glb

KINDS = {np.dtype("<f4"): 5126, np.dtype("<u2"): 5123}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Buffer:
    """Arrays and what names them in a file."""

    def __init__(self) -> None:
        self.binary, self.views, self.accessors = b"", [], []

    def view(self, piece: bytes) -> int:
        """A buffer view of some bytes."""
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(piece)})
        self.binary += piece + b"\0" * (-len(piece) % 4)
        return len(self.views) - 1

    def array(self, values: list, kind: str = "<f4") -> int:
        """An accessor of rows of numbers."""
        rows = np.array(values, dtype=kind)
        rows = rows.reshape(len(rows), -1)
        self.accessors.append(
            {
                "bufferView": self.view(rows.tobytes()),
                "componentType": KINDS[rows.dtype],
                "count": len(rows),
                "type": WIDTHS[rows.shape[1]],
                "min": rows.min(axis=0).tolist(),
                "max": rows.max(axis=0).tolist(),
            }
        )
        return len(self.accessors) - 1

    def write(self, path: Path, content: dict) -> None:
        """The file of a JSON that names only what is here."""
        content |= {
            "asset": {"version": "2.0", "generator": "make_models.py"},
            "scene": 0,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        write_glb(path, content, self.binary)


def png(texels: np.ndarray) -> bytes:
    """Rows of RGB bytes as a PNG."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = texels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in texels.astype(np.uint8))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def picture() -> np.ndarray:
    """64 by 64 texels in eight by eight squares, no two of one colour, so that no turn looks like another."""
    row, column = np.mgrid[0:64, 0:64] // 8
    return np.stack([40 + 25 * column, 40 + 25 * row, 60 + 120 * ((row + column) % 2)], axis=-1)


def write_texture_transform(path: Path) -> None:
    """Squares side by side, each with a transform of the texture's coordinates."""
    buffer = Buffer()
    transforms = [
        {"offset": [0.3, 0.1]},
        {"scale": [0.5, 0.25]},
        {"rotation": 0.5},
        {"offset": [-0.2, 0.15], "rotation": -1.1, "scale": [0.6, 1.4]},
    ]
    corners = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
    attributes = {
        "POSITION": buffer.array(corners),
        "NORMAL": buffer.array([[0, 0, 1]] * 4),
        "TEXCOORD_0": buffer.array([[0, 1], [1, 1], [1, 0], [0, 0]]),
    }
    triangles = buffer.array([0, 1, 2, 0, 2, 3], "<u2")
    materials = [
        {
            "name": f"transform {place}",
            "pbrMetallicRoughness": {
                "metallicFactor": 0.0,
                "roughnessFactor": 0.8,
                "baseColorTexture": {"index": 0, "extensions": {"KHR_texture_transform": transform}},
            },
        }
        for place, transform in enumerate(transforms)
    ]
    meshes = [
        {"primitives": [{"attributes": attributes, "indices": triangles, "material": place}]}
        for place in range(4)
    ]
    nodes = [
        {"mesh": place, "translation": [2.2 * (place % 2), -2.2 * (place // 2), 0.0]} for place in range(4)
    ]
    content = {
        "extensionsUsed": ["KHR_texture_transform"],
        "scenes": [{"nodes": [0, 1, 2, 3]}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 10497, "wrapT": 10497}],
        "images": [{"bufferView": buffer.view(png(picture())), "mimeType": "image/png"}],
    }
    buffer.write(path, content)


def box(buffer: Buffer) -> dict:
    """A box of two units a side as a primitive of the first material."""
    positions, normals, triangles = [], [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            normal = np.eye(3)[axis] * side
            first = np.eye(3)[(axis + 1) % 3] * side
            second = np.eye(3)[(axis + 2) % 3]
            base = len(positions)
            for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                positions.append(normal + u * first + v * second)
                normals.append(normal)
            triangles += [base, base + 1, base + 2, base, base + 2, base + 3]
    return {
        "attributes": {"POSITION": buffer.array(positions), "NORMAL": buffer.array(normals)},
        "indices": buffer.array(triangles, "<u2"),
        "material": 0,
    }


def write_gpu_instancing(path: Path) -> None:
    """Boxes of one mesh under a node that is moved and turned itself."""
    buffer, random = Buffer(), np.random.default_rng(3)
    turns = random.normal(size=(12, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    places = [[2.4 * (place % 4), 2.4 * (place // 4), float(random.uniform(-1, 1))] for place in range(12)]
    instancing = {
        "TRANSLATION": buffer.array(places),
        "ROTATION": buffer.array(turns),
        "SCALE": buffer.array(random.uniform(0.4, 1.0, (12, 3))),
    }
    surface = {"baseColorFactor": [0.7, 0.4, 0.2, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7}
    node = {
        "mesh": 0,
        "rotation": [0.0, 0.258819, 0.0, 0.965926],
        "translation": [1.0, 0.0, 0.0],
        "extensions": {"EXT_mesh_gpu_instancing": {"attributes": instancing}},
    }
    content = {
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [box(buffer)]}],
        "materials": [{"name": "box", "pbrMetallicRoughness": surface}],
    }
    buffer.write(path, content)


def write_lamp_radius(path: Path) -> None:
    """Two lamps of which shadows have a penumbra, near what they light; the camera sees neither."""
    buffer = Buffer()
    surface = {"baseColorFactor": [0.7, 0.7, 0.7, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    lamps = [
        {"name": "near", "type": "point", "intensity": 3.0, "extras": {"radius": 0.3}},
        {"name": "far", "type": "point", "color": [1.0, 0.6, 0.3], "intensity": 20.0, "extras": {"radius": 0.8}},
    ]
    nodes = [
        {"mesh": 0, "translation": [0.0, -1.0, 0.0], "scale": [8.0, 1.0, 8.0]},
        {"mesh": 0, "translation": [-0.9, 0.5, 0.0], "scale": [0.25, 0.5, 0.25]},
        {"mesh": 0, "translation": [0.8, 0.3, 0.4], "scale": [0.3, 0.3, 0.3]},
        {"translation": [0.0, 1.6, -0.6], "extensions": {"KHR_lights_punctual": {"light": 0}}},
        {"translation": [3.5, 3.5, 2.0], "extensions": {"KHR_lights_punctual": {"light": 1}}},
        {"camera": 0, "translation": [0.0, 2.2, 4.5], "rotation": [-0.27, 0.0, 0.0, 0.963]},
    ]
    content = {
        "extensionsUsed": ["KHR_lights_punctual"],
        "extensions": {"KHR_lights_punctual": {"lights": lamps}},
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "cameras": [{"type": "perspective", "perspective": {"yfov": 0.6, "znear": 0.1}}],
        "meshes": [{"primitives": [box(buffer)]}],
        "materials": [{"name": "box", "pbrMetallicRoughness": surface}],
    }
    buffer.write(path, content)


MADE = {
    "gpu-instancing.glb": write_gpu_instancing,
    "lamp-radius.glb": write_lamp_radius,
    "texture-transform.glb": write_texture_transform,
}


def write_models(folder: Path) -> list[Path]:
    """Writes all of them; where they lie."""
    for name, write in MADE.items():
        write(folder / name)
    return [folder / name for name in MADE]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_models(Path(sys.argv[1]))
