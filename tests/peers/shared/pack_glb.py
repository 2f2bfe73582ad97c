"""Packs a glTF of several files into one .glb with a camera that sees all of it.

    python pack_glb.py MODEL.gltf OUT.glb

For models that come without a camera, as most do: every renderer must look from
the same place, and the place must be in the file.
"""

import copy
import sys
from pathlib import Path

import numpy as np

from gltf import Gltf, write_glb

YFOV = 0.5
# Where the camera stands as seen from the middle of the model.
FROM = np.array([0.35, 0.2, 1.0])


def camera_matrix(points: np.ndarray, towards: np.ndarray = FROM) -> np.ndarray:
    """A camera in a direction from the points, which just fill a square picture."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    backwards = towards / np.linalg.norm(towards)
    right = np.cross([0.0, 1.0, 0.0], backwards)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(backwards, right), backwards], axis=1)
    x, y, z = ((points - centre) @ matrix[:3, :3]).T
    distance = np.max(np.maximum(abs(x), abs(y)) / np.tan(YFOV / 2) + z)
    matrix[:3, 3] = centre + backwards * distance
    return matrix


def add_camera(content: dict, gltf: Gltf) -> None:
    """Adds a camera in front of all meshes."""
    points = np.concatenate([mesh.positions for mesh in gltf.placed_meshes()])
    place_camera(content, camera_matrix(points.astype(np.float64)))


def place_camera(content: dict, matrix: np.ndarray) -> None:
    """Adds a camera at a place."""
    content["cameras"] = [{"type": "perspective", "perspective": {"yfov": YFOV, "znear": 0.001}}]
    content["nodes"].append({"name": "camera", "camera": 0, "matrix": matrix.T.ravel().tolist()})
    content["scenes"][content.get("scene", 0)]["nodes"].append(len(content["nodes"]) - 1)


def write_packed(gltf: Gltf, content: dict, out: Path) -> None:
    """Writes the JSON, a copy of a file's that may be changed, with all that it names."""
    views, binary = content["bufferViews"], b""
    for index, view in enumerate(views):
        piece = gltf.bytes_of_view(index)
        view |= {"buffer": 0, "byteOffset": len(binary)}
        binary += piece + b"\0" * (-len(piece) % 4)
    for image in content.get("images", []):
        if "uri" not in image:
            continue
        name = image.pop("uri")
        piece = gltf.file(name)
        is_png = name.lower().endswith(".png") or name.startswith("data:image/png")
        image["mimeType"] = "image/png" if is_png else "image/jpeg"
        image["bufferView"] = len(views)
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(piece)})
        binary += piece + b"\0" * (-len(piece) % 4)
    content["buffers"] = [{"byteLength": len(binary)}]
    write_glb(out, content, binary)


def pack(model: Path, out: Path) -> None:
    """Writes the packed file."""
    gltf = Gltf(model)
    content = copy.deepcopy(gltf.json)
    if not gltf.has_camera():
        add_camera(content, gltf)
    write_packed(gltf, content, out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
