"""The Fresnel term of a thin film, after the text of `KHR_materials_iridescence`.

It is Belcour & Barla 2017, "A Practical Extension to Microfacet Theory for the
Modeling of Varying Iridescence", with two orders of interference and Schlick's term
for both interfaces. Ours takes it at the angle to the shading normal and lays
Schlick's curve through it, and so does this.
"""

import drjit
import mitsuba
import numpy as np

# Gaussians of the observer's sensitivities: value, place, variance; the last is X's second bell.
BELLS = (
    (5.4856e-13, 1.6810e06, 4.3278e09),
    (4.4201e-13, 1.7953e06, 9.3046e09),
    (5.2481e-13, 2.2084e06, 6.6121e09),
)
SECOND_BELL = (9.7470e-14, 2.2399e06, 4.5282e09)
XYZ_TO_RGB = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)


def fresnel_to_ior(f0):
    root = drjit.sqrt(drjit.clip(f0, 0.0, 0.9999))
    return (1.0 + root) / (1.0 - root)


def normal_reflectance(inside, outside):
    return drjit.square((inside - outside) / (inside + outside))


def schlick(f0, cosine):
    return f0 + (1.0 - f0) * drjit.clip(1.0 - cosine, 0.0, 1.0) ** 5


def sensitivity(path, shift):
    """What an observer sees of a wave of a path difference (metres) and a phase shift, each in RGB."""
    phase = 2.0 * np.pi * path

    def bell(value, place, variance, shift):
        width = float(np.sqrt(2.0 * np.pi * variance))
        return value * width * drjit.cos(place * phase + shift) * drjit.exp(-variance * drjit.square(phase))

    xyz = [bell(*each, shift[channel]) for channel, each in enumerate(BELLS)]
    xyz[0] += bell(*SECOND_BELL, shift[0])
    rows = [sum(weight * part for weight, part in zip(row, xyz, strict=True)) for row in XYZ_TO_RGB]
    return mitsuba.Color3f(*rows) / 1.0685e-7


def film_fresnel(f0, cosine, film, thickness_nm):
    """Reflectance of a film of an index on what reflects f0 without it."""
    inner_square = 1.0 - (1.0 - drjit.square(cosine)) / film**2
    inner_cosine = drjit.sqrt(drjit.maximum(inner_square, 0.0))
    outer = schlick(((film - 1.0) / (film + 1.0)) ** 2, cosine)
    base = fresnel_to_ior(f0)
    inner = schlick(normal_reflectance(base, film), inner_cosine)
    # Half a turn where light meets a higher index: inside, that is where the film's is lower.
    outer_shift = np.pi if film >= 1.0 else 0.0
    shift = drjit.select(base < film, mitsuba.Color3f(np.pi), mitsuba.Color3f(0.0)) + outer_shift
    path = 2.0 * film * thickness_nm * 1e-9 * inner_cosine
    product = drjit.clip(inner * outer, 1e-5, 0.9999)
    through = 1.0 - outer
    single = drjit.square(through) * inner / (1.0 - product)
    found, wave = outer + single, single - through
    for order in (1, 2):
        wave = wave * drjit.sqrt(product)
        found += wave * 2.0 * sensitivity(order * path, order * shift)
    found = drjit.maximum(found, 0.0)
    return drjit.select(inner_square < 0.0, mitsuba.Color3f(1.0), found)


def film_f0(f0, cosine, film, thickness_nm):
    """The reflectance at normal incidence of Schlick's curve through the film's at an angle."""
    fifth = drjit.minimum(drjit.clip(1.0 - cosine, 0.0, 1.0) ** 5, 0.9999)
    reflected = film_fresnel(f0, cosine, film, thickness_nm)
    return drjit.clip((reflected - fifth) / (1.0 - fifth), 0.0, 1.0)
