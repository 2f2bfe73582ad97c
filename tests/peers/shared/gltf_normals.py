"""Shading normals as ours takes them, as a BSDF for Mitsuba around another.

A shading normal, interpolated or of a normal map, is not its triangle's. Ours
bends one that faces away until it just faces the ray, and mirrors at the
triangle the light that it would send to the wrong side of it. Mitsuba and Cycles let that
light go: with this wrapper, what is left between Mitsuba and ours is error.
"""

import drjit
import mitsuba

LEAST_COSINE = 1e-3


class GltfNormals(mitsuba.BSDF):
    """Takes a BSDF `nested`, perhaps a texture `normals`, and a `scale` of its slopes."""

    def __init__(self, props: mitsuba.Properties) -> None:
        super().__init__(props)
        self._nested = props["nested"]
        self._normals = props.get_texture("normals") if "normals" in props else None
        self._scale = props.get("scale", 1.0)
        flags = mitsuba.BSDFFlags
        sides = flags.FrontSide | flags.BackSide | flags.SpatiallyVarying
        self.m_components = [flags.GlossyReflection | sides, flags.DiffuseReflection | sides]
        self.m_flags = self.m_components[0] | self.m_components[1]

    def _inside(self, si, active):
        """The interaction in the bent frame, and the triangle's normal on the ray's side."""
        towards = si.to_world(si.wi)
        side = drjit.select(drjit.dot(si.n, towards) < 0.0, -1.0, 1.0)
        normal = si.sh_frame.n
        if self._normals is not None:
            x, y, z = 2.0 * self._normals.eval_3(si, active) - 1.0
            normal = drjit.normalize(
                si.sh_frame.s * (x * self._scale) + si.sh_frame.t * (y * self._scale) + normal * z
            )
        normal = normal * side
        facing = drjit.dot(normal, towards)
        bent = drjit.normalize(normal + towards * (LEAST_COSINE - facing))
        normal = drjit.select(facing >= LEAST_COSINE, normal, bent)
        inside = mitsuba.SurfaceInteraction3f(si)
        tangent = drjit.normalize(si.sh_frame.s - normal * drjit.dot(normal, si.sh_frame.s))
        inside.sh_frame = mitsuba.Frame3f(tangent, drjit.cross(normal, tangent), normal)
        inside.wi = inside.sh_frame.to_local(towards)
        return inside, si.n * side

    def _sum(self, ctx, inside, geometric, direction, active):
        """Reflectance times cosine and pdf of a world direction and of its mirror image.

        Which side of the triangle light comes from says which lobes it is for.
        """
        height = drjit.dot(geometric, direction)
        mirrored = direction - geometric * (2.0 * height)
        active = active & (height != 0.0)
        value, pdf = mitsuba.Color3f(0.0), mitsuba.Float(0.0)
        for way in (direction, mirrored):
            local = inside.to_local(way)
            its = active & (local.z * height > 0.0)
            more, density = self._nested.eval_pdf(ctx, inside, local, its)
            value, pdf = value + more, pdf + density
        return drjit.select(active, value, 0.0), drjit.select(active, pdf, 0.0)

    def eval_pdf(self, ctx, si, wo, active):
        inside, geometric = self._inside(si, active)
        return self._sum(ctx, inside, geometric, si.to_world(wo), active)

    def eval(self, ctx, si, wo, active):
        return self.eval_pdf(ctx, si, wo, active)[0]

    def pdf(self, ctx, si, wo, active):
        return self.eval_pdf(ctx, si, wo, active)[1]

    def sample(self, ctx, si, sample1, sample2, active):
        inside, geometric = self._inside(si, active)
        sampled, _ = self._nested.sample(ctx, inside, sample1, sample2, active)
        direction = inside.to_world(sampled.wo)
        height = drjit.dot(geometric, direction)
        wrong = height * sampled.wo.z < 0.0
        direction = drjit.select(wrong, direction - geometric * (2.0 * height), direction)
        active = active & (sampled.pdf > 0.0)
        value, pdf = self._sum(ctx, inside, geometric, direction, active)
        sampled.wo, sampled.pdf = si.to_local(direction), pdf
        sampled.sampled_type = mitsuba.UInt32(+mitsuba.BSDFFlags.GlossyReflection)
        return sampled, drjit.select(pdf > 0.0, value / pdf, 0.0)

    def to_string(self) -> str:
        return f"GltfNormals[{self._nested}]"
