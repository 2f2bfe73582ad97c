"""Compares our pictures with those of Cycles and Mitsuba 3; see docs/pictures.md.

    sh tests/peers/setup.sh
    cargo build --release --bin farm
    target/peers/venv/bin/python tests/peers/pictures/compare.py

Renders each file with each renderer at two seeds, judges ours by judge.py, and
writes docs/pictures.json, the page, and a strip of pictures for each scene under
docs/pictures/. A file that is compared again takes its old place there. Ends
with 1 where ours differs by more than is known and allowed in cases.toml.
"""

import argparse
import datetime
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import shared_modules  # noqa: F401
from cases import MATERIALS, SIZE, SPP, Case, cases_of, default_models
from judge import Estimate, Limits, judge
from places import OUT, ROOT
from renderers import Failed, Renderer, ours, peers
from report import FOLDER, read_results, write_page, write_results
from request import Request, parse_colour, parse_size
from strips import write_strip

# Apart by more than the launches that a long render of Mitsuba's counts up to.
SEEDS = (1, 1_001)
OUR_ARGUMENTS = "--adapter cpu --cpu {threads} --no-cache"
# The file's meaning, where speed alone would not ask for it.
PEER_FLAGS = {"render_cycles.py": ("--as-gltf",), "render_mitsuba.py": ("--model", "gltf")}
SCRATCH = OUT / "pictures"
KEPT = SCRATCH / "kept"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument(
        "files", nargs="*", type=Path, help=".glb or .gltf [default: those of scenes/]"
    )
    flags.add_argument("--assets", type=Path, metavar="DIR", help="a folder of glTF sample models")
    flags.add_argument(
        "--size",
        type=parse_size,
        metavar="WxH",
        help=f"[default: what cases.toml has for the file, else {SIZE[0]}x{SIZE[1]}]",
    )
    flags.add_argument(
        "--spp", type=int, help=f"samples of a pixel, for each seed [default: likewise, else {SPP}]"
    )
    flags.add_argument("--max-depth", type=int, default=8)
    light = flags.add_mutually_exclusive_group()
    light.add_argument("--sky", type=parse_colour, metavar="R,G,B", help="in the place of the file's")
    light.add_argument("--environment", type=Path, metavar="FILE.hdr")
    flags.add_argument(
        "--materials", choices=["both", *MATERIALS], default="both", help="which kinds [default: both]"
    )
    flags.add_argument("--only", metavar="PARTS", help="cases with one of these in their names, by commas")
    flags.add_argument("--peers", default="cycles,mitsuba llvm", help="parts of their names, by commas")
    flags.add_argument(
        "--farm",
        type=Path,
        default=Path(os.environ.get("TESSERA_FARM", ROOT / "target" / "release" / "farm")),
        help="the binary `farm` [env: TESSERA_FARM]",
    )
    flags.add_argument("--ours", default=OUR_ARGUMENTS, help="arguments for `farm render`")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--limit-seconds", type=float, default=900.0, help="of one render")
    flags.add_argument("--afresh", action="store_true", help="use no picture of an earlier run")
    flags.add_argument("--json", type=Path, metavar="FILE", help="write what was found here too")
    flags.add_argument("--no-docs", action="store_true", help="leave docs/ alone")
    return flags.parse_args()


def request_of(case: Case, flags: argparse.Namespace, seed: int) -> Request:
    """One picture of a case; ours frames a file without a camera by itself."""
    width, height = case.size
    return Request(
        scene=case.file(SCRATCH / "scenes"),
        width=width,
        height=height,
        spp=case.spp,
        max_depth=flags.max_depth,
        seed=seed,
        threads=flags.threads,
        sky=case.sky,
        environment=case.environment,
        picture=SCRATCH / "picture.npy",
        timed=False,
        view=case.view,
        moment=case.moment,
    )


def render(case: Case, renderer: Renderer, flags: argparse.Namespace) -> tuple[Estimate, dict]:
    """The two renders of a case, and the versions of what made them."""
    pictures, versions = [], {}
    for seed in SEEDS:
        picture, versions = kept_picture(renderer, request_of(case, flags, seed), flags)
        pictures.append(picture)
    return Estimate.of(*pictures), versions


def kept_picture(
    renderer: Renderer, request: Request, flags: argparse.Namespace
) -> tuple[np.ndarray, dict]:
    """A render, kept under target/ for as long as nothing changes it.

    What a .gltf names is not looked at, only the .gltf: that is what --afresh is for.
    """
    file = KEPT / f"{renderer.digest(request)}.npy"
    answer = file.with_suffix(".json")
    if flags.afresh or not answer.exists():
        begun = file.with_name(f"{file.stem}.part.npy")
        answered = renderer.render(replace(request, picture=begun), flags.limit_seconds)
        begun.rename(file)
        answer.write_text(json.dumps(answered))
    return np.load(file), json.loads(answer.read_text())["versions"]


def compare(
    case: Case, our: Renderer, others: list[Renderer], flags: argparse.Namespace
) -> dict:
    """Renders and judges one case; what the page says of it."""
    mine, versions = render(case, our, flags)
    found, references = [], []
    for other in others:
        try:
            reference, theirs = render(case, other, flags)
        except Failed as failure:
            reason = str(failure).splitlines()[-1].removeprefix("gltf.Unsupported: ")
            say(f"{case.title()}: {other.name} shows no picture: {reason}")
            found.append({"name": other.name, "missing": reason})
            continue
        references.append(reference)
        versions |= theirs
        found.append(verdict(case, other, mine, reference))
    write_strip_of(case, mine, references, flags)
    return {
        "name": case.name,
        "materials": case.materials,
        "slug": case.slug(),
        "size": list(case.size),
        "spp": case.spp,
        "max_depth": flags.max_depth,
        "light": light_of(case),
        "date": datetime.date.today().isoformat(),
        "versions": versions,
        "renderers": found,
    }


def verdict(case: Case, other: Renderer, mine: Estimate, reference: Estimate) -> dict:
    """One line of the table."""
    found = judge(mine, reference)
    intent = case.intents.get(other.name.split()[0].lower())
    word = "differs"
    if found.within(Limits()):
        word = "agrees"
    elif intent and found.within(intent.limits):
        word = "by intent"
    ratios = ", ".join(f"{ratio:.4f}" for ratio in found.mean_ratios)
    say(
        f"{case.title()}: {other.name} {word}; means {ratios}, {found.pixels_passing:.2%} of pixels, "
        f"blocks {found.block_error:.2%}, worst {found.worst_block:+.1%} at {found.worst_block_at}"
    )
    line = {"name": other.name, "verdict": word, **asdict(found)}
    return line | {"reasons": intent.reasons} if word == "by intent" else line


def light_of(case: Case) -> str:
    """What lights a case, in words; of a file only its name."""
    if case.environment:
        return case.environment.name
    if any(case.sky):
        return f"a sky of {', '.join(f'{part:g}' for part in case.sky)}"
    return "the file's own lights"


def write_strip_of(
    case: Case, mine: Estimate, references: list[Estimate], flags: argparse.Namespace
) -> None:
    """Under docs/, or beside the renders where docs/ is left alone."""
    folder = SCRATCH if flags.no_docs else FOLDER
    write_strip(folder / f"{case.slug()}.png", mine, references)


def chosen_peers(names: str) -> list[Renderer]:
    """In the order asked for: the difference picture is against the first."""
    wanted = names.lower().split(",")
    found = [peer for part in wanted for peer in peers() if part in peer.name.lower()]
    return [replace(peer, flags=(*peer.flags, *PEER_FLAGS.get(peer.script, ()))) for peer in found]


def chosen_cases(flags: argparse.Namespace) -> list[Case]:
    """The cases of the command line."""
    kinds = MATERIALS if flags.materials == "both" else (flags.materials,)
    models = flags.files or default_models(flags.assets)
    found = [
        case
        for model in models
        for case in cases_of(
            model.resolve(), kinds, flags.farm, flags.sky, flags.environment, flags.size, flags.spp
        )
    ]
    if flags.only:
        found = [case for case in found if any(part in case.name for part in flags.only.split(","))]
    if any(case.view and case.size[0] < case.size[1] for case in found):
        sys.exit("error: a file without a camera is compared in pictures as wide as high, or wider")
    return found


def main() -> None:
    flags = arguments()
    if not flags.farm.exists():
        sys.exit(f"error: there is no {flags.farm}\nhint: cargo build --release --bin farm")
    flags.farm = flags.farm.resolve()
    KEPT.mkdir(parents=True, exist_ok=True)
    our = ours("Tessera", flags.ours, flags.farm)
    others = chosen_peers(flags.peers)
    found = []
    for case in chosen_cases(flags):
        found.append(compare(case, our, others, flags))
        # After each, so that a run that is cut short leaves what it found.
        if flags.json:
            flags.json.write_text(json.dumps(found, indent=1) + "\n")
        if not flags.no_docs:
            write_results(read_results(), found)
            write_page()
    sys.exit(any(line.get("verdict") == "differs" for case in found for line in case["renderers"]))


if __name__ == "__main__":
    main()
