"""glTF's metallic-roughness material as a BSDF for Mitsuba, written from its sources.

The lobes are those of glTF 2.0, appendix B: GGX with height-correlated Smith
masking, Schlick's Fresnel term, and a Lambertian under the dielectric. Energy
is kept as ours means to keep it: what the dielectric's microfacets reflect is
taken from the diffuse lobe on the way in and out (Kelemen & Szirmay-Kalos 2001),
and the metal's lobe is scaled by what single scattering loses (Turquin 2019).
None of ours is used, no table and no line, so that a slip there shows here.
"""

import functools

import drjit
import mitsuba
import numpy as np

KNOTS = 48
LEAST_ALPHA = 1e-3


def smith_lambda(cosine: np.ndarray, alpha: float) -> np.ndarray:
    """Λ of Smith's masking for GGX (Heitz 2014, JCGT 3(2), equation 72)."""
    tangent_squared = np.maximum(1.0 - cosine**2, 0.0) / cosine**2
    return (np.sqrt(1.0 + alpha**2 * tangent_squared) - 1.0) / 2.0


def directional_albedo(cosine: float, roughness: float, edge: int = 96) -> tuple[float, float]:
    """Parts of light that F0 and F90 scale in what a white lobe reflects.

    A midpoint rule over microfacet normals weighted by D·cos, whose slope
    radius is α·√(u / (1 − u)); each has the weight
    F·G2·(o·h) / (cos o · cos h) (Walter et al. 2007, equation 41).
    """
    alpha = max(roughness**2, LEAST_ALPHA)
    u, turn = (np.arange(edge) + 0.5) / edge, 2.0 * np.pi * (np.arange(edge) + 0.5) / edge
    u, turn = (grid.ravel() for grid in np.meshgrid(u, turn))
    slope = alpha * np.sqrt(u / (1.0 - u))
    normal = np.stack([slope * np.cos(turn), slope * np.sin(turn), np.ones_like(u)])
    normal /= np.sqrt(1.0 + slope**2)
    out = np.array([np.sqrt(1.0 - cosine**2), 0.0, cosine])
    facing = out @ normal
    incoming = 2.0 * facing * normal - out[:, None]
    seen = (facing > 0.0) & (incoming[2] > 0.0)
    cosine_in = np.where(seen, incoming[2], 1.0)
    masking = 1.0 / (1.0 + smith_lambda(np.array(cosine), alpha) + smith_lambda(cosine_in, alpha))
    weight = np.where(seen, masking * facing / (cosine * normal[2]), 0.0)
    schlick = np.clip(1.0 - facing, 0.0, 1.0) ** 5
    return float((weight * (1.0 - schlick)).mean()), float((weight * schlick).mean())


@functools.cache
def albedo_table() -> tuple[np.ndarray, np.ndarray]:
    """Albedos by roughness and by √cosine, and their cosine-weighted averages."""
    grid = np.linspace(0.0, 1.0, KNOTS)
    table = np.array(
        [[directional_albedo(max(x, 0.02) ** 2, y) for x in grid] for y in grid], dtype=np.float64
    )
    # ∫ E·2μ dμ with μ = x²: the density of x is 4x³.
    average = np.trapz(table * 4.0 * grid[None, :, None] ** 3, grid, axis=1)
    return table, average


def lookup(table: mitsuba.Float, columns: int, x: mitsuba.Float, y: mitsuba.Float) -> mitsuba.Float:
    """Bilinear; x and y are in [0, 1], and a table of one column has no x."""
    y = drjit.clip(y, 0.0, 1.0) * (KNOTS - 1)
    row = drjit.minimum(mitsuba.UInt32(y), KNOTS - 2)
    if columns == 1:
        near, far = (drjit.gather(mitsuba.Float, table, row + step) for step in (0, 1))
        return drjit.lerp(near, far, y - row)
    x = drjit.clip(x, 0.0, 1.0) * (columns - 1)
    column = drjit.minimum(mitsuba.UInt32(x), columns - 2)
    place = row * columns + column
    corners = [drjit.gather(mitsuba.Float, table, place + step) for step in (0, 1, columns, columns + 1)]
    near, far = (drjit.lerp(*corners[at : at + 2], x - column) for at in (0, 2))
    return drjit.lerp(near, far, y - row)


class GltfBsdf(mitsuba.BSDF):
    """Takes `base_color`, `metallic` and `roughness` as textures, and `ior`."""

    def __init__(self, props: mitsuba.Properties) -> None:
        super().__init__(props)
        self._base_color = props.get_texture("base_color")
        self._metallic = props.get_texture("metallic")
        self._roughness = props.get_texture("roughness")
        ior = props.get("ior", 1.5)
        self._f0 = ((ior - 1.0) / (ior + 1.0)) ** 2
        table, average = albedo_table()
        self._albedo = [mitsuba.Float(table[..., part].ravel()) for part in (0, 1)]
        self._average = [mitsuba.Float(average[:, part].copy()) for part in (0, 1)]
        flags = mitsuba.BSDFFlags
        side = flags.FrontSide | flags.SpatiallyVarying
        self.m_components = [flags.GlossyReflection | side, flags.DiffuseReflection | side]
        self.m_flags = self.m_components[0] | self.m_components[1]

    def _inputs(self, si, active):
        color = self._base_color.eval(si, active)
        roughness = drjit.clip(self._roughness.eval_1(si, active), 0.0, 1.0)
        return color, self._metallic.eval_1(si, active), roughness

    def _distribution(self, roughness):
        alpha = drjit.maximum(drjit.square(roughness), LEAST_ALPHA)
        return mitsuba.MicrofacetDistribution(mitsuba.MicrofacetType.GGX, alpha)

    def _albedos(self, cosine, roughness):
        root = drjit.sqrt(drjit.clip(cosine, 0.0, 1.0))
        return [lookup(table, KNOTS, root, roughness) for table in self._albedo]

    def _dielectric(self, cosine, roughness):
        low, high = self._albedos(cosine, roughness)
        return self._f0 * low + high

    def _eval(self, si, wo, color, metallic, roughness):
        """Reflectance times cosine."""
        cos_o, cos_i = si.wi.z, wo.z
        distribution = self._distribution(roughness)
        half = drjit.normalize(si.wi + wo)
        tangent = [
            drjit.square(alpha) * (1.0 - drjit.square(c)) / drjit.square(c)
            for alpha in [drjit.maximum(drjit.square(roughness), LEAST_ALPHA)]
            for c in (cos_o, cos_i)
        ]
        lambdas = [(drjit.sqrt(1.0 + t) - 1.0) / 2.0 for t in tangent]
        masking = 1.0 / (1.0 + lambdas[0] + lambdas[1])
        specular = distribution.eval(half) * masking / (4.0 * cos_o)
        schlick = drjit.clip(1.0 - drjit.dot(si.wi, half), 0.0, 1.0) ** 5
        single = sum(self._albedos(cos_o, roughness))
        kept = 1.0 + color * (1.0 - single) / drjit.maximum(single, 1e-4)
        metal = (color + (1.0 - color) * schlick) * kept
        dielectric = self._f0 + (1.0 - self._f0) * schlick
        average = [lookup(table, 1, mitsuba.Float(0.0), roughness) for table in self._average]
        coupled = (
            (1.0 - self._dielectric(cos_o, roughness))
            * (1.0 - self._dielectric(cos_i, roughness))
            / (1.0 - (self._f0 * average[0] + average[1]))
        )
        diffuse = color * (coupled * cos_i * drjit.inv_pi)
        return metallic * metal * specular + (1.0 - metallic) * (dielectric * specular + diffuse)

    def _pdf(self, si, wo, roughness):
        distribution = self._distribution(roughness)
        half = drjit.normalize(si.wi + wo)
        glossy = distribution.pdf(si.wi, half) / (4.0 * drjit.dot(si.wi, half))
        return 0.5 * glossy + 0.5 * wo.z * drjit.inv_pi

    def sample(self, ctx, si, sample1, sample2, active):
        color, metallic, roughness = self._inputs(si, active)
        normal, _ = self._distribution(roughness).sample(si.wi, sample2)
        mirrored = mitsuba.reflect(si.wi, normal)
        scattered = mitsuba.warp.square_to_cosine_hemisphere(sample2)
        wo = drjit.select(sample1 < 0.5, mirrored, scattered)
        active = active & (si.wi.z > 0.0) & (wo.z > 0.0)
        sampled = drjit.zeros(mitsuba.BSDFSample3f)
        sampled.wo = wo
        sampled.eta = 1.0
        sampled.sampled_type = mitsuba.UInt32(+mitsuba.BSDFFlags.GlossyReflection)
        sampled.pdf = drjit.select(active, self._pdf(si, wo, roughness), 0.0)
        active = active & (sampled.pdf > 0.0)
        value = self._eval(si, wo, color, metallic, roughness) / sampled.pdf
        return sampled, drjit.select(active, value, 0.0)

    def eval(self, ctx, si, wo, active):
        active = active & (si.wi.z > 0.0) & (wo.z > 0.0)
        return drjit.select(active, self._eval(si, wo, *self._inputs(si, active)), 0.0)

    def pdf(self, ctx, si, wo, active):
        active = active & (si.wi.z > 0.0) & (wo.z > 0.0)
        return drjit.select(active, self._pdf(si, wo, self._inputs(si, active)[2]), 0.0)

    def eval_pdf(self, ctx, si, wo, active):
        return self.eval(ctx, si, wo, active), self.pdf(ctx, si, wo, active)

    def to_string(self) -> str:
        return "GltfBsdf[]"
