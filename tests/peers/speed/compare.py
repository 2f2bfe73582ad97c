"""Compares our renderer's speed with Mitsuba 3 and Cycles; see docs/peers.md.

    sh tests/peers/setup.sh
    cargo build --release --bin farm
    target/peers/venv/bin/python tests/peers/speed/compare.py

The renderers take turns (A B C A B C ...), each turn in a process of its own, on
the same processors. Writes docs/peers-speed.json, the plot beside it, and the
table in docs/peers.md; with --out FILE only that JSON.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from errors import relative_mse
from gltf import Gltf
from places import OUT, ROOT
from renderers import BASELINE, Failed, Renderer, ours, peers
from report import RESULTS, summarise, write_report
from request import Request
from scenes import Scene, scenes

# Far from the seeds of rounds and errors, and from those that a reference of
# several launches counts up to.
REFERENCE_SEED = 1_000_003
ERROR_SEED = 2_000_003
OURS = "Tessera=--adapter cpu --cpu {threads} --no-cache"
IDLE_LOAD = 0.5
IDLE_SHARE = 0.95
# Two renders whose difference is timed may each be a few tenths of a second off.
SHORTEST_SECONDS = 0.2


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--scenes", help="names, by commas [default: all]")
    flags.add_argument("--helmet", type=Path, metavar="FILE.gltf", help="a model for one more scene")
    flags.add_argument("--peers", help="parts of their names, by commas; `none` for ours alone")
    flags.add_argument(
        "--ours",
        action="append",
        metavar="NAME=ARGUMENTS",
        help="a way to run ours, with arguments for `farm render`; {threads} is their number; "
        f"may be repeated; `none` for the peers alone [default: {OURS}]",
    )
    flags.add_argument("--farm", type=Path, default=ROOT / "target" / "release" / "farm")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--scale", type=float, default=1.0, help="factor on the pictures' edges")
    flags.add_argument("--spp", type=int, help="samples of a pixel, in the place of the scenes' own")
    flags.add_argument("--error-edge", type=int, default=128, help="pixels; 0 measures no errors")
    flags.add_argument("--error-rounds", type=int, default=3)
    flags.add_argument("--reference-spp", type=int, default=2048)
    flags.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait for an idle machine before each turn, at most so long (Linux)",
    )
    flags.add_argument("--limit-seconds", type=float, default=1800.0, help="of one render")
    flags.add_argument("--out", type=Path, help="write the JSON here and leave docs/ alone")
    return flags.parse_args()


def chosen_scenes(flags: argparse.Namespace) -> list[Scene]:
    """The scenes of the command line, at its size and sample count."""
    found = scenes(flags.helmet)
    if flags.scenes:
        names = flags.scenes.split(",")
        unknown = set(names) - {scene.name for scene in found}
        if unknown:
            sys.exit(f"error: no scene {', '.join(unknown)}\nhint: the helmet needs --helmet FILE.gltf")
        found = [scene for scene in found if scene.name in names]
    return [
        replace(
            scene,
            width=round(scene.width * flags.scale),
            height=round(scene.height * flags.scale),
            spp=flags.spp or scene.spp,
        )
        for scene in found
    ]


def chosen_renderers(flags: argparse.Namespace) -> list[Renderer]:
    """Peers first, then ours in the order given."""
    found = peers()
    if flags.peers:
        parts = flags.peers.lower().split(",")
        found = [peer for peer in found if any(part in peer.name.lower() for part in parts)]
    if flags.ours == ["none"]:
        return found
    ways = [way.partition("=") for way in flags.ours or [OURS]]
    if not flags.farm.exists():
        sys.exit(f"error: there is no {flags.farm}\nhint: cargo build --release --bin farm")
    return found + [ours(name, extra, flags.farm.resolve()) for name, _, extra in ways]


def hold_to_processors(threads: int) -> None:
    """Keeps this process and all that it starts on as many processors."""
    if not hasattr(os, "sched_setaffinity"):
        say("warning: processes cannot be held to processors here; threads are asked for only")
        return
    available = sorted(os.sched_getaffinity(0))
    if len(available) < threads:
        sys.exit(f"error: {threads} threads are asked for, {len(available)} processors are there")
    os.sched_setaffinity(0, available[:threads])


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def idle_ticks() -> tuple[int, int]:
    """Ticks that all processors together have idled, and all ticks, since the start."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return ticks[3], sum(ticks)


def wait_until_idle(patience_seconds: float) -> None:
    """Returns once all processors have idled for two seconds, or at the end of patience."""
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        idle, total = idle_ticks()
        time.sleep(2.0)
        idle_now, total_now = idle_ticks()
        if idle_now - idle > IDLE_SHARE * (total_now - total):
            return


def request_of(scene: Scene, flags: argparse.Namespace, seed: int) -> Request:
    """A timed picture of a scene."""
    return Request(
        scene=scene.file,
        width=scene.width,
        height=scene.height,
        spp=scene.spp,
        max_depth=scene.max_depth,
        seed=seed,
        threads=flags.threads,
        sky=scene.sky,
        environment=scene.environment,
        picture=OUT / "picture.npy",
        timed=True,
    )


def take_turns(
    scene: Scene, renderers: list[Renderer], flags: argparse.Namespace, versions: dict
) -> list[dict]:
    """The timed rounds; a renderer that fails once takes no further turn."""
    results = [{"name": renderer.name, "rounds": [], "relative_mses": []} for renderer in renderers]
    for seed in range(1, flags.rounds + 1):
        for renderer, result in zip(renderers, results, strict=True):
            if "failed" in result:
                continue
            wait_until_idle(flags.patience)
            try:
                turn = renderer.render(request_of(scene, flags, seed), flags.limit_seconds)
                if turn["seconds"] < SHORTEST_SECONDS:
                    raise Failed(f"{turn['seconds']:.2f} s are too short to be timed; enlarge the scale")
            except Failed as failure:
                say(f"{scene.name}: {renderer.name} failed: {failure}")
                result["failed"], result["rounds"] = str(failure), []
                continue
            note_versions(versions, renderer, turn.pop("versions"))
            turn["mean"] = float(np.load(OUT / "picture.npy").mean(dtype=np.float64))
            result["rounds"].append(turn)
            rate = turn["samples"] / turn["seconds"] / 1e6
            busy = turn["cpu_seconds"] / (turn["seconds"] * flags.threads)
            say(f"{scene.name}, round {seed}: {renderer.name} {rate:.3f} Msamples/s, {busy:.0%} busy")
    for result in results:
        if result["rounds"]:
            result["mean_radiance"] = statistics.fmean(turn["mean"] for turn in result["rounds"])
    return results


def note_versions(versions: dict, renderer: Renderer, found: dict) -> None:
    """Ours names its adapter, which differs from one way of ours to the next."""
    for name, version in found.items():
        versions[f"{renderer.name} on" if name == "adapter" else name] = version


def reference(renderer: Renderer, request: Request, limit_seconds: float) -> np.ndarray:
    """A long render, kept under target/ for as long as nothing changes it."""
    file = OUT / "references" / f"{renderer.digest(request)}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        say(f"reference of {request.spp} samples: {request.scene.name}, {renderer.name}")
        begun = file.with_name(f"{file.stem}.part.npy")
        renderer.render(replace(request, picture=begun), limit_seconds)
        begun.rename(file)
    return np.load(file)


def measure_errors(renderer: Renderer, scene: Scene, flags: argparse.Namespace) -> list[float]:
    """Errors of small pictures against a long render by the same renderer.

    The error at a sample count hardly depends on how many pixels there are, and
    a reference of full size would take most of the comparison's time.
    """
    edge, longest = flags.error_edge, max(scene.width, scene.height)
    width, height = (max(round(length * edge / longest), 1) for length in (scene.width, scene.height))
    small = replace(request_of(scene, flags, 0), width=width, height=height, timed=False)
    reference_spp = flags.reference_spp * scene.reference_factor
    long = replace(small, spp=reference_spp, seed=REFERENCE_SEED)
    truth = reference(renderer, long, flags.limit_seconds)
    found = []
    for index in range(flags.error_rounds):
        renderer.render(replace(small, seed=ERROR_SEED + index), flags.limit_seconds)
        picture = np.load(small.picture)
        found.append(relative_mse(picture, truth, scene.spp, reference_spp))
    return found


def compare(scene: Scene, renderers: list[Renderer], flags: argparse.Namespace, versions: dict) -> dict:
    """All that is measured on one scene."""
    results = take_turns(scene, renderers, flags, versions)
    for renderer, result in zip(renderers, results, strict=True):
        if flags.error_edge and "failed" not in result:
            result["relative_mses"] = measure_errors(renderer, scene, flags)
            say(f"{scene.name}: {renderer.name}, relative MSE {result['relative_mses']}")
    compared = {
        "name": scene.name,
        "title": scene.title,
        "triangles": triangles_of(scene),
        "width": scene.width,
        "height": scene.height,
        "spp": scene.spp,
        "max_depth": scene.max_depth,
        "renderers": results,
    }
    summarise(compared, BASELINE)
    return compared


def triangles_of(scene: Scene) -> int:
    """How many triangles a scene has."""
    meshes = Gltf(scene.file, any_extension=True).placed_meshes()
    return sum(len(mesh.triangles) for mesh in meshes)


def command_line() -> str:
    """This command; of a file only its name, since its folder is this machine's."""
    given = [Path(part).name if Path(part).exists() else part for part in sys.argv[1:]]
    return shlex.join(["compare.py", *given])


def main() -> None:
    flags = arguments()
    load = os.getloadavg()[0]
    if load > IDLE_LOAD:
        say(f"warning: the machine is not idle (load {load:.1f}); trust ratios, not rates")
    hold_to_processors(flags.threads)
    OUT.mkdir(parents=True, exist_ok=True)
    renderers = chosen_renderers(flags)
    results = {
        "command": command_line(),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "threads": flags.threads, "load_before": load},
        "versions": {},
        "baseline": BASELINE,
        "rounds": flags.rounds,
        "reference_spp": flags.reference_spp,
        "scenes": [],
    }
    out = flags.out or RESULTS
    for scene in chosen_scenes(flags):
        results["scenes"].append(compare(scene, renderers, flags, results["versions"]))
        # After each scene, so that a run that is cut short leaves what it found.
        out.write_text(json.dumps(results, indent=1) + "\n")
    if not flags.out:
        write_report()


if __name__ == "__main__":
    main()
