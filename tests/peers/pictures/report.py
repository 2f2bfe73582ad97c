"""Turns docs/pictures.json into the tables of docs/pictures.md.

    python report.py
"""

import json

import shared_modules  # noqa: F401
from cases import known_reasons
from places import ROOT

DOCS = ROOT / "docs"
RESULTS = DOCS / "pictures.json"
PAGE = DOCS / "pictures.md"
FOLDER = DOCS / "pictures"
BEGIN, END = "<!-- pictures: begin -->", "<!-- pictures: end -->"
HEADER = [
    "| materials | against | mean, R G B | pixels | blocks | noise of blocks | worst block "
    "| verdict |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


def read_results() -> list[dict]:
    """What was found so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def write_results(old: list[dict], new: list[dict]) -> None:
    """Keeps the old ones that are not found anew, in the order of their names."""
    by_slug = {case["slug"]: case for case in [*old, *new]}
    cases = sorted(by_slug.values(), key=lambda case: (case["name"], case["materials"] != "as they are"))
    RESULTS.write_text(json.dumps(cases, indent=1) + "\n")


def tables(cases: list[dict]) -> str:
    """The block between the markers: a table and strips for each scene."""
    names = list(dict.fromkeys(case["name"] for case in cases))
    lines = ["## What differs by intent", ""]
    for name, text in known_reasons().items():
        lines += [f"### {name}", "", text, ""]
    lines += ["## What was found", ""]
    for name in names:
        lines += scene_lines([case for case in cases if case["name"] == name])
    return "\n".join(lines).rstrip()


def scene_lines(cases: list[dict]) -> list[str]:
    """All of one scene."""
    first = cases[0]
    width, height = first["size"]
    lines = [
        f"### {first['name']}",
        "",
        f"Under {first['light']}; {width}×{height} pixels, twice {first['spp']} samples each, "
        f"paths of {first['max_depth']} segments; {first['date']}, {versions(first)}.",
        "",
        *HEADER,
    ]
    lines += [row(case, line) for case in cases for line in case["renderers"]]
    both = [(case, line) for case in cases for line in case["renderers"]]
    reasons = [reason for case, line in both for reason in reasons_of(case, line)]
    lines += ["", *reasons] if reasons else []
    for case in cases:
        shown = [line["name"] for line in case["renderers"] if "missing" not in line]
        whom = ", ".join(["ours", *shown, f"ours against {shown[0]}"] if shown else ["ours"])
        picture = f"![{case['name']}, materials {case['materials']}: {whom}]"
        lines += ["", f"{picture}({FOLDER.name}/{case['slug']}.png)"]
    return [*lines, ""]


def versions(case: dict) -> str:
    return ", ".join(
        f"{'Tessera on' if name == 'adapter' else name} {version}"
        for name, version in case["versions"].items()
    )


def row(case: dict, line: dict) -> str:
    """One renderer's line."""
    if "missing" in line:
        return f"| {case['materials']} | {line['name']} | not shown: {line['missing']} |  |  |  |  |  |"
    widest = max(line["mean_ratio_errors"])
    cells = [
        case["materials"],
        line["name"],
        " ".join(f"{ratio:.4f}" for ratio in line["mean_ratios"]) + f" ± {widest:.4f}",
        # Rounded down, so that 99.75 % is never written of less.
        f"{int(line['pixels_passing'] * 10_000) / 100:.2f} %",
        f"{100 * line['block_error']:.2f} %",
        f"{100 * line['block_noise']:.2f} %",
        f"{100 * line['worst_block']:+.1f} % at {line['worst_block_at'][0]}, {line['worst_block_at'][1]}",
        f"**{line['verdict']}**" if line["verdict"] == "differs" else line["verdict"],
    ]
    return f"| {' | '.join(cells)} |"


def reasons_of(case: dict, line: dict) -> list[str]:
    """Links from a line that differs by intent to why it does."""
    if line.get("verdict") != "by intent":
        return []
    names = ", ".join(f"[{name}](#{name})" for name in line["reasons"])
    return [f"- {line['name']}, materials {case['materials']}: {names}."]


def write_page() -> None:
    """Puts the tables between the page's markers."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(read_results())}\n{END}{after}")


if __name__ == "__main__":
    write_page()
