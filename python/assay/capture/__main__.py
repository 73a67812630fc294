"""assay capture: reference activations of any HuggingFace transformers model."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from assay._command import Parser, asks_for_json, end_cleanly_on_signals, fail, say
from assay._errors import AssayError, MachineError
from assay._models import find_model

NEEDED = "pip install numpy torch transformers"


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The options by name; None: those of the command line. UsageError if they are wrong."""
    parser = Parser(
        prog="assay capture",
        description="Write reference activations of any HuggingFace transformers model, made by"
        " transformers itself with hooks on every module.",
        epilog="Exit codes: 0 success, 2 wrong usage, 3 bad input, 4 system error.",
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="checkpoint directory, or the name of a model in Hugging Face's local cache",
    )
    parser.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="a prompt; may be repeated"
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help='file of prompts: one per line, or .jsonl with "text" or "input_ids"',
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE.npz",
        help="further arguments of the model's forward pass, by name: pixel_values,"
        " input_features, decoder_input_ids, attention_mask, ...",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reference_data"), help="output directory [%(default)s]"
    )
    parser.add_argument(
        "--runs",
        default="bf16,f64,f32",
        metavar="LIST",
        help="bf16, f64, f32: the first is the reference, a later f64 is its oracle, a later f32"
        " tells how far an FP32 engine may be off [%(default)s]",
    )
    parser.add_argument(
        "--taps",
        action="append",
        default=[],
        metavar="GLOB",
        help="record only arrays with such names; may be repeated (default: all)",
    )
    parser.add_argument(
        "--map",
        type=Path,
        metavar="FILE",
        help='rules for names: {"transformer.h.{layer}.attn": "layer_{layer}_attn_output", ...}',
    )
    parser.add_argument(
        "--store", choices=["f32", "f64"], default="f32", help="type of the oracle [%(default)s]"
    )
    parser.add_argument(
        "--compression",
        choices=["none", "fast", "small"],
        default="fast",
        help="compression of the files [%(default)s]",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: torch's)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    options = parser.parse_args(arguments)
    options.runs = options.runs.split(",")
    for run in options.runs:
        if run not in ("bf16", "f32", "f64") or options.runs.count(run) > 1:
            parser.error(f"--runs: '{run}', expected bf16, f64 and f32, each at most once")
    if options.threads is not None and not 1 <= options.threads <= 1024:
        parser.error(f"--threads: {options.threads}, expected 1 to 1024")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit code; errors are printed."""
    try:
        end_cleanly_on_signals()  # and the runs are ended
        options = parse_arguments(arguments)
        if not options.model.exists():
            with suppress(ImportError):  # the cache is looked up by the installed package
                options.model = find_model(options.model)
        from assay.capture.capture import capture, report

        say(report(options.out, capture(options), as_json=options.json))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "assay":
            raise
        needed = MachineError(f"capture needs the Python package {error.name}: {NEEDED}")
        return fail(needed, asks_for_json(arguments))
    except (AssayError, OSError, MemoryError, RuntimeError) as error:
        return fail(error, asks_for_json(arguments))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
