"""Times `assay extract` against the same extraction through transformers, at Qwen3-0.6B's size.

    python bench/full_size.py [--model DIR] [--runs 3]

Both run the three default prompts in BF16 with 20 greedy tokens, one after the other in turns, and
write the classic reference set. Without --model a checkpoint with random weights is made, and
removed at the end. Times are of the whole process, Python's start included, as a user waits for it.
assay decodes the three prompts together, so that a step reads the weights once for all of them;
transformers takes one after the other.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
ASSAY = Path(os.environ.get("ASSAY", ROOT / "build" / "assay")).resolve()

# Torch's threads spin while they wait. That makes it several times slower as soon as anything else
# runs on the machine, so without this the benchmark would measure the neighbours.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", **os.environ}


@dataclass(frozen=True)
class Run:
    seconds: float
    # Resident pages of mapped files count, so that a mapped checkpoint is seen like a read one.
    peak_bytes: int


def run(command: Sequence[str | Path], log: Path) -> Run:
    """Runs to the end; a failure ends the benchmark with the program's own message."""
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=ENVIRONMENT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        message = log.read_text(encoding="utf-8", errors="replace")
        sys.exit(f"{' '.join(map(str, command))}\nfailed ({process.returncode}):\n{message}")
    # Linux counts kilobytes.
    return Run(seconds, usage.ru_maxrss * 1024)


def synthesize(directory: Path) -> Path:
    print("making a random checkpoint of Qwen3-0.6B's shape", file=sys.stderr, flush=True)
    options = ["--like", "Qwen3-0.6B", "--seed", "1", "--out", directory]
    subprocess.run([ASSAY, "synth", *options], check=True, stdout=subprocess.DEVNULL)
    return directory


def weight_bytes(model: Path) -> int:
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


def report(name: str, runs: list[Run], weights: int) -> None:
    times = ", ".join(f"{r.seconds:.2f}" for r in runs)
    median = statistics.median(r.seconds for r in runs)
    peak = max(r.peak_bytes for r in runs)
    print(
        f"{name:<13} {median:8.2f} s  peak {peak / 1e9:5.2f} GB, "
        f"{peak / weights:4.2f} x weights  (runs: {times})"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="checkpoint (default: a random one is made)")
    parser.add_argument("--runs", type=int, default=3, help="of each engine (default: 3)")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return options


def main() -> None:
    options = parse_arguments()
    if not ASSAY.is_file():
        sys.exit(f"{ASSAY} is not there: run `make build`, or set ASSAY")
    with TemporaryDirectory(prefix="assay-bench-") as name:
        scratch = Path(name)
        model = options.model or synthesize(scratch / "model")
        weights = weight_bytes(model)
        script = ROOT / "python" / "extract_reference.py"
        commands: dict[str, list[str | Path]] = {
            "assay": [ASSAY, "extract", "--numerics", "bf16"],
            "transformers": [sys.executable, script, "--dtype", "bf16"],
        }
        runs: dict[str, list[Run]] = {engine: [] for engine in commands}
        # In turns, so that a slow minute of the machine hits both.
        for turn in range(options.runs):
            for engine, command in commands.items():
                done = run(
                    [*command, "--model", model, "--out", scratch / engine],
                    scratch / f"{engine}.log",
                )
                runs[engine].append(done)
                print(f"run {turn + 1}: {engine} {done.seconds:.2f} s", file=sys.stderr, flush=True)
        print(
            f"weights {weights / 1e9:.2f} GB, {os.cpu_count()} cores, median of {options.runs}, "
            f"load average {os.getloadavg()[0]:.1f}"
        )
        for engine in commands:
            report(engine, runs[engine], weights)
        medians = {e: statistics.median(r.seconds for r in of) for e, of in runs.items()}
        print(f"assay takes {medians['assay'] / medians['transformers']:.2f} x transformers' time")


if __name__ == "__main__":
    main()
