"""Renders a request with `farm render`.

The time is the difference between two renders, of all samples and of a quarter
of them, by `seconds_render`: that begins when the job is submitted, and the
upload, the tree and the shaders are in both. `seconds_reported` is the same
difference of the time that adapters spent.
"""

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import mitsuba
import numpy as np

from request import Answer, Request, cpu_seconds, low_spp, parser, request_of

TIMES = ("seconds_render", "seconds_adapters", "cpu_seconds")


def render(farm: Path, extra: list[str], request: Request, spp: int, exr: Path) -> dict:
    """Renders one picture; what the farm reports of it."""
    command = [str(farm), "render", str(request.scene), "-o", str(exr), "--json", "--quiet"]
    command += ["--size", f"{request.width}x{request.height}", "--spp", str(spp)]
    command += ["--max-depth", str(request.max_depth), "--seed", str(request.seed)]
    command += ["--filter", "box"]
    if request.environment:
        command += ["--env", str(request.environment)]
    elif any(request.sky):
        command += ["--sky", ",".join(map(str, request.sky))]
    if request.moment:
        moment = request.moment
        command += ["--frames", f"{moment.frame}-{moment.frame}", "--fps", repr(moment.fps)]
        command += ["--animation", moment.animation]
    # Mesa's software driver counts the processors unless it is told.
    environment = os.environ | {"LP_NUM_THREADS": str(request.threads)}
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, *extra], env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        # Its own message stands above, on the standard error.
        sys.exit(f"farm render ended with {done.returncode}")
    return json.loads(done.stdout) | {"cpu_seconds": cpu_seconds(resource.RUSAGE_CHILDREN) - before}


def read_exr(path: Path) -> np.ndarray:
    """An EXR's linear RGB."""
    mitsuba.set_variant("scalar_rgb")
    return np.array(mitsuba.Bitmap(str(path)), dtype=np.float32)[..., :3]


def main() -> None:
    answer = Answer()
    flags = parser(__doc__)
    flags.add_argument("--farm", type=Path, required=True, help="the binary `farm`")
    flags.add_argument("--extra", default="", help="more arguments, as a shell would split them")
    flags = flags.parse_args()
    request = request_of(flags)
    extra = shlex.split(flags.extra.format(threads=request.threads))
    low = low_spp(request.spp)
    fewer = dict.fromkeys(TIMES, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        exr = Path(folder) / "picture.exr"
        if request.timed:
            fewer = render(flags.farm, extra, request, low, exr)
        report = render(flags.farm, extra, request, request.spp, exr)
        np.save(request.picture, np.ascontiguousarray(read_exr(exr)))
    spent = {key: report[key] - fewer[key] for key in TIMES}
    answer.give(
        seconds=spent["seconds_render"],
        cpu_seconds=spent["cpu_seconds"],
        samples=request.pixels * (request.spp - low),
        seconds_reported=spent["seconds_adapters"],
        versions={"adapter": report["adapter"]},
    )


if __name__ == "__main__":
    main()
