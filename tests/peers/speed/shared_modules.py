"""Imported first: lets this folder's scripts import the modules of tests/peers/shared."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))
