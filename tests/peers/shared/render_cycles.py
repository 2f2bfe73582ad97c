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

from gltf import Gltf
from request import Answer, Request, cpu_seconds, low_spp, parser, request_of


def load(request: Request) -> None:
    """Imports the scene into an empty file and points its camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(request.scene))
    scene = bpy.context.scene
    scene.camera = next(object for object in bpy.data.objects if object.type == "CAMERA")
    camera = scene.camera.data
    camera.sensor_fit = "VERTICAL"
    camera.lens = camera.sensor_height / 2 / math.tan(Gltf(request.scene).camera().yfov / 2)
    camera.clip_end = 1e5
    for material in bpy.data.materials:
        make_lambertian_diffuse(material)
    set_sky(scene, request)


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
    diffuse = tree.nodes.new("ShaderNodeBsdfDiffuse")
    colour = principled.inputs["Base Color"]
    diffuse.inputs["Color"].default_value = colour.default_value
    for link in colour.links:
        tree.links.new(link.from_socket, diffuse.inputs["Color"])
    for link in list(principled.outputs["BSDF"].links):
        tree.links.new(diffuse.outputs["BSDF"], link.to_socket)
    tree.nodes.remove(principled)


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
    cycles.transmission_bounces = cycles.transparent_max_bounces = bounces


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
    request = request_of(parser(__doc__).parse_args())
    load(request)
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
