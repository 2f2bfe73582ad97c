"""Whether two renderers' pictures agree, when each has noise.

Of each renderer there are two renders with different seeds. Half their sum is
its picture, half their difference has that picture's noise and nothing else:
the same distribution, and no trace of what the picture shows. This holds for
stratified samplers too, whose samples within one render are not independent
and would give a wrong variance; it is why two renders are made, and not one
with its samples' variance.

Three judgements are passed, all on linear RGB:

pixels  A test of each pixel and channel for equal means, as Mitsuba 3's
        `test_renders.py` does it.
means   Of the whole picture, for each channel.
blocks  Of 16×16 pixels: finds what is too small for the mean, and far too weak
        for single pixels.

Where the two are equal and neither has any noise both see the plain sky, or a
lamp itself, and nothing is there to judge: such pixels are left out, or a small
model before a wide sky would hide what is wrong with it.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

ALPHA = 0.01
"""Chance that as much as one value fails, were both pictures of one mean."""
WINDOW = 5
"""Edge, in pixels, of the square over which a variance is averaged."""
ROUNDING = 0.002
"""Deviation, relative to the reference, that counts as noise everywhere: texels
of 8 bits, environment maps of 8 bits a channel, and single precision."""
BLOCK = 16
DARKEST = 0.05
"""Blocks darker than this part of the channel's mean count as that bright."""


@dataclass(frozen=True)
class Limits:
    """How far ours may be off."""

    pixels_passing: float = 0.9975
    mean_within: float = 0.01
    blocks_within: float = 0.03


@dataclass(frozen=True)
class Judgement:
    """What was found; ratios are ours over the reference."""

    mean_ratios: tuple[float, ...]
    mean_ratio_errors: tuple[float, ...]
    """Standard errors of the ratios."""
    pixels_passing: float
    block_error: float
    """95th percentile of the blocks' relative errors, noise taken out."""
    block_noise: float
    """The same percentile of what noise alone would give."""
    worst_block: float
    """Largest relative error of a block's mean over channels, noise and all."""
    worst_block_at: tuple[int, int]
    """Column and row of that block's first pixel."""

    def within(self, limits: Limits) -> bool:
        """Whether all three judgements are passed.

        Two standard errors of a mean are forgiven: a channel that is black but
        for its outlines has a mean of noise.
        """
        means = zip(self.mean_ratios, self.mean_ratio_errors, strict=True)
        return (
            self.pixels_passing >= limits.pixels_passing
            and all(abs(ratio - 1.0) <= limits.mean_within + 2.0 * error for ratio, error in means)
            and self.block_error <= limits.blocks_within
        )


@dataclass(frozen=True)
class Estimate:
    """A renderer's picture and the half difference of its two renders."""

    picture: np.ndarray
    noise: np.ndarray

    @staticmethod
    def of(first: np.ndarray, second: np.ndarray) -> "Estimate":
        first, second = first.astype(np.float64), second.astype(np.float64)
        return Estimate((first + second) / 2, (first - second) / 2)


def judge(ours: Estimate, reference: Estimate) -> Judgement:
    """Compares two renderers' pictures of one shape, height × width × channels."""
    block_error, block_noise = block_errors(ours, reference)
    worst, at = worst_block(ours, reference)
    ratios, errors = mean_ratios(ours, reference)
    return Judgement(
        mean_ratios=ratios,
        mean_ratio_errors=errors,
        pixels_passing=share_of_pixels_passing(ours, reference),
        block_error=block_error,
        block_noise=block_noise,
        worst_block=worst,
        worst_block_at=at,
    )


def share_of_pixels_passing(ours: Estimate, reference: Estimate) -> float:
    """The part of the pixels whose channels all pass at Šidák's level.

    With n values under test, each is at 1 − (1 − α)^(1/n), so that all pass
    with probability 1 − α or more where the pictures agree.
    """
    deviates = equal_mean_deviates(ours, reference)[judged_pixels(ours, reference)]
    alpha = -math.expm1(math.log1p(-ALPHA) / deviates.size)
    limit = NormalDist().inv_cdf(1.0 - alpha / 2.0)
    return float((deviates <= limit).all(axis=-1).mean())


def judged_pixels(ours: Estimate, reference: Estimate) -> np.ndarray:
    """Which pixels are judged; all of them where that would be none."""
    has_noise = (ours.noise != 0.0) | (reference.noise != 0.0)
    differs = np.abs(ours.picture - reference.picture) > ROUNDING * np.abs(reference.picture)
    found = (has_noise | differs).any(axis=-1)
    return found if found.any() else np.ones_like(found)


def equal_mean_deviates(ours: Estimate, reference: Estimate) -> np.ndarray:
    """How unlikely each difference is, as the normal deviate of that probability.

    Welch's t: a square of noise alone has one degree of freedom, so variances
    are averages over a window, with the degrees that the squares' own spread
    leaves them; Wallace (1959, Annals of Mathematical Statistics 30(4)) makes a
    normal deviate of t to within 0.02.
    """
    of_ours, degrees_of_ours = smooth_variance(ours.noise)
    of_reference, degrees_of_reference = smooth_variance(reference.noise)
    rounding = ROUNDING * np.maximum(np.abs(reference.picture), np.abs(ours.picture)) + 1e-7
    variance = of_ours + of_reference + rounding**2
    # Rounding is known and not estimated: it adds variance, and no doubt about it.
    squares = of_ours**2 / degrees_of_ours + of_reference**2 / degrees_of_reference
    degrees = np.clip(variance**2 / np.maximum(squares, 1e-300), 3.0, 1e6)
    t_squared = (ours.picture - reference.picture) ** 2 / variance
    scale = (8.0 * degrees + 1.0) / (8.0 * degrees + 3.0)
    return scale * np.sqrt(degrees * np.log1p(t_squared / degrees))


def smooth_variance(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variance around each pixel, and its degrees of freedom.

    Where a pixel's own square is above its window's average it counts instead:
    an outline one pixel wide is noisier than what surrounds it. A pixel's noise
    says nothing about its picture, being independent of it, so this only makes
    the test milder. The degrees are Satterthwaite's, (Σv)² / Σv², with the
    squares for the variances v, the mean of whose square is 3v²: one bright
    speckle in a window leaves three and not twenty-five.
    """
    squares = noise**2
    average, average_square = window_mean(squares), window_mean(squares**2)
    count = WINDOW**2
    degrees = np.full_like(squares, float(count))
    np.divide(3.0 * count * average**2, average_square, out=degrees, where=average_square > 0.0)
    return np.maximum(average, squares), np.clip(degrees, 3.0, count)


def window_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the square window around each pixel, mirrored at the edges."""
    reach = WINDOW // 2
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW), axis=(0, 1))
    return windows.mean(axis=(-2, -1))


def mean_ratios(
    ours: Estimate, reference: Estimate
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Ours over the reference for each channel, and the ratios' standard errors."""
    judged = judged_pixels(ours, reference)
    means, reference_means = (
        np.maximum(estimate.picture[judged].mean(axis=0), 1e-9) for estimate in (ours, reference)
    )
    ratios = means / reference_means
    relative = sum(
        (estimate.noise[judged] ** 2).sum(axis=0) / (mean * judged.sum()) ** 2
        for estimate, mean in ((ours, means), (reference, reference_means))
    )
    return tuple(map(float, ratios)), tuple(map(float, ratios * np.sqrt(relative)))


def block_means(values: np.ndarray) -> np.ndarray:
    """The mean of each block; what is left at the right and bottom is left out."""
    rows, columns = (edge // BLOCK for edge in values.shape[:2])
    if not rows or not columns:
        raise ValueError(f"a picture needs {BLOCK} pixels each way")
    kept = values[: rows * BLOCK, : columns * BLOCK]
    return kept.reshape(rows, BLOCK, columns, BLOCK, -1).mean(axis=(1, 3))


def judged_blocks(ours: Estimate, reference: Estimate) -> np.ndarray:
    """Which blocks have a pixel to judge; all where the whole picture has it in no block."""
    share = block_means(judged_pixels(ours, reference)[..., None].astype(np.float64))[..., 0]
    return share > 0.0 if share.any() else np.ones_like(share, dtype=bool)


def brightness(ours: Estimate, reference: Estimate) -> np.ndarray:
    """What each block's error is relative to."""
    floor = DARKEST * reference.picture[judged_pixels(ours, reference)].mean(axis=0)
    return np.maximum(block_means(reference.picture), np.maximum(floor, 1e-9))


def block_errors(ours: Estimate, reference: Estimate) -> tuple[float, float]:
    """The 95th percentile of the blocks' relative errors beyond noise, and of noise.

    Were the means equal, the difference of the pictures would be distributed as
    the sum of the two noises, and as their difference; both are at hand. So
    noise is measured with both renderers' share in it (the reference's two
    renders alone would leave ours out), and taken out in squares.
    """
    judged, scale = judged_blocks(ours, reference), brightness(ours, reference)
    of_ours, of_reference = block_means(ours.noise), block_means(reference.noise)
    errors = np.abs(block_means(ours.picture - reference.picture)) / scale
    noises = np.abs(np.stack([of_ours + of_reference, of_ours - of_reference])) / scale
    error = float(np.percentile(errors[judged], 95.0))
    noise = float(np.percentile(noises[:, judged], 95.0))
    return math.sqrt(max(error**2 - noise**2, 0.0)), noise


def worst_block(ours: Estimate, reference: Estimate) -> tuple[float, tuple[int, int]]:
    """The largest relative error of a block over all channels, and where it is."""
    difference = block_means(ours.picture - reference.picture).mean(axis=-1)
    errors = difference / brightness(ours, reference).mean(axis=-1)
    row, column = np.unravel_index(np.argmax(np.abs(errors)), errors.shape)
    return float(errors[row, column]), (int(column) * BLOCK, int(row) * BLOCK)
