"""Pictures side by side, small enough to keep beside the page that shows them."""

from pathlib import Path

import numpy as np
from PIL import Image

from judge import Estimate

WIDTH = 160
"""Pixels that one picture of a strip has at most; none is enlarged."""
GAP = 4
FULL_RED = 0.2
"""Relative difference at which the difference picture is all red, or all blue."""


def write_strip(path: Path, ours: Estimate, references: list[Estimate]) -> None:
    """Ours, the references, and how much brighter ours is than the first of them."""
    exposure = 0.8 / max(float(np.percentile(ours.picture.max(axis=-1), 95.0)), 1e-6)
    shown = [display(each.picture * exposure) for each in (ours, *references)]
    if references:
        shown.append(difference(ours.picture, references[0].picture))
    gap = np.ones((shown[0].shape[0], GAP, 3))
    parts = [part for picture in shown for part in (gap, picture)][1:]
    image = Image.fromarray((np.concatenate(parts, axis=1) * 255.0 + 0.5).astype(np.uint8))
    single = ours.picture.shape[1]
    if single > WIDTH:
        height = round(image.height * WIDTH / single)
        image = image.resize((round(image.width * WIDTH / single), height), Image.Resampling.BOX)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette, as noise hardly compresses and takes a third of the space so.
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def display(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve (IEC 61966-2-1), cut at white."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def difference(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Red where ours is brighter, blue where it is darker, white where they agree."""
    floor = 0.05 * reference.mean()
    share = (ours - reference).mean(axis=-1) / np.maximum(reference.mean(axis=-1), floor)
    share = np.clip(share / FULL_RED, -1.0, 1.0)
    red, blue = 1.0 + np.minimum(share, 0.0), 1.0 - np.maximum(share, 0.0)
    return np.stack([red, np.minimum(red, blue), blue], axis=-1)
