"""Where things lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / "target" / "peers"
"""What `setup.sh` made, and all that a comparison leaves behind."""
