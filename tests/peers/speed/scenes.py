"""The scenes of the comparison, and where they come from."""

from dataclasses import dataclass
from pathlib import Path

import shared_modules  # noqa: F401
from make_field import write_field
from make_lamps import write_lamps
from pack_glb import pack
from places import OUT, ROOT


@dataclass(frozen=True)
class Scene:
    """One scene and how it is rendered."""

    name: str
    title: str
    file: Path
    width: int
    height: int
    spp: int
    max_depth: int
    sky: tuple[float, float, float] = (0.0, 0.0, 0.0)
    environment: Path | None = None
    reference_factor: int = 1
    """How many times as many samples as elsewhere a reference takes."""


def field() -> Scene:
    """Triangles and nothing else."""
    file = OUT / "scenes" / "field.glb"
    write_field(file)
    return Scene("field", "a million diffuse triangles, white sky", file, 512, 512, 64, 4, (1.0,) * 3)


def room() -> Scene:
    """Many bounces, one lamp, hardly a triangle."""
    file = ROOT / "scenes" / "cornell-box.glb"
    return Scene("room", "a closed room with one lamp", file, 256, 256, 64, 8)


def vase() -> Scene:
    """Textures and normal maps under a sky with a sun."""
    file, sky = ROOT / "scenes" / "textured-object.glb", ROOT / "scenes" / "sky.hdr"
    return Scene("vase", "a textured vase under a sky", file, 256, 256, 64, 8, environment=sky)


def lamps() -> Scene:
    """Ten thousand lamps, of which a few light each place."""
    file = OUT / "scenes" / "lamps.glb"
    write_lamps(file)
    title = "ten thousand lamps over a plain"
    return Scene("lamps", title, file, 256, 256, 64, 4, reference_factor=8)


def glass() -> Scene:
    """Caustics of three balls of coloured glass."""
    file = ROOT / "scenes" / "extensions" / "volume.glb"
    return Scene("glass", "coloured glass in a room", file, 320, 180, 64, 16)


def helmet(model: Path) -> Scene:
    """The same, with all channels of a production model."""
    file, sky = OUT / "scenes" / "helmet.glb", ROOT / "scenes" / "sky.hdr"
    pack(model, file)
    return Scene("helmet", "a textured helmet under a sky", file, 512, 512, 64, 8, environment=sky)


def scenes(helmet_model: Path | None) -> list[Scene]:
    """All scenes that can be had here."""
    found = [field(), vase(), room(), lamps(), glass()]
    return found if helmet_model is None else [*found, helmet(helmet_model)]
