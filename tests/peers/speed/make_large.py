"""Writes fields of as many triangles as one likes, with normals and texture coordinates.

    python make_large.py OUT.glb [--triangles N] [--copies N] [--textures EDGE]

The hills of make_field.py on a finer grid, as one mesh with smooth normals, once or
in so many copies beside each other that share its triangles. With textures it gets
a base colour, a normal map, whose tangents the file leaves to the reader, and a map
of roughness, each of EDGE × EDGE texels in PNG. The triangles are rounded up to a
whole row.
"""

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np

import make_field
import shared_modules  # noqa: F401
from gltf import write_glb

WIDTH = make_field.COLUMNS * make_field.QUAD


def hills(triangles: int) -> dict[str, np.ndarray]:
    """The arrays of a mesh with at least so many triangles."""
    columns = int(np.ceil(np.sqrt(triangles / 2 * make_field.COLUMNS / make_field.ROWS)))
    rows = int(np.ceil(triangles / 2 / columns))
    quad = WIDTH / columns
    column, row = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
    x, z = (column - columns / 2) * quad, (row - rows / 2) * quad
    y = np.zeros_like(x)
    for octave, (cells, height) in enumerate(make_field.OCTAVES):
        y += height * make_field.noise(x * cells, z * cells, octave)
    slope_z, slope_x = np.gradient(y, quad)
    normals = np.stack([-slope_x, np.ones_like(y), -slope_z], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    corner = (row * (columns + 1) + column)[:-1, :-1].reshape(-1)
    right, below = corner + 1, corner + columns + 1
    upper = np.stack([corner, below, right], axis=-1)
    lower = np.stack([right, below, below + 1], axis=-1)
    return {
        "POSITION": np.stack([x, y, z], axis=-1).reshape(-1, 3).astype("<f4"),
        "NORMAL": normals.reshape(-1, 3).astype("<f4"),
        "TEXCOORD_0": np.stack([x, z], axis=-1).reshape(-1, 2).astype("<f4"),
        "indices": np.stack([upper, lower], axis=1).reshape(-1, 1).astype("<u4"),
    }


def png(texels: np.ndarray) -> bytes:
    """An image of 8-bit RGB."""
    height, width, _ = texels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    # Each row is filtered by the difference from the texel to its left.
    rows = np.diff(texels, axis=1, prepend=np.zeros((height, 1, 3), np.uint8)).reshape(height, -1)
    rows = np.concatenate([np.ones((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def textures(edge: int) -> list[bytes]:
    """Base colour, bumps as normals, and roughness."""
    random = np.random.default_rng(11)
    u, v = np.meshgrid(np.arange(edge) / edge, np.arange(edge) / edge)
    wave = 0.5 + 0.5 * np.sin(40 * np.pi * u) * np.cos(24 * np.pi * v)
    grain = random.integers(-12, 13, (edge, edge, 3))
    shades = np.stack([0.8 * wave, 0.6 + 0.2 * u, 0.4 + 0.3 * v], axis=-1) * 255 + grain
    bumps = np.stack([0.2 * np.sin(90 * u), 0.2 * np.cos(70 * v), np.ones_like(u)], axis=-1)
    bumps = (bumps / np.linalg.norm(bumps, axis=-1, keepdims=True) * 0.5 + 0.5) * 255 + grain / 6
    rough = np.stack([np.zeros_like(u), 0.3 + 0.6 * wave, np.zeros_like(u)], axis=-1) * 255
    return [png(np.clip(image, 0, 255).astype(np.uint8)) for image in (shades, bumps, rough)]


def document(mesh: dict[str, np.ndarray], copies: int, images: list[bytes]) -> tuple[dict, bytes]:
    """The glTF and its binary chunk."""
    content = make_field.document(mesh["POSITION"], mesh["indices"])
    parts = [array.tobytes() for array in mesh.values()] + images
    starts = np.cumsum([0] + [-(-len(part) // 4) * 4 for part in parts]).tolist()
    content["buffers"] = [{"byteLength": starts[-1]}]
    content["bufferViews"] = [
        {"buffer": 0, "byteOffset": start, "byteLength": len(part)}
        for start, part in zip(starts, parts)
    ]
    kinds = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
    content["accessors"] = [
        {
            "bufferView": view,
            "componentType": 5125 if name == "indices" else 5126,
            "count": len(array),
            "type": kinds[array.shape[1]],
        }
        for view, (name, array) in enumerate(mesh.items())
    ]
    positions = mesh["POSITION"]
    content["accessors"][0] |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    attributes = {name: view for view, name in enumerate(mesh) if name != "indices"}
    primitive = {"attributes": attributes, "indices": len(attributes), "material": 0}
    content["meshes"] = [{"primitives": [primitive]}]
    edge = int(np.ceil(np.sqrt(copies)))
    places = [(copy % edge - (edge - 1) / 2, copy // edge - (edge - 1) / 2) for copy in range(copies)]
    scale = 1 / edge
    content["nodes"] = [content["nodes"][1]] + [
        {"mesh": 0, "translation": [x * WIDTH * scale, 0.0, z * WIDTH * scale], "scale": [scale] * 3}
        for x, z in places
    ]
    content["scenes"] = [{"nodes": list(range(copies + 1))}]
    if images:
        add_textures(content, len(mesh), len(images))
    padded = b"".join(part + b"\0" * (-len(part) % 4) for part in parts)
    return content, padded


def add_textures(content: dict, first_view: int, count: int) -> None:
    """Lets the material have images, which follow the mesh's arrays."""
    content["images"] = [
        {"bufferView": first_view + image, "mimeType": "image/png"} for image in range(count)
    ]
    content["textures"] = [{"source": image} for image in range(count)]
    content["materials"] = [
        {
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": 0},
                "metallicRoughnessTexture": {"index": 2},
                "metallicFactor": 0.0,
            },
            "normalTexture": {"index": 1},
        }
    ]
    del content["extensionsUsed"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--triangles", type=int, default=1_000_000, help="of one copy")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--textures", type=int, metavar="EDGE", help="with textures of this size")
    options = parser.parse_args()
    pictures = textures(options.textures) if options.textures else []
    write_glb(options.out, *document(hills(options.triangles), options.copies, pictures))
