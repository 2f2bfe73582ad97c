"""Renders a request with Mitsuba 3, in one of its CPU variants.

The time is that of `mitsuba.render` up to its synchronisation. An llvm variant
renders the same picture once before, so that its kernels are compiled: they
depend on whether the sample count is a power of two, among other things.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import drjit
import mitsuba
import numpy as np

from gltf import (
    KNOWN_EXTENSIONS, MATERIAL_EXTENSIONS, Camera, Gltf, PlacedMesh, PunctualLight, Unsupported,
    camera_of_view, emitted_radiance, is_lambertian,
)  # fmt: skip
from request import Answer, Request, cpu_seconds, parser, request_of

# Samples of a pixel in one launch: keeps a reference's launches within memory.
MOST_SPP_AT_ONCE = 256
# Those of clear solids, for which Mitsuba's own dielectrics stand.
SOLID_EXTENSIONS = {"KHR_materials_transmission", "KHR_materials_volume"}
# Mitsuba's own, and glTF's of gltf_bsdf.py.
MODELS = ("principled", "gltf")


def rgb(value: Any) -> dict:
    return {"type": "rgb", "value": [float(x) for x in value]}


def colour(value: Any) -> Any:
    """Linear RGB as a number of a BSDF, and not as a texture."""
    return mitsuba.ScalarColor3f([float(part) for part in value])


def is_unlit(material: dict) -> bool:
    return "KHR_materials_unlit" in material.get("extensions", {})


def radiance_of(material: dict) -> np.ndarray:
    """What a surface emits; an unlit one what it is seen as."""
    if is_unlit(material):
        return np.array(material["pbrMetallicRoughness"].get("baseColorFactor", [1.0] * 4)[:3])
    return emitted_radiance(material)


def decode(image: bytes) -> np.ndarray:
    """A PNG or JPEG as height × width × channels, 0 to 1."""
    stream = mitsuba.MemoryStream()
    stream.write(image)
    stream.seek(0)
    bitmap = mitsuba.Bitmap(stream)
    if bitmap.component_format() != mitsuba.Struct.Type.UInt8:
        raise Unsupported("images of other than 8 bits")
    return np.array(bitmap, dtype=np.float32) / np.float32(255.0)


def texture_of(value: Any) -> dict:
    """A number as a texture that is the same everywhere."""
    return value if isinstance(value, dict) else {"type": "uniform", "value": float(value)}


def uv_transform(texture: dict) -> Any:
    """KHR_texture_transform as Mitsuba takes it: scaled, turned, then moved.

    In glTF v grows downwards, so that what the extension calls counter-clockwise
    turns u towards −v.
    """
    from mitsuba import ScalarTransform3f as Transform

    values = texture.get("extensions", {}).get("KHR_texture_transform", {})
    offset, scale = values.get("offset", [0.0, 0.0]), values.get("scale", [1.0, 1.0])
    turn = Transform().rotate(-np.degrees(values.get("rotation", 0.0)))
    return Transform().translate(offset) @ turn @ Transform().scale(scale)


class Materials:
    """Builds the BSDFs of a file; those of one material are one object."""

    def __init__(self, gltf: Gltf, model: str) -> None:
        """`model` is one of `MODELS`: what stands for a glossy material."""
        self._gltf = gltf
        self._model = model

    def bsdf(self, material: dict) -> dict:
        """The BSDF of a glTF material as a dictionary for `load_dict`."""
        surface = material.get("pbrMetallicRoughness", {})
        if is_unlit(material):
            # It emits what it is seen as, and reflects nothing.
            return {"type": "diffuse", "reflectance": rgb([0.0] * 3)}
        if glass := glass_of(material):
            return glass
        if is_lambertian(material):
            bsdf = {"type": "diffuse", "reflectance": self._base_colour(surface)}
        else:
            bsdf = self._glossy(material, surface)
        bsdf = self._with_normals(material, bsdf)
        if material.get("alphaMode", "OPAQUE") != "OPAQUE":
            opacity = self._texture(surface["baseColorTexture"], slice(3, 4), None, raw=True)
            bsdf = {"type": "mask", "opacity": opacity, "bsdf": bsdf}
        return bsdf

    def _with_normals(self, material: dict, bsdf: dict) -> dict:
        """The BSDF under the material's normal map, and seen from both sides."""
        normals = None
        if "normalTexture" in material:
            normals = self._texture(material["normalTexture"], slice(0, 3), None, raw=True)
        if self._model == "gltf":
            bent = {"type": "gltf_normals", "nested": bsdf}
            if normals:
                bent |= {"normals": normals, "scale": material["normalTexture"].get("scale", 1.0)}
            return bent
        if normals:
            bsdf = {"type": "normalmap", "normalmap": normals, "bsdf": bsdf}
        return {"type": "twosided", "bsdf": bsdf}

    def _glossy(self, material: dict, surface: dict) -> dict:
        ior = material.get("extensions", {}).get("KHR_materials_ior", {}).get("ior", 1.5)
        metallic: Any = surface.get("metallicFactor", 1.0)
        roughness: Any = surface.get("roughnessFactor", 1.0)
        if "metallicRoughnessTexture" in surface:
            texture = surface["metallicRoughnessTexture"]
            metallic = self._texture(texture, slice(2, 3), metallic, raw=True)
            roughness = self._texture(texture, slice(1, 2), roughness, raw=True)
        if self._model == "gltf":
            return {
                "type": "gltf",
                "base_color": self._base_colour(surface),
                "metallic": texture_of(metallic),
                "roughness": texture_of(roughness),
                "ior": ior,
                **self._layers(material.get("extensions", {})),
            }
        if SOLID_EXTENSIONS & set(material.get("extensions", {})):
            raise Unsupported("a thin wall that is clear")
        return {
            "type": "principled",
            "base_color": self._base_colour(surface),
            "metallic": metallic,
            "roughness": roughness,
            "eta": max(ior, 1.001),
        }

    def _layers(self, extensions: dict) -> dict:
        """What extensions say of a material, as the BSDF of `gltf_bsdf.py` takes it."""

        def said(name: str) -> dict:
            return extensions.get(f"KHR_materials_{name}", {})

        textured = [
            key
            for name in extensions
            for key in extensions[name]
            if key.endswith("Texture") and key != "anisotropyTexture"
        ]
        if textured:
            raise Unsupported(f"textures of extensions: {', '.join(textured)}")
        specular, coat, sheen = said("specular"), said("clearcoat"), said("sheen")
        film, scattered = said("iridescence"), said("diffuse_transmission")
        along, strength = self._constant_direction(said("anisotropy"))
        return {
            "specular": specular.get("specularFactor", 1.0),
            "specular_color": colour(specular.get("specularColorFactor", [1.0] * 3)),
            "coat": coat.get("clearcoatFactor", 0.0),
            "coat_roughness": coat.get("clearcoatRoughnessFactor", 0.0),
            "sheen": colour(sheen.get("sheenColorFactor", [0.0] * 3)),
            "sheen_roughness": sheen.get("sheenRoughnessFactor", 0.0),
            "anisotropy": said("anisotropy").get("anisotropyStrength", 0.0) * strength,
            "anisotropy_turn": said("anisotropy").get("anisotropyRotation", 0.0) + along,
            "film": film.get("iridescenceFactor", 0.0),
            "film_ior": film.get("iridescenceIor", 1.3),
            "film_nm": film.get("iridescenceThicknessMaximum", 400.0),
            "through": said("transmission").get("transmissionFactor", 0.0),
            "scattered": scattered.get("diffuseTransmissionFactor", 0.0),
            "scattered_color": colour(scattered.get("diffuseTransmissionColorFactor", [1.0] * 3)),
        }

    def _constant_direction(self, anisotropy: dict) -> tuple[float, float]:
        """Angle and strength of a texture that is the same everywhere; none: 0 and 1."""
        if "anisotropyTexture" not in anisotropy:
            return 0.0, 1.0
        texels = decode(self._gltf.image(anisotropy["anisotropyTexture"])).reshape(-1, 3)
        if (texels != texels[0]).any():
            raise Unsupported("an anisotropy that changes from place to place")
        x, y = 2.0 * texels[0, :2] - 1.0
        return float(np.arctan2(y, x)), float(texels[0, 2])

    def _base_colour(self, surface: dict) -> dict:
        factor = surface.get("baseColorFactor", [1.0, 1.0, 1.0, 1.0])[:3]
        if "baseColorTexture" in surface:
            return self._texture(surface["baseColorTexture"], slice(0, 3), factor, raw=False)
        return rgb(factor)

    def _texture(self, texture: dict, channels: slice, factor: Any, raw: bool) -> dict:
        """Some channels of a texture times a factor, as linear floats."""
        if texture.get("texCoord", 0) != 0:
            raise Unsupported("a second set of texture coordinates")
        texels = decode(self._gltf.image(texture))
        if texels.ndim == 2 or texels.shape[2] < 3:
            raise Unsupported("grey images")
        if channels.stop > texels.shape[2]:
            texels = np.ones_like(texels[..., :1])
        else:
            texels = texels[..., channels]
        if not raw:
            low, high = texels / 12.92, ((texels + 0.055) / 1.055) ** 2.4
            texels = np.where(texels <= 0.04045, low, high)
        if factor is not None:
            texels = texels * np.asarray(factor, dtype=np.float32)
        return {
            "type": "bitmap",
            "bitmap": mitsuba.Bitmap(np.ascontiguousarray(texels, dtype=np.float32)),
            "raw": True,
            "to_uv": uv_transform(texture),
        }


def glass_of(material: dict) -> dict | None:
    """Mitsuba's own dielectric for a solid; none: the material is no solid."""
    extensions = material.get("extensions", {})
    clear = extensions.get("KHR_materials_transmission", {}).get("transmissionFactor", 0.0)
    if clear == 0.0 or extensions.get("KHR_materials_volume", {}).get("thicknessFactor", 0.0) == 0.0:
        return None
    if clear != 1.0:
        raise Unsupported("a solid that is clear in part")
    index = extensions.get("KHR_materials_ior", {}).get("ior", 1.5)
    alpha = material["pbrMetallicRoughness"].get("roughnessFactor", 1.0) ** 2
    if alpha == 0.0:
        return {"type": "dielectric", "int_ior": index, "ext_ior": 1.0}
    return {
        "type": "roughdielectric", "distribution": "ggx", "alpha": alpha, "int_ior": index, "ext_ior": 1.0,
    }  # fmt: skip


def medium_of(material: dict) -> dict | None:
    """What a solid absorbs, by Beer's law; nothing is scattered."""
    said = material.get("extensions", {}).get("KHR_materials_volume", {})
    distance = said.get("attenuationDistance", np.inf)
    coefficients = -np.log(np.maximum(said.get("attenuationColor", [1.0] * 3), 1e-6)) / distance
    if glass_of(material) is None or not coefficients.any():
        return None
    most = float(coefficients.max())
    extinction = {"sigma_t": rgb(coefficients / most), "scale": most}
    return {"type": "homogeneous", "albedo": rgb([0.0] * 3), **extinction}


def mesh_object(mesh: PlacedMesh, bsdf: Any, radiance: np.ndarray, medium: Any = None) -> Any:
    """The triangles as a Mitsuba mesh."""
    properties = mitsuba.Properties()
    properties["mesh_bsdf"] = bsdf
    if medium is not None:
        properties["interior"] = medium
    if radiance.any():
        emitter = mitsuba.load_dict({"type": "area", "radiance": rgb(radiance)})
        properties["mesh_emitter"] = emitter
    if mesh.normals is None:
        properties["face_normals"] = True
    shape = mitsuba.Mesh(
        mesh.name,
        vertex_count=len(mesh.positions),
        face_count=len(mesh.triangles),
        has_vertex_normals=mesh.normals is not None,
        has_vertex_texcoords=mesh.uvs is not None,
        props=properties,
    )
    parameters = mitsuba.traverse(shape)
    parameters["vertex_positions"] = mesh.positions.ravel()
    parameters["faces"] = mesh.triangles.ravel()
    if mesh.normals is not None:
        parameters["vertex_normals"] = mesh.normals.ravel()
    if mesh.uvs is not None:
        parameters["vertex_texcoords"] = mesh.uvs.ravel()
    parameters.update()
    return shape


def sensor(camera: Camera, request: Request) -> dict:
    """The camera; Mitsuba's looks along +Z with +X to the left."""
    from mitsuba import ScalarTransform4f as Transform

    return {
        "type": "perspective",
        "fov": float(np.degrees(camera.yfov)),
        "fov_axis": "y",
        "near_clip": 1e-3,
        "far_clip": 1e5,
        "to_world": Transform(camera.to_world @ np.diag([-1.0, 1.0, -1.0, 1.0])),
        "sampler": {"type": "independent", "sample_count": request.spp},
        "film": {
            "type": "hdrfilm",
            "width": request.width,
            "height": request.height,
            "pixel_format": "rgb",
            "component_format": "float32",
            "rfilter": {"type": "box"},
        },
    }


def punctual(light: PunctualLight) -> dict:
    """A light without extent, or a sphere."""
    if light.kind == "directional":
        direction = [float(x) for x in -light.to_world[:3, 2]]
        return {"type": "directional", "direction": direction, "irradiance": rgb(light.intensity)}
    position = [float(x) for x in light.to_world[:3, 3]]
    if light.radius > 0.0:
        radiance = rgb(light.intensity / (np.pi * light.radius**2))
        emitter = {"type": "area", "radiance": radiance}
        return {"type": "sphere", "center": position, "radius": light.radius, "emitter": emitter}
    return {"type": "point", "position": position, "intensity": rgb(light.intensity)}


def rows_at_centres(path: Path) -> Any:
    """An environment map of which Mitsuba's interpolation makes what others make.

    Mitsuba takes the first and the last row for the poles themselves, so that
    what lies between is stretched by a row: a sun in 128 rows is 0.8 % larger.
    With a row between each two, and the outermost twice, linear interpolation
    gives what it does with rows at their centres.
    """
    rows = np.array(mitsuba.Bitmap(str(path)), dtype=np.float32)[..., :3]
    padded = np.concatenate([rows[:1], rows, rows[-1:]])
    finer = np.empty((2 * len(rows) + 1, *rows.shape[1:]), dtype=np.float32)
    finer[1::2], finer[0::2] = rows, (padded[1:] + padded[:-1]) / 2.0
    return mitsuba.Bitmap(finer)


def sky(request: Request, model: str) -> dict | None:
    """The surroundings; the centre of Mitsuba's maps looks along +Z."""
    from mitsuba import ScalarTransform4f as Transform

    if request.environment:
        turn = Transform().rotate([0, 1, 0], 180)
        map = {"type": "envmap", "to_world": turn}
        if model == "gltf":
            return map | {"bitmap": rows_at_centres(request.environment)}
        return map | {"filename": str(request.environment)}
    if any(request.sky):
        return {"type": "constant", "radiance": rgb(request.sky)}
    return None


def load(request: Request, model: str) -> Any:
    """The scene of a request."""
    if request.moment:
        raise Unsupported("an animation")
    known = KNOWN_EXTENSIONS | SOLID_EXTENSIONS | (MATERIAL_EXTENSIONS if model == "gltf" else set())
    gltf = Gltf(request.scene, known=known)
    builder = Materials(gltf, model)
    materials = [*gltf.materials(), {}]
    bsdfs = [mitsuba.load_dict(builder.bsdf(material)) for material in materials]
    media = [medium and mitsuba.load_dict(medium) for medium in map(medium_of, materials)]
    integrator = "volpath" if any(media) else "path"
    camera = camera_of_view(request.view) if request.view else gltf.camera()
    parts: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": integrator, "max_depth": request.max_depth},
        "sensor": sensor(camera, request),
    }
    surroundings = sky(request, model)
    if surroundings:
        parts["sky"] = surroundings
    for index, light in enumerate(gltf.placed_lights()):
        parts[f"light_{index}"] = punctual(light)
    for index, mesh in enumerate(gltf.placed_meshes()):
        # No material is the last, which is glTF's default.
        number = len(materials) - 1 if mesh.material is None else mesh.material
        radiance = radiance_of(materials[number])
        if radiance.any() and model == "gltf":
            # Mitsuba takes the cosine at a lamp from its smooth normals, which
            # makes a ball of few triangles too dark.
            mesh = replace(mesh, normals=None)
        parts[f"mesh_{index}"] = mesh_object(mesh, bsdfs[number], radiance, media[number])
    return mitsuba.load_dict(parts)


def render(scene: Any, spp: int, seed: int) -> Any:
    """Renders up to the last synchronisation."""
    picture = mitsuba.render(scene, spp=spp, seed=seed)
    drjit.eval(picture)
    drjit.sync_thread()
    return picture


def render_in_parts(scene: Any, spp: int, seed: int) -> np.ndarray:
    """The mean of launches with as many samples as one may have."""
    parts = -(-spp // MOST_SPP_AT_ONCE)
    if spp % parts:
        raise ValueError(f"{spp} samples cannot be had in {parts} equal launches")
    pictures = (np.array(render(scene, spp // parts, seed + part)) for part in range(parts))
    return sum(picture.astype(np.float64) for picture in pictures) / parts


def main() -> None:
    answer = Answer()
    flags = parser(__doc__)
    flags.add_argument("--variant", required=True)
    flags.add_argument("--model", choices=MODELS, default="principled", help="of glossy materials")
    flags = flags.parse_args()
    request = request_of(flags)
    mitsuba.set_variant(flags.variant)
    drjit.set_thread_count(request.threads)
    if flags.model == "gltf":
        # Its base class is there only once a variant is chosen.
        from gltf_bsdf import GltfBsdf
        from gltf_normals import GltfNormals

        mitsuba.register_bsdf("gltf_normals", GltfNormals)
        mitsuba.register_bsdf("gltf", GltfBsdf)
    scene = load(request, flags.model)
    seconds = cpu = None
    if request.timed:
        if flags.variant.startswith("llvm"):
            render(scene, request.spp, request.seed + 1_000)
        began, cpu_before = time.perf_counter(), cpu_seconds()
        picture = render(scene, request.spp, request.seed)
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_before
    else:
        picture = render_in_parts(scene, request.spp, request.seed)
    np.save(request.picture, np.array(picture, dtype=np.float32))
    answer.give(
        seconds=seconds,
        cpu_seconds=cpu,
        samples=request.pixels * request.spp,
        seconds_reported=None,
        versions={"mitsuba": mitsuba.__version__, "drjit": drjit.__version__},
    )


if __name__ == "__main__":
    main()
