"""Makes of Blender's materials what the file says and Cycles can show.

Blender's glTF importer sets up the Principled BSDF, leaves extensions out that
have no input there, and takes others as they are near enough for the eye. Here is
done over what has an exact counterpart in Cycles' nodes, extension by extension;
what has none stays as the importer leaves it, and docs/pictures.md names the reason.
"""

import math
import re

import bpy

Tree = bpy.types.NodeTree
Socket = bpy.types.NodeSocket


class Inexact(Exception):
    """The file has what this module could set up only for some of its values."""


def make_as_gltf(materials: list[dict]) -> None:
    """Sets up each material of Blender's that one of the file stands behind."""
    by_name = {material.get("name", f"Material_{index}"): material for index, material in enumerate(materials)}
    for material in bpy.data.materials:
        # The importer copies a material for meshes with colours of their own.
        name = material.name if material.name in by_name else re.sub(r"\.\d{3}$", "", material.name)
        if name in by_name:
            set_up(material, by_name[name])


def set_up(material: bpy.types.Material, gltf: dict) -> None:
    """One material."""
    extensions = gltf.get("extensions", {})

    def said(name: str) -> dict | None:
        return extensions.get(f"KHR_materials_{name}")

    if said("unlit") is not None:
        shine_for_all(material)
        return
    if (anisotropy := said("anisotropy")) is not None:
        set_anisotropy(material.node_tree, gltf, anisotropy)
    if (film := said("iridescence")) is not None:
        set_film(principled(material.node_tree), film)
    if is_solid(gltf):
        set_absorption(material.node_tree, said("volume"))
        # A ray meets a solid on its way out too.
        material.use_backface_culling = False
        if (dispersion := said("dispersion")) is not None:
            split_colours(material.node_tree, gltf, dispersion["dispersion"])
    elif said("transmission") is not None:
        make_thin(material.node_tree)
    if (through := said("diffuse_transmission")) is not None:
        shine_through(material.node_tree, gltf, through)


def is_solid(gltf: dict) -> bool:
    """Whether the material fills its mesh with what light is refracted into."""
    extensions = gltf.get("extensions", {})
    volume = extensions.get("KHR_materials_volume", {})
    clear = extensions.get("KHR_materials_transmission", {}).get("transmissionFactor", 0.0)
    return clear > 0.0 and volume.get("thicknessFactor", 0.0) > 0.0


def principled(tree: Tree) -> bpy.types.Node:
    """The Principled BSDF that the importer made."""
    return next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")


def replace_surface(tree: Tree, made: Socket) -> None:
    """Gives the material another surface."""
    output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    tree.links.new(made, output.inputs["Surface"])


def operation(tree: Tree, name: str, *given: Socket | float) -> Socket:
    """A node of arithmetic on numbers or on what other nodes give."""
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = name
    for value, to in zip(given, node.inputs, strict=False):
        if isinstance(value, Socket):
            tree.links.new(value, to)
        else:
            to.default_value = value
    return node.outputs[0]


def mixed(tree: Tree, share: Socket | float, first: Socket, second: Socket) -> Socket:
    """Two shaders; the share is the second's."""
    node = tree.nodes.new("ShaderNodeMixShader")
    if isinstance(share, Socket):
        tree.links.new(share, node.inputs["Fac"])
    else:
        node.inputs["Fac"].default_value = share
    tree.links.new(first, node.inputs[1])
    tree.links.new(second, node.inputs[2])
    return node.outputs[0]


def added(tree: Tree, first: Socket, second: Socket) -> Socket:
    """The sum of two shaders."""
    node = tree.nodes.new("ShaderNodeAddShader")
    tree.links.new(first, node.inputs[0])
    tree.links.new(second, node.inputs[1])
    return node.outputs[0]


def shader(tree: Tree, kind: str, color: list[float], **inputs: float) -> bpy.types.Node:
    """A node of one BSDF."""
    node = tree.nodes.new(kind)
    node.inputs["Color"].default_value = (*color, 1.0)
    for name, value in inputs.items():
        node.inputs[name].default_value = value
    return node


def base_color(gltf: dict) -> list[float]:
    """The base colour of a material without a texture of it."""
    surface = gltf.get("pbrMetallicRoughness", {})
    if "baseColorTexture" in surface:
        raise Inexact("a texture of the base colour on what is set up anew")
    return surface.get("baseColorFactor", [1.0] * 4)[:3]


def shine_for_all(material: bpy.types.Material) -> None:
    """An unlit surface, as ours has it: every ray sees its colour, and none passes.

    The importer lets the camera alone see it, and it neither casts a shadow nor
    is mirrored in anything.
    """
    tree = material.node_tree
    emission = next(node for node in tree.nodes if node.type == "EMISSION")
    replace_surface(tree, emission.outputs[0])


def set_anisotropy(tree: Tree, gltf: dict, said: dict) -> None:
    """Roughnesses along and across as the extension has them.

    They are αt = α + (1 − α)·s² and αb = α. Cycles' are r²/a and r²·a with
    a² = 1 − 0.9·anisotropic, so that anisotropic = (1 − αb/αt)/0.9 and r⁴ = αt·αb.
    The importer takes s for anisotropic.
    """
    bsdf = principled(tree)
    if bsdf.inputs["Roughness"].is_linked:
        raise Inexact("a texture of the roughness under an anisotropy")
    alpha = bsdf.inputs["Roughness"].default_value ** 2
    strength: Socket | float = said.get("anisotropyStrength", 0.0)
    if bsdf.inputs["Anisotropic"].is_linked:
        strength = bsdf.inputs["Anisotropic"].links[0].from_socket
    squared = operation(tree, "MULTIPLY", strength, strength)
    along = operation(tree, "MULTIPLY_ADD", squared, 1.0 - alpha, alpha)
    ratio = operation(tree, "DIVIDE", alpha, along)
    anisotropic = operation(tree, "DIVIDE", operation(tree, "SUBTRACT", 1.0, ratio), 0.9)
    roughness = operation(tree, "POWER", operation(tree, "MULTIPLY", along, alpha), 0.25)
    tree.links.new(anisotropic, bsdf.inputs["Anisotropic"])
    tree.links.new(roughness, bsdf.inputs["Roughness"])


def set_film(bsdf: bpy.types.Node, said: dict) -> None:
    """A thin film, which the importer does not read."""
    if said.get("iridescenceFactor", 0.0) != 1.0 or "iridescenceThicknessTexture" in said:
        raise Inexact("a film on a part of the surface, or of more than one thickness")
    bsdf.inputs["Thin Film Thickness"].default_value = said.get("iridescenceThicknessMaximum", 400.0)
    bsdf.inputs["Thin Film IOR"].default_value = said.get("iridescenceIor", 1.3)


def set_absorption(tree: Tree, said: dict) -> None:
    """Beer's law with the extension's coefficients, −ln(colour) / distance.

    Cycles' absorption is density·(1 − colour), and the importer gives it the
    file's colour and 1 / distance.
    """
    node = next(node for node in tree.nodes if node.type == "VOLUME_ABSORPTION")
    distance = said.get("attenuationDistance", math.inf)
    color = said.get("attenuationColor", [1.0] * 3)
    coefficients = [-math.log(max(part, 1e-6)) / distance for part in color]
    density = max(coefficients)
    if density == 0.0:
        tree.nodes.remove(node)
        return
    node.inputs["Density"].default_value = density
    node.inputs["Color"].default_value = (*(1.0 - part / density for part in coefficients), 1.0)


def split_colours(tree: Tree, gltf: dict, dispersion: float) -> None:
    """Glass with an index for each channel, which the importer does not read.

    Three glasses, each for one channel: what one of them sends on is seen by no
    other. The indices are the extension's, n and n ± (n − 1)·0.025·dispersion.
    """
    if base_color(gltf) != [1.0] * 3:
        raise Inexact("coloured glass with dispersion")
    index = gltf["extensions"].get("KHR_materials_ior", {}).get("ior", 1.5)
    spread = (index - 1.0) * 0.025 * dispersion
    roughness = gltf["pbrMetallicRoughness"].get("roughnessFactor", 1.0)
    parts = [
        shader(
            tree,
            "ShaderNodeBsdfGlass",
            [float(channel == part) for part in range(3)],
            IOR=max(index + shift, 1.0),
            Roughness=roughness,
        ).outputs[0]
        for channel, shift in enumerate((-spread, 0.0, spread))
    ]
    replace_surface(tree, added(tree, added(tree, *parts[:2]), parts[2]))


def make_thin(tree: Tree) -> None:
    """A wall without thickness, of which Cycles has the smooth one alone.

    Light goes straight through what a microfacet does not reflect. The importer
    makes a solid of it. A rough wall scatters what goes through in ours, and not here.
    """
    bsdf = principled(tree)
    share = bsdf.inputs["Transmission Weight"]
    if share.is_linked or any(bsdf.inputs[name].is_linked for name in ("Base Color", "Roughness", "IOR")):
        raise Inexact("a texture of what is clear")
    clear, share.default_value = share.default_value, 0.0
    color = list(bsdf.inputs["Base Color"].default_value)[:3]
    through = shader(tree, "ShaderNodeBsdfTransparent", color)
    mirror = shader(
        tree, "ShaderNodeBsdfGlossy", [1.0] * 3, Roughness=bsdf.inputs["Roughness"].default_value
    )
    mirror.distribution = "MULTI_GGX"
    fresnel = tree.nodes.new("ShaderNodeFresnel")
    # Seen from behind, the node would take the inverse of the index.
    geometry = tree.nodes.new("ShaderNodeNewGeometry")
    index = bsdf.inputs["IOR"].default_value
    inverted = operation(
        tree, "MULTIPLY_ADD", geometry.outputs["Backfacing"], 1.0 / index - index, index
    )
    tree.links.new(inverted, fresnel.inputs["IOR"])
    glass = mixed(tree, fresnel.outputs[0], through.outputs[0], mirror.outputs[0])
    replace_surface(tree, mixed(tree, clear, bsdf.outputs[0], glass))


def shine_through(tree: Tree, gltf: dict, said: dict) -> None:
    """Diffuse light from behind, which the importer does not read.

    Exact where the interface reflects nothing. Otherwise what the interface takes
    on both ways is missing here: Cycles has no translucent lobe under one.
    """
    if "diffuseTransmissionTexture" in said or "diffuseTransmissionColorTexture" in said:
        raise Inexact("textures of a diffuse transmission")
    share = said.get("diffuseTransmissionFactor", 0.0)
    output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    front = output.inputs["Surface"].links[0].from_socket
    kept = [part * (1.0 - share) for part in base_color(gltf)]
    color = next(
        node.inputs[name]
        for node in tree.nodes
        for name in ("Base Color", "Color")
        if node.type in ("BSDF_PRINCIPLED", "BSDF_DIFFUSE") and name in node.inputs
    )
    color.default_value = (*kept, 1.0)
    beyond = [part * share for part in said.get("diffuseTransmissionColorFactor", [1.0] * 3)]
    replace_surface(tree, added(tree, front, shader(tree, "ShaderNodeBsdfTranslucent", beyond).outputs[0]))
