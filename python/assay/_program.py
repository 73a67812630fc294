"""The command `assay`: the program that lies in the package."""

import os
import sys
from pathlib import Path


def main() -> int:
    """Becomes the program. What it runs in Python (chat templates, capture) runs in this Python."""
    program = Path(__file__).parent / "bin/assay"
    if not program.is_file():
        print(f"assay: error: {program}: no such file; expected the program of an installed package",
              file=sys.stderr)  # fmt: skip
        return 4
    os.environ["ASSAY_PYTHON"] = sys.executable
    os.execv(program, [str(program), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
