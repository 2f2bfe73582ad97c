"""Renders a request with Cycles on the CPU, through Blender's Python module.

Blender's own glTF importer reads the scene. The time is the difference between
two renders, of all samples and of a quarter of them: both copy the scene to
Cycles and build its tree, so that only the samples between them are left. One
sample before them pays for what is done once in a process. (Its statistics
would do as well, and stand beside as `seconds_reported`; they are rounded to
10 ms and their start is Blender's to choose.) Persistent data would save the
copying, but then a changed sample count is not heard.
"""

import math
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from cycles_materials import make_as_gltf
from gltf import Camera, Gltf, Unsupported, camera_of_view
from request import Answer, Moment, Request, cpu_seconds, low_spp, parser, request_of

# As many surfaces as ours lets a ray pass through by their alpha.
MOST_SURFACES_PASSED = 64


def load(request: Request, as_gltf: bool) -> None:
    """Imports the scene into an empty file and points its camera.

    Materials are made as glTF has them. So is what else the importer leaves to
    Cycles' own ways, the backs of faces and the filtering of textures, if so asked:
    it costs time, and a comparison of speed has no use for it.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    # Lights in glTF's units, one candela or lux as one watt for each steradian or
    # square metre: lights and emission then share a scale, as in ours.
    bpy.ops.import_scene.gltf(
        filepath=str(request.scene), export_import_convert_lighting_mode="COMPAT"
    )
    gltf = Gltf(request.scene, any_extension=True)
    if request.moment:
        show(gltf, request.moment)
    else:
        hold_still()
    scene = bpy.context.scene
    if request.view:
        add_camera(scene, camera_of_view(request.view))
    else:
        scene.camera = next(object for object in bpy.data.objects if object.type == "CAMERA")
        set_field_of_view(scene.camera.data, gltf.camera().yfov)
    for material in bpy.data.materials:
        make_lambertian_diffuse(material)
        # Where a lamp's back is not to shine it need not be asked either.
        if material.use_backface_culling:
            material.cycles.emission_sampling = "FRONT"
    make_as_gltf(gltf.materials())
    if as_gltf:
        for material in bpy.data.materials:
            cull_back_faces(material)
        decode_texels()
    radii = gltf.light_radii()
    for light in bpy.data.lights:
        make_punctual(light, radii.get(light.name, 0.0))
    set_sky(scene, request)


def show(gltf: Gltf, moment: Moment) -> None:
    """Shows the scene at a time of one of its animations.

    The importer makes a muted track of each animation, named after it, for every
    object and set of shape keys, and puts its keys at seconds times frames a second.
    """
    animations = gltf.json.get("animations", [])
    names = [animation.get("name", str(index)) for index, animation in enumerate(animations)]
    if moment.animation not in names:
        raise Unsupported(f"no animation {moment.animation}")
    index = names.index(moment.animation)
    track_name = animations[index].get("name", f"Anim_{index}")
    for animated in [*bpy.data.objects, *bpy.data.shape_keys]:
        data = animated.animation_data
        if data is None:
            continue
        data.action = None
        for track in data.nla_tracks:
            if track.name == track_name:
                data.action, data.action_slot = track.strips[0].action, track.strips[0].action_slot
    render = bpy.context.scene.render
    frame = moment.seconds * render.fps * render.fps_base
    whole = math.floor(frame)
    bpy.context.scene.frame_set(whole, subframe=frame - whole)


def hold_still() -> None:
    """Shows the scene at rest, as ours does, and not at its first frame."""
    for animated in [*bpy.data.objects, *bpy.data.shape_keys]:
        animated.animation_data_clear()


def add_camera(scene: bpy.types.Scene, camera: Camera) -> None:
    """A camera in glTF's axes: its +Y is Blender's +Z, its −Z Blender's +Y."""
    added = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    upright = Matrix.Rotation(math.pi / 2, 4, "X")
    added.matrix_world = upright @ Matrix(camera.to_world.tolist())
    scene.collection.objects.link(added)
    scene.camera = added
    set_field_of_view(added.data, camera.yfov)


def set_field_of_view(camera: bpy.types.Camera, yfov: float) -> None:
    """The vertical angle, in radians, whatever the picture's shape."""
    camera.sensor_fit = "VERTICAL"
    camera.lens = camera.sensor_height / 2 / math.tan(yfov / 2)
    camera.clip_start, camera.clip_end = 1e-3, 1e5


def make_lambertian_diffuse(material: bpy.types.Material) -> None:
    """Replaces a Principled BSDF that reflects nothing at its surface.

    Metallic 0 and an index of refraction of 1 leave its diffuse lobe alone;
    Cycles would still set up and choose among the others.
    """
    tree = material.node_tree
    principled = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if principled is None:
        return
    metallic, ior = principled.inputs["Metallic"], principled.inputs["IOR"]
    if metallic.is_linked or metallic.default_value != 0.0 or ior.default_value != 1.0:
        return
    shader = tree.nodes.new("ShaderNodeBsdfDiffuse")
    take_input(tree, principled.inputs["Base Color"], shader.inputs["Color"])
    take_input(tree, principled.inputs["Normal"], shader.inputs["Normal"])
    strength = principled.inputs["Emission Strength"]
    if strength.is_linked or strength.default_value != 0.0:
        emission, both = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeAddShader")
        take_input(tree, principled.inputs["Emission Color"], emission.inputs["Color"])
        take_input(tree, strength, emission.inputs["Strength"])
        tree.links.new(shader.outputs[0], both.inputs[0])
        tree.links.new(emission.outputs[0], both.inputs[1])
        shader = both
    alpha = principled.inputs["Alpha"]
    if alpha.is_linked or alpha.default_value != 1.0:
        clear, mixed = tree.nodes.new("ShaderNodeBsdfTransparent"), tree.nodes.new("ShaderNodeMixShader")
        take_input(tree, alpha, mixed.inputs["Fac"])
        tree.links.new(clear.outputs[0], mixed.inputs[1])
        tree.links.new(shader.outputs[0], mixed.inputs[2])
        shader = mixed
    for link in list(principled.outputs["BSDF"].links):
        tree.links.new(shader.outputs[0], link.to_socket)
    tree.nodes.remove(principled)


def cull_back_faces(material: bpy.types.Material) -> None:
    """Makes what the file calls single-sided clear from behind, as glTF has it.

    The importer notes this for Blender's other engine alone: Cycles would show
    such faces from behind, and such lamps would shine both ways.
    """
    if not material.use_backface_culling:
        return
    tree = material.node_tree
    output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    front = output.inputs["Surface"].links[0].from_socket
    geometry, mixed = tree.nodes.new("ShaderNodeNewGeometry"), tree.nodes.new("ShaderNodeMixShader")
    clear = tree.nodes.new("ShaderNodeBsdfTransparent")
    tree.links.new(geometry.outputs["Backfacing"], mixed.inputs["Fac"])
    tree.links.new(front, mixed.inputs[1])
    tree.links.new(clear.outputs[0], mixed.inputs[2])
    tree.links.new(mixed.outputs[0], output.inputs["Surface"])


def decode_texels() -> None:
    """Gives colour textures linear texels.

    glTF has the sRGB curve taken off before texels are interpolated, and Cycles
    takes it off after, which shows wherever neighbours differ much.
    """
    linear = {}
    for node in (node for material in bpy.data.materials for node in material.node_tree.nodes):
        if node.type != "TEX_IMAGE" or node.image is None:
            continue
        if node.image.colorspace_settings.name == "sRGB" and not node.image.is_float:
            if node.image.name not in linear:
                linear[node.image.name] = decoded(node.image)
            node.image = linear[node.image.name]


def decoded(image: bpy.types.Image) -> bpy.types.Image:
    """A copy of an image with the curve of IEC 61966-2-1 taken off."""
    texels = np.empty(len(image.pixels), dtype=np.float32)
    image.pixels.foreach_get(texels)
    colours = texels.reshape(-1, 4)[:, :3]
    steep = ((colours + 0.055) / 1.055) ** 2.4
    colours[...] = np.where(colours <= 0.04045, colours / 12.92, steep)
    width, height = image.size
    copy = bpy.data.images.new(f"{image.name} linear", width, height, alpha=True, float_buffer=True)
    copy.colorspace_settings.name = "Linear Rec.709"
    copy.alpha_mode = image.alpha_mode
    copy.pixels.foreach_set(texels)
    copy.update()
    return copy


def take_input(
    tree: bpy.types.NodeTree, taken: bpy.types.NodeSocket, to: bpy.types.NodeSocket
) -> None:
    """Gives one input what another has: its value, or what feeds it."""
    if taken.is_linked:
        tree.links.new(taken.links[0].from_socket, to)
    elif not taken.hide_value:
        to.default_value = taken.default_value


def make_punctual(light: bpy.types.Light, radius: float) -> None:
    """Gives a light the extent that it has in the file: parallel beams, points, or spheres."""
    if light.type == "SUN":
        light.angle = 0.0
    else:
        light.shadow_soft_size = radius
        # Else what is near a sphere is lit as if by a disc.
        light.use_soft_falloff = False


def set_sky(scene: bpy.types.Scene, request: Request) -> None:
    """A constant sky, or a map whose centre looks along glTF's −Z."""
    scene.world = world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    background = next(node for node in nodes if node.type == "BACKGROUND")
    background.inputs["Strength"].default_value = 1.0
    background.inputs["Color"].default_value = (*request.sky, 1.0)
    if request.environment is None:
        return
    coordinates = nodes.new("ShaderNodeTexCoord")
    turn = nodes.new("ShaderNodeMapping")
    # glTF's −Z is Blender's +Y, and the centre of Blender's maps looks along +X.
    turn.inputs["Rotation"].default_value = (0.0, 0.0, -math.pi / 2)
    image = nodes.new("ShaderNodeTexEnvironment")
    image.image = bpy.data.images.load(str(request.environment))
    links.new(coordinates.outputs["Generated"], turn.inputs["Vector"])
    links.new(turn.outputs["Vector"], image.inputs["Vector"])
    links.new(image.outputs["Color"], background.inputs["Color"])


def set_up(request: Request) -> None:
    """Plain path tracing: all that guesses, clamps or blurs is off."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = request.width, request.height
    scene.render.resolution_percentage = 100
    scene.render.threads_mode, scene.render.threads = "FIXED", request.threads
    scene.render.use_compositing = scene.render.use_sequencer = False
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.seed = request.seed
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.use_guiding = False
    cycles.pixel_filter_type = "BOX"
    cycles.sample_clamp_direct = cycles.sample_clamp_indirect = 0.0
    cycles.blur_glossy = 0.0
    # Cycles counts bounces after the first hit and takes light at the last one,
    # which are two segments more.
    bounces = max(request.max_depth - 2, 0)
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = bounces
    cycles.transmission_bounces = bounces
    cycles.transparent_max_bounces = MOST_SURFACES_PASSED


def render(spp: int) -> np.ndarray:
    """Renders with so many samples of a pixel; seconds and processor seconds."""
    bpy.context.scene.cycles.samples = spp
    began = np.array([time.perf_counter(), cpu_seconds()])
    bpy.ops.render.render()
    return np.array([time.perf_counter(), cpu_seconds()]) - began


def read_picture(request: Request) -> tuple[np.ndarray, float]:
    """The last render in linear RGB, and the seconds that Cycles claims for it."""
    settings = bpy.context.scene.render.image_settings
    settings.file_format, settings.color_depth, settings.color_mode = "OPEN_EXR", "32", "RGB"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "picture.exr")
        bpy.data.images["Render Result"].save_render(path)
        image = bpy.data.images.load(path)
        image.colorspace_settings.name = "Non-Color"
        rgba = np.empty(4 * request.pixels, dtype=np.float32)
        image.pixels.foreach_get(rgba)
        claimed = claimed_seconds(path)
    rows = rgba.reshape(request.height, request.width, 4)
    return rows[::-1, :, :3], claimed


def claimed_seconds(path: str) -> float:
    """The render time in the metadata of an EXR, written as 00:12.34."""
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    text = str(mitsuba.Bitmap(path).metadata()["cycles.ViewLayer.render_time"])
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60.0 * seconds + float(part)
    return seconds


def main() -> None:
    answer = Answer()
    flags = parser(__doc__)
    flags.add_argument(
        "--as-gltf", action="store_true", help="cull back faces and filter textures as glTF has it"
    )
    flags = flags.parse_args()
    request = request_of(flags)
    load(request, flags.as_gltf)
    set_up(request)
    low = low_spp(request.spp)
    if request.timed:
        render(1)
        spent_low = render(low)
        reported_low = read_picture(request)[1]
    spent = render(request.spp)
    picture, reported = read_picture(request)
    if request.timed:
        spent, reported = spent - spent_low, reported - reported_low
    np.save(request.picture, np.ascontiguousarray(picture))
    answer.give(
        seconds=float(spent[0]),
        cpu_seconds=float(spent[1]),
        samples=request.pixels * (request.spp - low),
        seconds_reported=reported,
        versions={"bpy": bpy.app.version_string},
    )


if __name__ == "__main__":
    main()
