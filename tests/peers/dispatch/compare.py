"""Empty tasks through Ray and through our farm, in turns on this machine.

usage: compare.py [--rounds N] [--tiles N] [--tasks N] [--nodes N] [--json FILE]

Needs Python 3.9 to 3.13 and a release build of `farm`:
    cargo build --release --locked --bin farm
    python3 tests/peers/dispatch/compare.py
Ray is installed under target/peers/ray-venv, as requirements.txt pins it; nothing
else is touched, and no root is needed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VENV = ROOT / "target" / "peers" / "ray-venv"


def python_with_ray():
    python = VENV / "bin" / "python"
    if not python.exists():
        print(f"making {VENV}", file=sys.stderr)
        venv.create(VENV, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
    return python


def run(command):
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--tiles", type=int, default=400_000, help="empty tiles of a round of ours")
    arguments.add_argument("--tasks", type=int, default=20_000, help="empty tasks of a round of Ray's")
    arguments.add_argument("--nodes", type=int, default=8, help="nodes of ours, workers of Ray's")
    arguments.add_argument("--farm", default=ROOT / "target" / "release" / "farm")
    arguments.add_argument("--json", type=pathlib.Path)
    arguments = arguments.parse_args()
    python = python_with_ray()
    ours, rays = [], []
    for number in range(arguments.rounds):
        rays.append(run([python, HERE / "ray_tasks.py", str(arguments.tasks), str(arguments.nodes)]))
        ours.append(
            run(
                [arguments.farm, "bench", "dispatch", "--json", "--quiet"]
                + ["--tiles", str(arguments.tiles), "--nodes", str(arguments.nodes)]
            )
        )
        print(
            f"round {number + 1}: Ray {rays[-1]['tasks_per_second']:,.0f} tasks/s, "
            f"ours {ours[-1]['tiles_per_second']:,.0f} tiles/s",
            file=sys.stderr,
        )
    rows = [
        (f"Ray {rays[0]['version']}", [report["tasks_per_second"] for report in rays]),
        (f"Tessera {ours[0]['version']}", [report["tiles_per_second"] for report in ours]),
    ]
    print("| | median | lowest | highest |")
    print("| --- | --- | --- | --- |")
    for name, rates in rows:
        print(f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ray": rays, "ours": ours}, indent=2) + "\n")


if __name__ == "__main__":
    main()
