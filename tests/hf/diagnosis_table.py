"""The table of docs/diagnose.md, from what test_diagnose.py left in build/: put in its place there.

PYTHONPATH=python .venv/bin/python tests/hf/diagnosis_table.py
"""

import json
import re

from assay_cli import ROOT
from diagnosis import LEVELS
from faults import FAULTS

COLUMNS = [("bundled", "bf16"), ("bundled", "f32"), ("medium", "bf16"), ("medium", "f32")]
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """For each fault its place among the answers, per level."""
    ranks = {
        (m, n): json.loads((ROOT / "build" / f"diagnose-{m}-{n}.json").read_text("utf-8"))
        for m, n in COLUMNS
    }
    titles = [f"{'random' if m == 'medium' else m} {n}" for m, n in COLUMNS]
    lines = ["| fault | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for fault in FAULTS:
        found = [ranks[column].get(fault.name) for column in COLUMNS]
        cells = [" ".join(str(f[x] or "-") for x in f) if f else "" for f in found]
        lines.append(f"| {fault.name} | " + " | ".join(cells) + " |")
    shares = []
    for column in COLUMNS:
        cells = []
        for level in LEVELS:
            places = [f[level] for f in ranks[column].values() if level in f]
            most = 3 if level == "logits" else 1
            good = sum(p is not None and p <= most for p in places)
            cells.append(f"{100 * good / len(places):.1f} %" if places else "")
        shares.append(" ".join(cells))
    lines.append("| **ranked first (with only logits: among the first 3)** | " + " | ".join(shares) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    page = ROOT / "docs" / "diagnose.md"
    text = page.read_text("utf-8")
    old = re.escape(BEGIN) + ".*?" + re.escape(END)
    page.write_text(re.sub(old, lambda _: BEGIN + table() + END, text, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
