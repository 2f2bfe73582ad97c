"""How far a picture is from the truth, when the truth is a longer render."""

import numpy as np

# Pixels darker than a tenth of the mean count as if they were that bright.
DARK_SQUARED = 0.1**2
# The largest errors, left out: a few fireflies would be all of the sum.
LEFT_OUT = 0.001


def relative_mse(picture: np.ndarray, reference: np.ndarray, spp: int, reference_spp: int) -> float:
    """Mean squared error relative to the reference's square.

    Picture and reference are independent, of one renderer. The reference's own
    noise is in the difference; it is taken out as if variances fell with the
    sample counts.
    """
    picture, reference = picture.astype(np.float64), reference.astype(np.float64)
    floor = DARK_SQUARED * reference.mean() ** 2
    errors = ((picture - reference) ** 2 / (reference**2 + floor)).mean(axis=-1)
    kept = np.sort(errors, axis=None)[: round(errors.size * (1.0 - LEFT_OUT))]
    return float(kept.mean() * reference_spp / (reference_spp + spp))
