"""Candidates with a fault, made by transformers, and the diagnoses of `assay diagnose`."""

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from assay_cli import assay_program
from assay_hf.model import HfModel
from assay_hf.taps import classic_taps, hooks, tap_names
from fault_base import Fault
from faults_decode import PREFILL

LEVELS = ("all", "layers", "logits")
MASKED = float(np.finfo(np.float32).min)
# In these blocks the input of the second norm is not the stream after attention, as the recorder
# assumes.
OTHER_BLOCKS = ("parallel-block", "norm-place")

Arrays = dict[str, np.ndarray]
Change = Callable[[HfModel, ExitStack], None]


@dataclass
class Answer:
    """A parsed diagnosis."""

    verdict: str
    names: list[str]  # of all findings, and of the first one's alternatives
    first: str | None  # the first tap with an error
    report: dict[str, Any] = field(repr=False)

    def all_names(self) -> set[str]:
        """The names of all findings and their alternatives."""
        return {
            name
            for finding in self.report["findings"]
            for name in [finding["id"], *(other["id"] for other in finding["alternatives"])]
        }

    def rank(self, entry: str) -> int | None:
        """Place of the entry among the answers, from 1."""
        return self.names.index(entry) + 1 if entry in self.names else None


def copy_of(model: HfModel) -> HfModel:
    other = copy.copy(model)
    other.net = copy.deepcopy(model.net)
    return other


def run(model: HfModel, changes: Iterable[Change], ids: list[int], decode: bool) -> Arrays:
    """Every tap of the changed model."""
    changed = copy_of(model)
    with ExitStack() as stack:
        for change in changes:
            change(changed, stack)
        if decode:
            return record_decode(changed, ids)
        return _all_taps(changed, ids)


def _all_taps(model: HfModel, ids: list[int]) -> Arrays:
    """Like record(), but a layer that is left out has no taps."""
    seen: Arrays = {}
    with hooks(model, keep_in(seen)):
        seen["logits"] = array(model.forward(ids))
    return {name: seen[name] for name in tap_names(model) if name in seen}


def keep_in(seen: Arrays) -> Callable[[str, torch.Tensor], None]:
    def keep(name: str, value: torch.Tensor) -> None:
        seen[name] = array(value)

    return keep


def array(value: torch.Tensor) -> np.ndarray:
    return value.detach().to(torch.float32).contiguous().numpy().copy()


def record_decode(model: HfModel, ids: list[int]) -> Arrays:
    """PREFILL tokens at once and the rest one by one, like an engine that generates."""
    steps: list[Arrays] = []
    cache = DynamicCache(config=model.config)
    pieces = [ids[:PREFILL], *([token] for token in ids[PREFILL:])]
    with torch.inference_mode():
        for piece in pieces:
            seen: Arrays = {}
            with hooks(model, keep_in(seen)):
                out = model.net(torch.tensor([piece]), past_key_values=cache, use_cache=True)
            seen["logits"] = array(out.logits)
            steps.append(seen)
    joined: Arrays = {}
    for name in steps[0]:
        rows = [step[name] for step in steps]
        if name.endswith(("attn_scores", "attn_probs")):
            whole = np.full(
                (1, rows[0].shape[1], len(ids), len(ids)),
                MASKED if name.endswith("scores") else 0,
                np.float32,
            )
            at = 0
            for row in rows:
                whole[:, :, at : at + row.shape[2], : row.shape[3]] = row
                at += row.shape[2]
            joined[name] = whole
        else:
            joined[name] = np.concatenate(rows, axis=1)
    return joined


def at_level(model: HfModel, arrays: Arrays, level: str, entry: str = "") -> Arrays:
    names = {"all": list(arrays), "layers": classic_taps(model), "logits": ["logits"]}[level]
    if entry in OTHER_BLOCKS:
        names = [name for name in names if not name.endswith("attn_residual")]
    return {name: arrays[name] for name in names if name in arrays}


def diagnose(model: Path, ids: list[int], arrays: Arrays, scratch: Path) -> Answer:
    return ask(model, dump(ids, arrays, scratch))


def dump(ids: list[int], arrays: Arrays, scratch: Path) -> Path:
    file, path = tempfile.mkstemp(suffix=".npz", dir=scratch)
    os.close(file)
    np.savez(path, input_ids=np.array([ids], np.int64), **arrays)
    return Path(path)


def ask(model: Path, candidate: Path, threads: int = 2) -> Answer:
    """Reads the answer and removes the candidate."""
    command = [assay_program(), "diagnose", "--json", "--threads", threads]
    command += ["--model", model, "--candidate", candidate]
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    candidate.unlink()
    assert done.returncode in (0, 1), done.stderr.decode()
    report = json.loads(done.stdout)
    names: list[str] = []
    for finding in report["findings"]:
        names.append(finding["id"])
    if report["findings"]:
        names += [other["id"] for other in report["findings"][0]["alternatives"]]
    first = report["first"]["tap"] if report["first"] else None
    return Answer(report["verdict"], names, first, report)


def diagnose_faults(
    model: HfModel, faults: list[Fault], ids: list[int], scratch: Path, levels: Iterable[str]
) -> dict[str, dict[str, Answer]]:
    """The answers for each fault by name, at each level. Makes one fault while others are diagnosed."""
    with ThreadPoolExecutor(2) as pool:
        answers: dict[str, dict[str, Future[Answer]]] = {}
        for fault in faults:
            arrays = run(model, [fault.change], ids, fault.decode)
            answers[fault.name] = {
                level: pool.submit(
                    ask,
                    model.directory,
                    dump(ids, at_level(model, arrays, level, fault.entry), scratch),
                    1,
                )
                for level in levels
            }
        return {
            name: {level: answer.result() for level, answer in of_level.items()}
            for name, of_level in answers.items()
        }
