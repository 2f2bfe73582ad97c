"""The renderers of the comparison, each a command that answers a request."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from places import OUT
from request import Request

HERE = Path(__file__).resolve().parent
BASELINE = "Cycles CPU"
"""What speeds and efficiencies are compared with: it shows all scenes."""


class Failed(Exception):
    """A renderer gave no picture; the message holds its last lines."""


@dataclass(frozen=True)
class Renderer:
    """A script of this folder with its own flags."""

    name: str
    script: str
    flags: tuple[str, ...] = ()
    binary: Path | None = None
    """What else its picture hangs on."""

    def render(self, request: Request, limit_seconds: float) -> dict:
        """Renders in a process of its own; what the script answers."""
        command = [sys.executable, str(HERE / self.script), *request.flags(), *self.flags]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        try:
            answer, noise = process.communicate(timeout=limit_seconds)
        except BaseException as error:
            # With the processes that it started, which have its session.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"took longer than {limit_seconds:.0f} s") from error
            raise
        if process.returncode != 0:
            raise Failed("\n".join(noise.strip().splitlines()[-4:]) or "no message")
        return json.loads(answer)

    def digest(self, request: Request) -> str:
        """Names the picture that an untimed request would give, for the cache."""
        hashed = hashlib.sha256()
        size = f"{request.width}x{request.height}"
        numbers = [size, request.spp, request.max_depth, request.seed, request.sky]
        numbers += [request.view.word()] if request.view else []
        numbers += [request.moment.word()] if request.moment else []
        hashed.update(json.dumps([self.script, self.flags, *numbers]).encode())
        sources = [request.scene, request.environment, self.binary]
        sources += [HERE / self.script, HERE.parent / "requirements.txt"]
        sources += [HERE / "gltf.py"]
        sources += sorted(HERE.glob("cycles_*.py")) if "cycles" in self.script else []
        sources += sorted(HERE.glob("gltf_*.py")) if "mitsuba" in self.script else []
        for path in filter(None, sources):
            hashed.update(hashlib.sha256(path.read_bytes()).digest())
        return hashed.hexdigest()[:24]


def environment() -> dict[str, str]:
    """The environment, with the LLVM that `setup.sh` found."""
    found = OUT / "llvm-path"
    variables = dict(os.environ)
    if found.exists():
        variables.setdefault("DRJIT_LIBLLVM_PATH", found.read_text().strip())
    return variables


def peers() -> list[Renderer]:
    """The renderers of others."""
    return [
        Renderer("Mitsuba llvm", "render_mitsuba.py", ("--variant", "llvm_ad_rgb")),
        Renderer("Mitsuba scalar", "render_mitsuba.py", ("--variant", "scalar_rgb")),
        Renderer(BASELINE, "render_cycles.py"),
    ]


def ours(name: str, arguments: str, farm: Path) -> Renderer:
    """One way to run ours; `{threads}` in the arguments is their number."""
    flags = ("--farm", str(farm), f"--extra={arguments}")
    return Renderer(name, "render_ours.py", flags, farm)
