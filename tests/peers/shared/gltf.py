"""Reads what the comparison needs of glTF 2.0: meshes, materials, one camera.

What it cannot read is an error that names it: a renderer that is shown less
than the others would only look faster.
"""

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from request import View

KNOWN_EXTENSIONS = {
    "KHR_lights_punctual",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_texture_transform",
}
# Those that `gltf_bsdf.py` knows besides.
MATERIAL_EXTENSIONS = {
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
}
COMPONENTS = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TRIANGLES = 4
GLB_MAGIC = 0x46546C67
CHUNK_JSON = 0x4E4F534A


class Unsupported(Exception):
    """The file uses what the comparison's converter lacks."""


@dataclass(frozen=True)
class PlacedMesh:
    """Triangles in world space."""

    name: str
    material: int | None
    positions: np.ndarray
    """n × 3, float32."""
    normals: np.ndarray | None
    """n × 3, float32, of unit length; none: the triangles are flat."""
    uvs: np.ndarray | None
    """n × 2, float32, v growing downwards."""
    triangles: np.ndarray
    """m × 3, uint32."""


@dataclass(frozen=True)
class Camera:
    """Looks along its own −Z with +Y up."""

    to_world: np.ndarray
    """4 × 4."""
    yfov: float
    """Radians."""


def camera_of_view(view: View) -> Camera:
    """The camera that a view means."""
    backwards = np.subtract(view.position, view.target)
    backwards /= np.linalg.norm(backwards)
    right = np.cross([0.0, 1.0, 0.0], backwards)
    right /= np.linalg.norm(right)
    to_world = np.eye(4)
    to_world[:3, :3] = np.stack([right, np.cross(backwards, right), backwards], axis=1)
    to_world[:3, 3] = view.position
    return Camera(to_world, view.yfov)


@dataclass(frozen=True)
class PunctualLight:
    """A point or directional light; it shines along its own −Z."""

    kind: str
    to_world: np.ndarray
    """4 × 4."""
    intensity: np.ndarray
    """Linear RGB, candela or lux."""
    radius: float
    """In metres; 0 is a point."""


def radius_of(light: dict) -> float:
    """Tessera's radius of a light of KHR_lights_punctual (docs/lights.md)."""
    return light.get("extras", {}).get("radius", 0.0)


class Gltf:
    """A .glb or .gltf file."""

    def __init__(
        self, path: Path, any_extension: bool = False, known: set[str] = KNOWN_EXTENSIONS
    ) -> None:
        """Reads the JSON; extensions not known are refused, unless all are welcome."""
        self.folder = path.parent
        self.json, self._chunk = _read(path)
        unknown = set(self.json.get("extensionsUsed", [])) - known
        if unknown and not any_extension:
            raise Unsupported(f"{path.name} uses {', '.join(sorted(unknown))}")

    def materials(self) -> list[dict]:
        """The materials as they stand in the file."""
        return self.json.get("materials", [])

    def bytes_of_view(self, index: int) -> bytes:
        """The bytes of a buffer view, without regard to its stride."""
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self._buffer(view["buffer"])[start : start + view["byteLength"]]

    def accessor(self, index: int) -> np.ndarray:
        """An accessor's elements, count × width; normalised integers as float32."""
        accessor = self.json["accessors"][index]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise Unsupported("sparse accessors")
        component, width = COMPONENTS[accessor["componentType"]], WIDTHS[accessor["type"]]
        view = self.json["bufferViews"][accessor["bufferView"]]
        stride = view.get("byteStride", component.itemsize * width)
        elements = np.ndarray(
            (accessor["count"], width),
            component,
            self.bytes_of_view(accessor["bufferView"]),
            accessor.get("byteOffset", 0),
            (stride, component.itemsize),
        )
        if accessor.get("normalized") and component.kind in "iu":
            return (elements / np.float32(np.iinfo(component).max)).astype(np.float32)
        return elements

    def image(self, texture: dict) -> bytes:
        """The encoded image behind a texture reference."""
        image = self.json["images"][self.json["textures"][texture["index"]]["source"]]
        if "bufferView" in image:
            return self.bytes_of_view(image["bufferView"])
        return self.file(image["uri"])

    def file(self, uri: str) -> bytes:
        """A file beside this one, or what the URI itself holds."""
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        return (self.folder / unquote(uri)).read_bytes()

    def placed_nodes(self) -> list[tuple[dict, np.ndarray]]:
        """The nodes of the scene, each with its matrix to the world."""
        scene = self.json["scenes"][self.json.get("scene", 0)]
        open_nodes = [(index, np.eye(4)) for index in reversed(scene.get("nodes", []))]
        placed = []
        while open_nodes:
            index, parent = open_nodes.pop()
            node = self.json["nodes"][index]
            matrix = parent @ _local_matrix(node)
            placed.append((node, matrix))
            open_nodes += [(child, matrix) for child in reversed(node.get("children", []))]
        return placed

    def has_camera(self) -> bool:
        """Whether the scene brings a camera."""
        return any("camera" in node for node, _ in self.placed_nodes())

    def camera(self) -> Camera:
        """The first camera of the scene."""
        for node, matrix in self.placed_nodes():
            if "camera" in node:
                camera = self.json["cameras"][node["camera"]]
                if camera["type"] != "perspective":
                    raise Unsupported("an orthographic camera")
                return Camera(matrix, camera["perspective"]["yfov"])
        raise Unsupported("a scene without a camera")

    def placed_lights(self) -> list[PunctualLight]:
        """The lights of the scene; spots and ranges, whose falloff is glTF's own, are refused."""
        extension = self.json.get("extensions", {}).get("KHR_lights_punctual", {})
        lights = []
        for node, matrix in self.placed_nodes():
            index = node.get("extensions", {}).get("KHR_lights_punctual", {}).get("light")
            if index is None:
                continue
            light = extension["lights"][index]
            if light["type"] == "spot" or "range" in light:
                raise Unsupported("a spot light, or one with a range")
            colour = np.array(light.get("color", [1.0, 1.0, 1.0]))
            intensity = colour * light.get("intensity", 1.0)
            lights.append(PunctualLight(light["type"], matrix, intensity, radius_of(light)))
        return lights

    def light_radii(self) -> dict[str, float]:
        """The radii of the lights, by their names."""
        lights = self.json.get("extensions", {}).get("KHR_lights_punctual", {}).get("lights", [])
        return {light["name"]: radius_of(light) for light in lights if "name" in light}

    def placed_meshes(self) -> list[PlacedMesh]:
        """All triangles of the scene, one mesh for each primitive and node."""
        meshes = []
        for node, matrix in self.placed_nodes():
            if "mesh" not in node:
                continue
            if "skin" in node:
                raise Unsupported("a skin")
            mesh = self.json["meshes"][node["mesh"]]
            name = node.get("name", f"mesh {node['mesh']}")
            meshes += [self._placed(name, primitive, matrix) for primitive in mesh["primitives"]]
        return meshes

    def _placed(self, name: str, primitive: dict, matrix: np.ndarray) -> PlacedMesh:
        attributes = primitive["attributes"]
        if primitive.get("mode", TRIANGLES) != TRIANGLES or "targets" in primitive:
            raise Unsupported("primitives other than plain triangles")
        if "COLOR_0" in attributes:
            raise Unsupported("vertex colours")
        positions = self.accessor(attributes["POSITION"]) @ matrix[:3, :3].T + matrix[:3, 3]
        normals = uvs = None
        if "NORMAL" in attributes:
            normals = self.accessor(attributes["NORMAL"]) @ np.linalg.inv(matrix[:3, :3])
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
            normals = normals.astype(np.float32)
        if "TEXCOORD_0" in attributes:
            uvs = self.accessor(attributes["TEXCOORD_0"]).astype(np.float32)
        if "indices" in primitive:
            indices = self.accessor(primitive["indices"])
        else:
            indices = np.arange(len(positions))
        triangles = indices.reshape(-1, 3).astype(np.uint32)
        if np.linalg.det(matrix[:3, :3]) < 0:
            triangles = triangles[:, ::-1]
        return PlacedMesh(
            name, primitive.get("material"), positions.astype(np.float32), normals, uvs, triangles
        )

    def _buffer(self, index: int) -> bytes:
        uri = self.json["buffers"][index].get("uri")
        return self._chunk if uri is None else self.file(uri)


def is_lambertian(material: dict) -> bool:
    """Whether the material is diffuse and nothing else.

    Of glTF's dielectric that is left when no light is reflected at its surface,
    and an index of refraction of 1 reflects none.
    """
    surface, extensions = material.get("pbrMetallicRoughness", {}), material.get("extensions", {})
    ior = extensions.get("KHR_materials_ior", {}).get("ior", 1.5)
    is_bare = not MATERIAL_EXTENSIONS & set(extensions)
    return surface.get("metallicFactor", 1.0) == 0.0 and ior == 1.0 and is_bare


def emitted_radiance(material: dict) -> np.ndarray:
    """Emissive factor times strength, linear RGB."""
    strength = material.get("extensions", {}).get("KHR_materials_emissive_strength", {})
    factor = np.array(material.get("emissiveFactor", [0.0, 0.0, 0.0]))
    return factor * strength.get("emissiveStrength", 1.0)


def write_glb(path: Path, content: dict, binary: bytes) -> None:
    """Writes a .glb of one buffer, both chunks padded to four bytes."""
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<III", GLB_MAGIC, 2, length))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", len(binary), b"BIN\0") + binary)


def _read(path: Path) -> tuple[dict, bytes]:
    """The JSON of a file and its binary chunk, empty for a .gltf."""
    data = path.read_bytes()
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != GLB_MAGIC:
        return json.loads(data), b""
    length, kind = struct.unpack_from("<II", data, 12)
    if kind != CHUNK_JSON:
        raise Unsupported(f"{path.name} does not begin with its JSON")
    binary = data[20 + length + 8 :] if len(data) > 20 + length else b""
    return json.loads(data[20 : 20 + length]), binary


def _local_matrix(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"]).reshape(4, 4).T
    x, y, z, w = node.get("rotation", [0.0, 0.0, 0.0, 1.0])
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", [1.0, 1.0, 1.0]))
    matrix[:3, 3] = node.get("translation", [0.0, 0.0, 0.0])
    return matrix
