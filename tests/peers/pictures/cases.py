"""What is compared: scenes, how they are lit, and what is known to differ."""

import copy
import itertools
import json
import math
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from gltf import Gltf
from judge import Limits
from make_models import write_models
from pack_glb import camera_matrix, place_camera, write_packed
from places import OUT, ROOT
from request import Moment, View

TABLE = Path(__file__).with_name("cases.toml")
# Models that others made, under the folder that `--assets` names.
ASSETS = [
    "BoxTextured.glb",
    "BoxVertexColors.glb",
    "CesiumMilkTruck.glb",
    "FlightHelmet/FlightHelmet.gltf",
    "Fox.glb",
    "RiggedSimple.glb",
    "AnimatedMorphCube.glb",
]
# As the file has them, and all made Lambertian, which leaves only light's way,
# geometry, textures and normal maps to differ: there nothing may.
AS_THEY_ARE, LAMBERTIAN = "as they are", "Lambertian"
MATERIALS = (AS_THEY_ARE, LAMBERTIAN)
SIZE, SPP = (160, 160), 128
# Extensions of materials that a Lambertian keeps.
KEPT = {
    "KHR_materials_diffuse_transmission",
    "KHR_materials_emissive_strength",
    "KHR_materials_unlit",
}


@dataclass(frozen=True)
class Intent:
    """Why ours differs from a renderer on purpose, and how far it may."""

    reasons: tuple[str, ...]
    """Their names in the table."""
    limits: Limits


@dataclass(frozen=True)
class Case:
    """One scene with one kind of materials."""

    name: str
    materials: str
    model: Path
    sky: tuple[float, float, float]
    environment: Path | None
    view: View | None
    """The camera that ours makes for a file without one."""
    size: tuple[int, int] = SIZE
    spp: int = SPP
    moment: Moment | None = None
    """None: the scene at rest."""
    flat: bool = False
    """Whether the file's normals are left out, so that triangles have their own."""
    camera: np.ndarray | None = None
    """The matrix of one that is added to the file."""
    intents: dict[str, Intent] = field(default_factory=dict)
    """By the renderer's name in lower case."""

    def title(self) -> str:
        return f"{self.name}, materials {self.materials}"

    def slug(self) -> str:
        """The case's name in file names."""
        name = self.name.replace("/", "-").replace("@", "-")
        return name if self.materials == AS_THEY_ARE else f"{name}-lambertian"

    def file(self, folder: Path) -> Path:
        """The file to render; one that is changed is written to the folder."""
        if self.materials == AS_THEY_ARE and not self.flat and self.camera is None:
            return self.model
        gltf = Gltf(self.model, any_extension=True)
        content = copy.deepcopy(gltf.json)
        if self.moment is None:
            content.pop("animations", None)
        if self.materials == LAMBERTIAN:
            make_all_lambertian(content)
        if self.flat:
            drop_normals(content)
        if self.camera is not None:
            place_camera(content, self.camera)
        packed = folder / f"{self.slug()}.glb"
        write_packed(gltf, content, packed)
        return packed


def default_models(assets: Path | None) -> list[Path]:
    """Our scenes, what is made for this, and the named models of a folder of others'."""
    scenes = ROOT / "scenes"
    found = [*sorted(scenes.glob("*.glb")), *sorted((scenes / "extensions").glob("*.glb"))]
    found += write_models(OUT / "models")
    return found + [assets / name for name in ASSETS] if assets else found


def cases_of(
    model: Path,
    kinds: tuple[str, ...],
    farm: Path,
    sky: tuple[float, float, float] | None,
    environment: Path | None,
    size: tuple[int, int] | None,
    spp: int | None,
) -> list[Case]:
    """The cases of a file: lit as is asked, else by the table, else as ours lights it."""
    name = name_of(model)
    entry = tomllib.loads(TABLE.read_text()).get(name, {})
    inspected = inspect(farm, model)
    if sky is None and environment is None and "environment" in entry:
        environment = ROOT / entry["environment"]
    if sky is None and environment is None:
        sky = tuple(inspected["environment"]["radiance"])
    camera = camera_from(entry["from"], inspected) if "from" in entry else None
    has_camera = camera is not None or Gltf(model, any_extension=True).has_camera()
    view = None if has_camera else automatic_view(inspected)
    return [
        Case(
            name=name + shown,
            materials=kind,
            model=model,
            sky=sky or (0.0, 0.0, 0.0),
            environment=environment,
            view=view,
            size=size or tuple(entry.get("size", SIZE)),
            spp=spp or entry.get("spp", SPP),
            moment=moment,
            flat=flat,
            camera=camera,
            intents={peer: intent_of(intent) for peer, intent in entry.get(key_of(kind), {}).items()},
        )
        for shown, moment, flat in moments_of(entry)
        for kind in kinds
        if kind in entry.get("materials", MATERIALS)
    ]


def name_of(model: Path) -> str:
    """A scene of ours by its path under scenes/, another by its file's name alone."""
    named = model.with_suffix("")
    scenes = ROOT / "scenes"
    return named.relative_to(scenes).as_posix() if named.is_relative_to(scenes) else named.name


def key_of(materials: str) -> str:
    """Kinds of materials as the table spells them."""
    return "as-they-are" if materials == AS_THEY_ARE else "lambertian"


def moments_of(entry: dict) -> list[tuple[str, Moment | None, bool]]:
    """What is shown of a file's animations: a word for the name, the moment, whether flat.

    At rest where the table has nothing.
    """
    found = []
    for shown in entry.get("moments", []):
        flat = shown.get("flat", False)
        for frame in shown["frames"]:
            word = f"@{shown['animation']}-{frame}{'-flat' * flat}"
            found.append((word, Moment(shown["animation"], frame, float(shown["fps"])), flat))
    return [("", None, False), *found] if entry.get("at-rest", not found) else found


def intent_of(entry: dict) -> Intent:
    """An entry of the table; what it does not widen stays as strict as elsewhere."""
    limits = {name: value for name, value in entry.items() if name != "reasons"}
    return Intent(tuple(entry["reasons"]), Limits(**limits))


def known_reasons() -> dict[str, str]:
    """The sentences behind the names of reasons."""
    reasons = tomllib.loads(TABLE.read_text())["reasons"]
    return {name: " ".join(text.split()) for name, text in reasons.items()}


def inspect(farm: Path, model: Path) -> dict:
    """What ours says of a file."""
    command = [str(farm), "inspect", str(model), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def automatic_view(inspected: dict) -> View:
    """The camera that ours makes: it looks at the middle of the scene's bounds."""
    camera, bounds = inspected["cameras"][0], inspected["bounds"]
    middle = tuple((low + high) / 2 for low, high in zip(bounds["low"], bounds["high"], strict=True))
    return View(tuple(camera["position"]), middle, math.radians(camera["vertical_fov"]))


def make_all_lambertian(content: dict) -> None:
    """Makes all materials diffuse and nothing else.

    glTF has no such material; a dielectric with an index of refraction of 1
    reflects nothing at its surface and comes to the same.
    """
    materials = content.setdefault("materials", [])
    for mesh in content.get("meshes", []):
        for primitive in mesh["primitives"]:
            if "material" not in primitive:
                primitive["material"] = len(materials)
                materials.append({})
    for material in materials:
        make_lambertian(material)
    used = set(content.get("extensionsUsed", [])) | {"KHR_materials_ior"}
    dropped = {name for name in used if name.startswith("KHR_materials_")} - KEPT
    content["extensionsUsed"] = sorted(used - dropped | {"KHR_materials_ior"})


def drop_normals(content: dict) -> None:
    """Takes normals, and tangents with them, from all meshes and their morph targets."""
    for mesh in content["meshes"]:
        for primitive in mesh["primitives"]:
            for attributes in (primitive["attributes"], *primitive.get("targets", [])):
                for name in ("NORMAL", "TANGENT"):
                    attributes.pop(name, None)


def camera_from(direction: list[float], inspected: dict) -> np.ndarray:
    """A camera in a direction from the middle of the scene's bounds, with a tenth to spare around them."""
    bounds = np.array([inspected["bounds"]["low"], inspected["bounds"]["high"]])
    middle = bounds.mean(axis=0)
    corners = np.array(list(itertools.product(*bounds.T)))
    return camera_matrix(middle + 1.1 * (corners - middle), np.array(direction))


def make_lambertian(material: dict) -> None:
    """Changes one material of a file."""
    surface = material.setdefault("pbrMetallicRoughness", {})
    surface["metallicFactor"] = 0.0
    surface.pop("metallicRoughnessTexture", None)
    extensions = material.get("extensions", {})
    kept = {name: value for name, value in extensions.items() if name in KEPT}
    material["extensions"] = kept | {"KHR_materials_ior": {"ior": 1.0}}
