"""Times how Assay writes an .npz against numpy's savez_compressed, on the same arrays.

    python bench/npz.py [--file FILE.npz] [--megabytes 200] [--turns 3]

The arrays are normally distributed values rounded to BF16 and widened to FP32, of a layer's shape,
or those of FILE. Assay's times include that the file is synced to the disk; numpy does not do that.
What Assay wrote is read back with numpy and must be equal.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WRITER = Path(os.environ.get("ASSAY", ROOT / "build" / "assay")).resolve().parent / "bench" / "npz"


def activations(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (1, 2048, 1024)
    arrays = {}
    for layer in range(max(1, round(size / (4 * np.prod(shape))))):
        bits = rng.standard_normal(shape, np.float32).view(np.uint32)
        # To the nearest BF16, ties to even; no value here is large enough to overflow.
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        arrays[f"layer_{layer:02}_output"] = bits.view(np.float32)
    return arrays


def report(name: str, seconds: list[float], raw: int, file: Path) -> None:
    rates = [raw / s / 1e6 for s in seconds]
    size = file.stat().st_size
    print(
        f"{name:<25} {statistics.median(rates):7.1f} MB/s ({min(rates):.1f} to {max(rates):.1f})"
        f"  {size / 1e6:.1f} MB, {raw / size:.2f} times smaller"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, help="arrays to write (default: random ones)")
    parser.add_argument("--megabytes", type=float, default=200, help="of random arrays")
    parser.add_argument("--turns", type=int, default=3, help="of each (default: 3)")
    options = parser.parse_args()
    if not WRITER.is_file():
        sys.exit(f"{WRITER} is not there: run `make bench-peers`, or set ASSAY")
    if options.file:
        with np.load(options.file) as file:
            arrays = dict(file)
    else:
        arrays = activations(int(options.megabytes * 1e6))
    raw = sum(array.nbytes for array in arrays.values())
    cores = len(os.sched_getaffinity(0))
    with TemporaryDirectory(prefix="assay-bench-") as name:
        source, theirs, ours = (Path(name) / f"{n}.npz" for n in ("source", "numpy", "assay"))
        np.savez(source, **arrays)

        def by_assay(threads: int) -> float:
            command = [WRITER, source, ours, str(threads)]
            return float(subprocess.run(command, check=True, capture_output=True).stdout)

        def by_numpy() -> float:
            start = time.perf_counter()
            np.savez_compressed(theirs, **arrays)
            return time.perf_counter() - start

        numpy_seconds = []
        assay_seconds: dict[int, list[float]] = {threads: [] for threads in sorted({1, cores})}
        for turn in range(options.turns):
            numpy_seconds.append(by_numpy())
            for threads, seconds in assay_seconds.items():
                seconds.append(by_assay(threads))
            print(f"turn {turn + 1} of {options.turns}", file=sys.stderr, flush=True)
        with np.load(ours) as file:
            for key, array in arrays.items():
                np.testing.assert_array_equal(file[key], array)
        print(f"{len(arrays)} arrays, {raw / 1e6:.0f} MB, {cores} cores")
        report("numpy savez_compressed", numpy_seconds, raw, theirs)
        for threads, seconds in assay_seconds.items():
            report(f"assay, {threads} thread{'s' if threads > 1 else ''}", seconds, raw, ours)
            ratios = [n / a for n, a in zip(numpy_seconds, seconds, strict=True)]
            size = ours.stat().st_size / theirs.stat().st_size
            print(
                f"  {statistics.median(ratios):.1f} times as fast "
                f"({min(ratios):.1f} to {max(ratios):.1f}), the file {size:.3f} of numpy's size"
            )


if __name__ == "__main__":
    main()
