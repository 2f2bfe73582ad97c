"""Turns docs/peers-speed.json into the table of docs/peers.md and a plot.

    python report.py
"""

import json
import statistics
from pathlib import Path

import shared_modules  # noqa: F401
from places import ROOT

DOCS = ROOT / "docs"
RESULTS = DOCS / "peers-speed.json"
PAGE = DOCS / "peers.md"
PLOT = DOCS / "peers-speed.png"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
COLOURS = ["#8a5a2b", "#d0a060", "#4a6fa5", "#2e8b57", "#70b890", "#a8d8bc"]


def summarise(scene: dict, baseline: str) -> None:
    """Adds to each renderer of a scene what its rounds come to.

    Ratios are taken round by round, against the baseline's turn in the same
    round, before the median: a machine that slows down slows both.
    """
    base = next((found for found in scene["renderers"] if found["name"] == baseline), None)
    for found in scene["renderers"]:
        rounds = found["rounds"]
        if not rounds:
            continue
        rates = [turn["samples"] / turn["seconds"] for turn in rounds]
        found["samples_per_second"] = statistics.median(rates)
        found["samples_per_second_range"] = [min(rates), max(rates)]
        if base and len(base["rounds"]) == len(rounds):
            base_rates = [turn["samples"] / turn["seconds"] for turn in base["rounds"]]
            found["speed_ratio"] = statistics.median(
                rate / base_rate for rate, base_rate in zip(rates, base_rates, strict=True)
            )
        if found["relative_mses"]:
            summarise_error(scene, found)
    if base and "error_seconds" in base:
        for found in scene["renderers"]:
            if "error_seconds" in found:
                error = base["relative_mse"]
                found["seconds_to_equal_error"] = found["error_seconds"] / error
                found["efficiency_ratio"] = base["error_seconds"] / found["error_seconds"]


def summarise_error(scene: dict, found: dict) -> None:
    """Error times seconds: what does not change with the number of samples."""
    samples = scene["width"] * scene["height"] * scene["spp"]
    found["relative_mse"] = statistics.median(found["relative_mses"])
    found["error_seconds"] = found["relative_mse"] * samples / found["samples_per_second"]


def table(results: dict) -> str:
    """The block between the markers."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Measured on {results['date']} with {machine['threads']} threads of "
        f"{machine['processor']}, {results['rounds']} rounds, by `{results['command']}`; {versions}.",
        "",
    ]
    for scene in results["scenes"]:
        lines += scene_table(scene, results["baseline"])
    lines.append(f"![Speed and efficiency of the renderers]({PLOT.name})")
    return "\n".join(lines)


def scene_table(scene: dict, baseline: str) -> list[str]:
    """The heading and the table of one scene."""
    lines = [
        f"**{scene['name']}**: {scene['title']}; {scene['triangles']:,} triangles, "
        f"{scene['width']}×{scene['height']} pixels, {scene['spp']} samples each, "
        f"paths of {scene['max_depth']} segments.",
        "",
        f"| renderer | Msamples/s | lowest to highest | against {baseline} "
        "| relative MSE | seconds to equal error | efficiency | mean radiance |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in scene["renderers"]:
        if found.get("failed") or "samples_per_second" not in found:
            lines.append(f"| {found['name']} | failed |  |  |  |  |  |  |")
            continue
        low, high = found["samples_per_second_range"]
        cells = [
            found["name"],
            f"{found['samples_per_second'] / 1e6:.3g}",
            f"{low / 1e6:.3g} to {high / 1e6:.3g}",
            number(found, "speed_ratio", ".2f"),
            number(found, "relative_mse", ".2e"),
            number(found, "seconds_to_equal_error", ".3g"),
            number(found, "efficiency_ratio", ".2f"),
            f"{found['mean_radiance']:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def number(found: dict, key: str, format: str) -> str:
    return f"{found[key]:{format}}" if key in found else "–"


def rewrite_page(block: str) -> None:
    """Puts the block between the page's markers."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}")


def plot(results: dict, path: Path) -> None:
    """Bars of speed and of efficiency, both against the baseline."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(r["name"] for scene in results["scenes"] for r in scene["renderers"]))
    panels = [("speed_ratio", "samples per second"), ("efficiency_ratio", "1 / (error × time)")]
    figure, all_axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axes, (key, title) in zip(all_axes, panels, strict=True):
        width = 0.84 / len(names)
        for place, name in enumerate(names):
            heights = [value_of(scene, name, key) for scene in results["scenes"]]
            left = [index - 0.42 + (place + 0.5) * width for index in range(len(heights))]
            colour = COLOURS[place % len(COLOURS)]
            bars = axes.bar(left, heights, 0.92 * width, label=name, color=colour)
            labels = [f"{height:.2f}" if height else "" for height in heights]
            axes.bar_label(bars, labels, fontsize=7, padding=1)
        axes.axhline(1.0, color="0.3", linewidth=0.8, zorder=0)
        axes.set_xticks(range(len(results["scenes"])), [scene["name"] for scene in results["scenes"]])
        axes.set_title(f"{title}, {results['baseline']} = 1", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=110)


def value_of(scene: dict, name: str, key: str) -> float:
    """A renderer's number in a scene; 0, no bar, where it has none."""
    return next((r.get(key, 0.0) for r in scene["renderers"] if r["name"] == name), 0.0)


def write_report() -> None:
    """Rewrites the page and the plot."""
    results = json.loads(RESULTS.read_text())
    plot(results, PLOT)
    rewrite_page(table(results))


if __name__ == "__main__":
    write_report()
