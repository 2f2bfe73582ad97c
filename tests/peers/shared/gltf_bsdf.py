"""glTF's material as a BSDF for Mitsuba, written from its sources.

The lobes are those of glTF 2.0, appendix B: GGX with height-correlated Smith
masking, Schlick's Fresnel term, and a Lambertian under the dielectric. Energy
is kept as ours means to keep it (docs/materials.md): what the dielectric's
microfacets reflect is taken from the diffuse lobe on the way in and out (Kelemen &
Szirmay-Kalos 2001), and the metal's lobe is scaled by what single scattering loses
(Turquin 2019). Of the extensions there are those that need no solid: the index,
specular, clearcoat, sheen, anisotropy, iridescence, diffuse transmission, and
transmission through thin walls; what they leave of one another is as ours has it.
None of ours is used, no table and no line, so that a slip there shows here.
"""

import functools

import drjit
import mitsuba
import numpy as np

from gltf_film import film_f0

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


def charlie_lambda(cosine: np.ndarray, alpha: float) -> np.ndarray:
    """Λ of the sheen's masking, the fit in the text of `KHR_materials_sheen`."""
    rough, smooth = np.array(
        [
            [21.5473, 3.82987, 0.19823, -1.97760, -4.32054],
            [25.3245, 3.32435, 0.16801, -1.27393, -4.85967],
        ]
    )
    a, b, c, d, e = (float(part) for part in rough + (smooth - rough) * (1.0 - alpha) ** 2)

    def fit(x):
        return a / (1.0 + b * x**c) + d * x + e

    if isinstance(cosine, np.ndarray):
        exponent = np.where(cosine < 0.5, fit(cosine), 2.0 * fit(0.5) - fit(1.0 - cosine))
        return np.exp(exponent)
    far = 2.0 * fit(0.5) - fit(drjit.maximum(1.0 - cosine, 0.0))
    return drjit.exp(drjit.select(cosine < 0.5, fit(drjit.maximum(cosine, 0.0)), far))


def sheen_albedo(cosine: float, roughness: float, edge: int = 96) -> float:
    """What a white sheen reflects: a midpoint rule over directions of light."""
    alpha = max(roughness**2, LEAST_ALPHA)
    height, turn = (np.arange(edge) + 0.5) / edge, np.pi * (np.arange(edge) + 0.5) / edge
    height, turn = (grid.ravel() for grid in np.meshgrid(height, turn))
    radius = np.sqrt(1.0 - height**2)
    incoming = np.stack([radius * np.cos(turn), radius * np.sin(turn), height])
    half = incoming + np.array([[np.sqrt(1.0 - cosine**2)], [0.0], [cosine]])
    half /= np.linalg.norm(half, axis=0)
    sine = np.sqrt(np.clip(1.0 - half[2] ** 2, 0.0, 1.0))
    density = (2.0 + 1.0 / alpha) * sine ** (1.0 / alpha) / (2.0 * np.pi)
    masking = 1.0 + charlie_lambda(np.array(cosine), alpha) + charlie_lambda(height, alpha)
    return float((density / (4.0 * cosine * masking)).mean() * 2.0 * np.pi)


@functools.cache
def sheen_table(roughness: float) -> np.ndarray:
    """Albedos of the sheen by √cosine."""
    return np.array([sheen_albedo(max(x, 0.02) ** 2, roughness) for x in np.linspace(0.0, 1.0, KNOTS)])


def schlick(f0, f90, cosine):
    """Schlick's term."""
    return f0 + (f90 - f0) * drjit.clip(1.0 - cosine, 0.0, 1.0) ** 5


class Lobe:
    """GGX of two widths, before any Fresnel term."""

    def __init__(self, roughness, anisotropy: float = 0.0) -> None:
        across = drjit.maximum(drjit.square(roughness), LEAST_ALPHA)
        along = across + (1.0 - across) * anisotropy**2
        self._alphas = along, across
        self._distribution = mitsuba.MicrofacetDistribution(mitsuba.MicrofacetType.GGX, along, across)
        # Two directions stand for all where albedos are looked up: an eighth and
        # three eighths of the half turn, at which the double angle's cosines cancel.
        share = np.cos(np.pi / 8) ** 2
        if anisotropy:
            squares = along**2, across**2
            self.roughnesses = [
                drjit.sqrt(drjit.sqrt(squares[0] * part + squares[1] * (1.0 - part)))
                for part in (float(share), float(1.0 - share))
            ]
        else:
            self.roughnesses = [roughness]

    def _lambda(self, direction):
        along, across = self._alphas
        slope = drjit.square(along * direction.x) + drjit.square(across * direction.y)
        return (drjit.sqrt(1.0 + slope / drjit.square(direction.z)) - 1.0) / 2.0

    def sample(self, outgoing, sample):
        """A direction of light above, by visible normals."""
        normal, _ = self._distribution.sample(outgoing, sample)
        return mitsuba.reflect(outgoing, normal)

    def value(self, outgoing, incoming):
        """Reflectance times cosine of what reflects everything."""
        half = drjit.normalize(outgoing + incoming)
        masking = 1.0 / (1.0 + self._lambda(outgoing) + self._lambda(incoming))
        return self._distribution.eval(half) * masking / (4.0 * outgoing.z)

    def pdf(self, outgoing, incoming):
        half = drjit.normalize(outgoing + incoming)
        return self._distribution.pdf(outgoing, half) / (4.0 * drjit.dot(outgoing, half))


class GltfBsdf(mitsuba.BSDF):
    """Takes `base_color`, `metallic` and `roughness` as textures, the rest as numbers."""

    def __init__(self, props: mitsuba.Properties) -> None:
        super().__init__(props)
        self._base_color = props.get_texture("base_color")
        self._metallic = props.get_texture("metallic")
        self._roughness = props.get_texture("roughness")
        ior = props.get("ior", 1.5)
        tint = mitsuba.ScalarColor3f(props.get("specular_color", mitsuba.ScalarColor3f(1.0)))
        self._f90 = props.get("specular", 1.0)
        self._f0 = [min(((ior - 1.0) / (ior + 1.0)) ** 2 * part, 1.0) * self._f90 for part in tint]
        self._coat, self._coat_roughness = props.get("coat", 0.0), props.get("coat_roughness", 0.0)
        self._sheen = list(props.get("sheen", mitsuba.ScalarColor3f(0.0)))
        self._sheen_roughness = props.get("sheen_roughness", 0.0)
        self._anisotropy, self._turn = props.get("anisotropy", 0.0), props.get("anisotropy_turn", 0.0)
        self._film = props.get("film", 0.0)
        self._film_ior, self._film_nm = props.get("film_ior", 1.3), props.get("film_nm", 400.0)
        self._through = props.get("through", 0.0)
        self._scattered = props.get("scattered", 0.0)
        self._scattered_color = list(props.get("scattered_color", mitsuba.ScalarColor3f(1.0)))
        table, average = albedo_table()
        self._albedo = [mitsuba.Float(table[..., part].ravel()) for part in (0, 1)]
        self._average = [mitsuba.Float(average[:, part].copy()) for part in (0, 1)]
        if any(self._sheen):
            self._sheen_albedo = mitsuba.Float(sheen_table(self._sheen_roughness))
        flags = mitsuba.BSDFFlags
        side = flags.FrontSide | flags.SpatiallyVarying
        self.m_components = [flags.GlossyReflection | side, flags.DiffuseReflection | side]
        self.m_flags = self.m_components[0] | self.m_components[1]
        # The ways to sample that the material has lobes for; their shares are equal.
        self._ways = ["interface", "diffuse"]
        self._ways += ["coat"] * (self._coat > 0.0) + ["through"] * (self._through > 0.0)
        self._ways += ["scattered"] * (self._scattered > 0.0)

    def _lobes(self, si, active):
        """What textures say, and the lobes of the interface and of the coat."""
        color = self._base_color.eval(si, active)
        roughness = drjit.clip(self._roughness.eval_1(si, active), 0.0, 1.0)
        interface = Lobe(roughness, self._anisotropy)
        coat = Lobe(mitsuba.Float(self._coat_roughness))
        return color, self._metallic.eval_1(si, active), interface, coat

    def _turned(self, direction, back=False):
        """A direction in the frame of the anisotropy, or back from it."""
        if not self._turn:
            return direction
        sine, cosine = np.sin(self._turn), np.cos(self._turn)
        sine = float(sine if back else -sine)
        return mitsuba.Vector3f(
            direction.x * float(cosine) - direction.y * sine,
            direction.x * sine + direction.y * float(cosine),
            direction.z,
        )

    def _albedos(self, cosine, roughnesses):
        root = drjit.sqrt(drjit.clip(cosine, 0.0, 1.0))
        found = [[lookup(table, KNOTS, root, each) for each in roughnesses] for table in self._albedo]
        return [sum(values) / len(values) for values in found]

    def _averages(self, roughnesses):
        zero = mitsuba.Float(0.0)
        found = [[lookup(table, 1, zero, each) for each in roughnesses] for table in self._average]
        return [sum(values) / len(values) for values in found]

    def _eval(self, o, i, color, metallic, interface, coat):
        """Reflectance times cosine for directions in the turned frame; o is above."""
        above = i.z > 0.0
        mirrored = mitsuba.Vector3f(i.x, i.y, drjit.abs(i.z))
        half = drjit.normalize(o + mirrored)
        facing = drjit.dot(o, half)

        # What coat and sheen reflect, and what they leave.
        under, value = mitsuba.Float(1.0), mitsuba.Color3f(0.0)
        if self._coat:
            low, high = self._albedos(o.z, [mitsuba.Float(self._coat_roughness)])
            value += self._coat * schlick(0.04, 1.0, facing) * coat.value(o, mirrored)
            under -= self._coat * (0.04 * low + high)
        if any(self._sheen):
            alpha = max(self._sheen_roughness**2, LEAST_ALPHA)
            sine = drjit.sqrt(drjit.clip(1.0 - drjit.square(half.z), 0.0, 1.0))
            density = (2.0 + 1.0 / alpha) * sine ** (1.0 / alpha) / (2.0 * np.pi)
            masking = 1.0 + charlie_lambda(o.z, alpha) + charlie_lambda(mirrored.z, alpha)
            value += mitsuba.Color3f(self._sheen) * under * (density / (4.0 * o.z * masking))
            root = drjit.sqrt(drjit.clip(o.z, 0.0, 1.0))
            albedo = lookup(self._sheen_albedo, 1, mitsuba.Float(0.0), root)
            under *= 1.0 - max(self._sheen) * albedo

        # The interface.
        metal_f0, f0 = color, mitsuba.Color3f(self._f0)
        if self._film:
            metal_f0, f0 = (
                drjit.lerp(plain, film_f0(plain, o.z, self._film_ior, self._film_nm), self._film)
                for plain in (metal_f0, f0)
            )
        low, high = self._albedos(o.z, interface.roughnesses)
        single = drjit.maximum(low + high, 1e-4)
        metal = schlick(metal_f0, 1.0, facing) * (1.0 + metal_f0 * (1.0 - single) / single)
        dielectric = schlick(f0, self._f90, facing)
        clear = (1.0 - metallic) * self._through
        opaque = 1.0 - metallic - clear
        reflected = metallic * metal + opaque * dielectric + clear * dielectric / single
        shape = interface.value(o, mirrored) * under
        value += reflected * shape
        passed = color * (clear * (1.0 - drjit.max(dielectric)) / single) * shape

        # What lies under it.
        brightest = drjit.max(f0)
        low_i, high_i = self._albedos(mirrored.z, interface.roughnesses)
        low_average, high_average = self._averages(interface.roughnesses)
        ways = [brightest * low + self._f90 * high, brightest * low_i + self._f90 * high_i]
        average = brightest * low_average + self._f90 * high_average
        coupled = opaque * under * (1.0 - ways[0]) * (1.0 - ways[1]) / (1.0 - average)
        coupled *= mirrored.z * drjit.inv_pi
        value += color * ((1.0 - self._scattered) * coupled)
        passed += mitsuba.Color3f(self._scattered_color) * (self._scattered * coupled)
        return drjit.select(above, value, passed)

    def _pdf(self, o, i, interface, coat):
        above = i.z > 0.0
        mirrored = mitsuba.Vector3f(i.x, i.y, drjit.abs(i.z))
        glossy, even = interface.pdf(o, mirrored), mirrored.z * drjit.inv_pi
        densities = {
            "interface": drjit.select(above, glossy, 0.0),
            "diffuse": drjit.select(above, even, 0.0),
            "coat": drjit.select(above, coat.pdf(o, mirrored), 0.0),
            "through": drjit.select(above, 0.0, glossy),
            "scattered": drjit.select(above, 0.0, even),
        }
        return sum(densities[way] for way in self._ways) / len(self._ways)

    def sample(self, ctx, si, sample1, sample2, active):
        lobes = self._lobes(si, active)
        o = self._turned(si.wi)
        glossy = lobes[2].sample(o, sample2)
        even = mitsuba.warp.square_to_cosine_hemisphere(sample2)
        directions = {
            "interface": glossy,
            "diffuse": even,
            "coat": lobes[3].sample(o, sample2),
            "through": mitsuba.Vector3f(glossy.x, glossy.y, -glossy.z),
            "scattered": mitsuba.Vector3f(even.x, even.y, -even.z),
        }
        i, good = directions[self._ways[0]], mitsuba.Bool(True)
        for place, way in enumerate(self._ways):
            chosen = sample1 * len(self._ways) >= place
            upright = directions[way].z < 0.0 if way in ("through", "scattered") else directions[way].z > 0.0
            i, good = drjit.select(chosen, directions[way], i), drjit.select(chosen, upright, good)
        active = active & good & (o.z > 0.0)
        sampled = drjit.zeros(mitsuba.BSDFSample3f)
        sampled.wo = self._turned(i, back=True)
        sampled.eta = 1.0
        sampled.sampled_type = mitsuba.UInt32(+mitsuba.BSDFFlags.GlossyReflection)
        sampled.pdf = drjit.select(active, self._pdf(o, i, *lobes[2:]), 0.0)
        active = active & (sampled.pdf > 0.0)
        return sampled, drjit.select(active, self._eval(o, i, *lobes) / sampled.pdf, 0.0)

    def eval_pdf(self, ctx, si, wo, active):
        o, i = self._turned(si.wi), self._turned(wo)
        lobes = self._lobes(si, active)
        active = active & (o.z > 0.0) & ((i.z > 0.0) | ((i.z < 0.0) & self.transmits()))
        value, pdf = self._eval(o, i, *lobes), self._pdf(o, i, *lobes[2:])
        return drjit.select(active, value, 0.0), drjit.select(active, pdf, 0.0)

    def eval(self, ctx, si, wo, active):
        return self.eval_pdf(ctx, si, wo, active)[0]

    def pdf(self, ctx, si, wo, active):
        return self.eval_pdf(ctx, si, wo, active)[1]

    def transmits(self) -> bool:
        """Whether light goes through."""
        return self._through > 0.0 or self._scattered > 0.0

    def to_string(self) -> str:
        return f"GltfBsdf[{', '.join(self._ways)}]"
