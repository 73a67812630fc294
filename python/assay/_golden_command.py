"""The command `assay golden`, which the program starts. The function is `assay.golden`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._command import Parser, asks_for_json, end_cleanly_on_signals, fail, say
from ._errors import AssayError, MachineError, UsageError
from ._manifest import FILE
from ._text import visible

if TYPE_CHECKING:
    from ._reference import Reference

_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def byte_count(text: str) -> int | None:
    """A size as the command line takes it: 300k, 1M, 2500000; none is no limit."""
    if text == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)B?", text)
    if not match or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"'{text}', expected a size such as 300k or 1M, or none")
    return int(float(match[1]) * _UNITS[match[2]])


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="assay golden",
        description="Write a golden bundle: a reference set small enough for a repository. `assay compare` and the"
        " pytest plugin compare with it, and need no checkpoint.",
        epilog="Exit codes: 0 success, 2 wrong usage, 3 bad input, 4 system error.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL",
                        help="checkpoint, or a reference directory to take a part of [the bundled model]")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("tests/assay_golden"), metavar="DIR",
                        help="directory to write [%(default)s]")  # fmt: skip
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="a prompt; may be repeated [four short ones]")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="file of prompts: one per line, or .jsonl")
    parser.add_argument("--taps", action="append", metavar="GLOBS",
                        help="take only arrays with such names, separated by commas [whatever fits]")  # fmt: skip
    parser.add_argument("--max-bytes", type=byte_count, default="1M", metavar="SIZE",
                        help="largest size of all files together: 300k, 2M, none [%(default)s]")  # fmt: skip
    parser.add_argument("--max-new-tokens", type=int, default=8, metavar="N",
                        help="tokens to generate greedily [%(default)s]")  # fmt: skip
    parser.add_argument("--update", type=Path, metavar="DIR",
                        help="make the bundle in DIR again, as its own manifest says")  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads [all cores]")
    parser.add_argument("--stream", action="store_true", help="keep at most one layer's weights in memory")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    try:
        end_cleanly_on_signals()
        options = _parser().parse_args(arguments)
        from ._golden import golden, update_golden

        shared: dict[str, Any] = {"threads": options.threads, "stream": options.stream}
        if options.update:
            written = update_golden(options.update, model=options.model, **shared)
        else:
            prompts = options.prompt
            if options.prompts is not None:
                if prompts:
                    raise UsageError("--prompt and --prompts: both given; expected one of them")
                prompts = options.prompts
            taps = [g for text in options.taps for g in text.split(",")] if options.taps else None
            written = golden(options.model, options.out, prompts=prompts, taps=taps, max_bytes=options.max_bytes,
                             max_new_tokens=options.max_new_tokens, **shared)  # fmt: skip
        say(json.dumps(_described(written), indent=2) if options.json else _report(written))
    except ModuleNotFoundError as error:
        message = f"golden needs {error.name}: pip install assay for {sys.executable}, or name another interpreter in"
        return fail(MachineError(f"{message} ASSAY_PYTHON"), asks_for_json(arguments))
    except (AssayError, OSError, MemoryError) as error:
        return fail(error, asks_for_json(arguments))
    except KeyboardInterrupt:
        return 130
    return 0


def _described(written: Reference) -> dict[str, Any]:
    files = {f for p in written.manifest["prompts"] for f in p["files"].values()} | {FILE}
    return {
        "schema": "assay.golden/1",
        "out": str(written.path),
        "bytes": sum((written.path / f).stat().st_size for f in files),
        "prompts": [
            {"id": p["id"], "tokens": len(p.get("input_ids", [])), "arrays": list(p["arrays"]),
             "bytes": sum((written.path / f).stat().st_size for f in p["files"].values()),
             "left_out": written.manifest["golden"]["left_out"].get(p["id"], [])}
            for p in written.manifest["prompts"]
        ],
    }  # fmt: skip


def _report(written: Reference) -> str:
    described = _described(written)
    lines = [f"{'prompt':<12}{'tokens':>8}{'arrays':>8}{'left out':>10}{'size':>12}"]
    for p in described["prompts"]:
        lines.append(f"{p['id']:<12}{p['tokens']:>8}{len(p['arrays']):>8}{len(p['left_out']):>10}"
                     f"{p['bytes'] / 1000:>9.1f} kB")  # fmt: skip
    left_out = {name: None for p in described["prompts"] for name in p["left_out"]}
    lines.append("")
    if left_out:
        names = list(left_out)
        shown = ", ".join(map(visible, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        lines.append(f"Left out, at least of one prompt, to stay within {written.manifest['golden']['max_bytes']:,}"
                     f" bytes:\n  {shown}")  # fmt: skip
    lines.append(f"Written to {visible(described['out'])}: {described['bytes'] / 1000:.1f} kB")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
