"""What every renderer's script is asked, and how it answers.

Each script renders one scene once in a process of its own and prints one JSON
object as the only line of its standard output:

    seconds, samples    what `samples / seconds` may be taken of: rendering
                        alone, without start, load, and building a tree
    cpu_seconds         of all threads in that time: less than the threads could
                        have had means that others used the machine
    seconds_reported    the renderer's own word on it, where it has one; a
                        cross-check that no number of ours is made of
    versions            of what rendered
"""

import argparse
import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class View:
    """A camera for a file that has none: where it stands and where it looks, +Y up."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    yfov: float
    """Radians."""

    def word(self) -> str:
        """The view as one argument."""
        return ",".join(repr(number) for number in (*self.position, *self.target, self.yfov))


@dataclass(frozen=True)
class Moment:
    """A frame of an animation; frame N is N frames after its start."""

    animation: str
    """By its name, or by its number where it has none."""
    frame: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frame / self.fps

    def word(self) -> str:
        """The moment as one argument."""
        return f"{self.frame}/{self.fps!r}/{self.animation}"


@dataclass(frozen=True)
class Request:
    """One picture to render."""

    scene: Path
    width: int
    height: int
    spp: int
    max_depth: int
    """Longest path in segments: 1 sees emitters and the sky only."""
    seed: int
    threads: int
    sky: tuple[float, float, float]
    """Linear radiance of a constant sky; black where there is none or a map."""
    environment: Path | None
    picture: Path
    """Where the linear RGB goes, as .npy: float32, height × width × 3."""
    timed: bool
    """Whether seconds are wanted; a reference needs none and saves the warm-up."""
    view: View | None = None
    """For peers, in the place of the file's camera; ours frames such a file by itself."""
    moment: Moment | None = None
    """None: the scene at rest."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def flags(self) -> list[str]:
        """The command line that `parse` reads back."""
        flags = ["--scene", str(self.scene), "--size", f"{self.width}x{self.height}"]
        flags += ["--spp", str(self.spp), "--max-depth", str(self.max_depth)]
        flags += ["--seed", str(self.seed), "--threads", str(self.threads)]
        flags += ["--sky", ",".join(map(str, self.sky)), "--picture", str(self.picture)]
        if self.environment:
            flags += ["--environment", str(self.environment)]
        if self.view:
            # One word, as the first number may be negative.
            flags += [f"--view={self.view.word()}"]
        if self.moment:
            flags += [f"--moment={self.moment.word()}"]
        return flags if self.timed else [*flags, "--untimed"]


def parse_size(text: str) -> tuple[int, int]:
    """`512x512` as width and height."""
    width, height = text.split("x")
    return int(width), int(height)


def parse_colour(text: str) -> tuple[float, float, float]:
    """`1,0.5,0` as three numbers."""
    red, green, blue = map(float, text.split(","))
    return red, green, blue


def parse_view(text: str) -> View:
    """The numbers of `View.word`."""
    numbers = [float(word) for word in text.split(",")]
    if len(numbers) != 7:
        raise ValueError("a view has seven numbers")
    return View(tuple(numbers[:3]), tuple(numbers[3:6]), numbers[6])


def parse_moment(text: str) -> Moment:
    """What `Moment.word` wrote."""
    frame, fps, animation = text.split("/", 2)
    return Moment(animation, int(frame), float(fps))


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that all scripts share; a script adds its own."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--scene", type=Path, required=True)
    flags.add_argument("--size", type=parse_size, required=True, metavar="WxH")
    flags.add_argument("--spp", type=int, required=True)
    flags.add_argument("--max-depth", type=int, required=True)
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--threads", type=int, required=True)
    flags.add_argument("--sky", type=parse_colour, default=(0.0, 0.0, 0.0), metavar="R,G,B")
    flags.add_argument("--environment", type=Path)
    flags.add_argument("--view", type=parse_view, metavar="X,Y,Z,TX,TY,TZ,YFOV")
    flags.add_argument("--moment", type=parse_moment, metavar="FRAME/FPS/ANIMATION")
    flags.add_argument("--picture", type=Path, required=True, metavar="OUT.npy")
    flags.add_argument("--untimed", action="store_true")
    return flags


def request_of(flags: argparse.Namespace) -> Request:
    """The request that the flags of `parser` make."""
    width, height = flags.size
    return Request(
        scene=flags.scene,
        width=width,
        height=height,
        spp=flags.spp,
        max_depth=flags.max_depth,
        seed=flags.seed,
        threads=flags.threads,
        sky=flags.sky,
        environment=flags.environment,
        picture=flags.picture,
        timed=not flags.untimed,
        view=flags.view,
        moment=flags.moment,
    )


def low_spp(spp: int) -> int:
    """The smaller of the two sample counts whose difference is timed.

    A quarter: enough is left to time, and both are powers of two if `spp` is,
    which the Sobol samplers of ours and of Cycles like best.
    """
    return max(spp // 4, 1)


def cpu_seconds(whose: int = resource.RUSAGE_SELF) -> float:
    """Processor time so far, of this process or of those it has waited for."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


class Answer:
    """Keeps the standard output for the one line of JSON.

    Everything else that is printed, by libraries in C++ too, goes to the
    standard error from the moment that this is made.
    """

    def __init__(self) -> None:
        self._stdout = os.dup(1)
        os.dup2(2, 1)

    def give(self, **fields: object) -> None:
        """Prints the answer."""
        sys.stdout.flush()
        os.write(self._stdout, (json.dumps(fields) + "\n").encode())
