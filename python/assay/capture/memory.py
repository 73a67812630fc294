"""Whether the runs fit in memory: refused beforehand rather than killed."""

from pathlib import Path

from assay.capture.errors import InputError
from assay.capture.files import count_parameters

_BYTES = {"bf16": 2, "f32": 4, "f64": 8}
_ELSE = 300_000_000  # torch, transformers and the activations of short prompts


def expect_room(directory: Path, runs: list[str]) -> None:
    """Throws an InputError if the weights of the largest run exceed what is free."""
    free = free_memory()
    if free is None:
        return
    parameters = count_parameters(directory)
    for run in sorted(runs, key=_BYTES.__getitem__, reverse=True):
        needed = _BYTES[run] * parameters + _ELSE
        if needed > free:
            raise InputError(
                f"{directory}: the {run} run does not fit in memory: {parameters:,} parameters of"
                f" {_BYTES[run]} bytes and 0.3 GB for the rest are {needed / 1e9:.1f} GB,"
                f" {free / 1e9:.1f} GB are free; use a larger machine, or leave it out with --runs"
                + (" (then there are no noise ratios)" if run == "f64" else "")
            )


def free_memory() -> int | None:
    """Bytes that a process may still take: what is free or can be freed, within the limits of its
    control group. None if the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvail")), None)
    limits = [free] if free is not None else []
    for group in _groups():
        try:
            limit = (group / "memory.max").read_text(encoding="ascii").strip()
            used = int((group / "memory.current").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            limits.append(max(0, int(limit) - used + _cached(group)))
    return min(limits, default=None)


def _groups() -> list[Path]:
    """The process's control group and those around it."""
    root = Path("/sys/fs/cgroup")
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in own if line.startswith("0::")), None)
    if path is None:
        return []
    group = root / path.lstrip("/")
    return [g for g in (group, *group.parents) if g.is_relative_to(root)]


def _cached(group: Path) -> int:
    """Page cache of a group, which can be freed."""
    for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
