"""Captures a reference set: a process for each run, then the files."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from assay._errors import MachineError
from assay.capture import files, memory
from assay.capture.errors import InputError, UsageError, said, visible
from assay.capture.names import names_of_file
from assay.capture.prompts import Prompt, collect_prompts
from assay.capture.reference import Runs, kept_arrays, write_prompt
from assay.capture.spool import SpoolReader


def capture(options: argparse.Namespace, in_process: bool = False) -> dict[str, Any]:
    """Runs the model once for each of options.runs and writes the reference set to options.out.
    Returns the manifest. in_process: does not start processes (for tests: a double run changes what
    torch.float32 is as long as it lasts). Throws InputError and UsageError."""
    files.read_config(options.model)
    files.weight_files(options.model)
    eos_token_ids = files.read_eos_token_ids(options.model)
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    if options.map:
        names_of_file(options.map, 1)  # reports what is wrong with it
    inputs = _read_inputs(options.inputs)
    prompts = _prompts(options, inputs)
    tokens = _tokenize(prompts, options.model)
    memory.expect_room(options.model, options.runs)
    is_new = not options.out.exists()
    work = options.out / f".capture-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(1) as hashing:
            model = hashing.submit(files.describe_model, options.model)
            _run_all(options, prompts, inputs, work / "runs", in_process)
            generation = {"max_new_tokens": 0, "eos_token_ids": eos_token_ids}
            described = {"model": model.result(), "generation": generation}
            return _write(options, prompts, tokens, work, described)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it is not empty: the run succeeded
                options.out.rmdir()


def _read_inputs(file: Path | None) -> dict[str, np.ndarray]:
    if file is None:
        return {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # of a damaged file numpy, zipfile and zlib throw all kinds
        raise InputError(f"{file}: not an .npz of arrays: {said(error)}") from error
    for name, array in read.items():
        if not name.isidentifier() or array.dtype.kind not in "fiub" or array.size == 0:
            raise InputError(
                f"{file}: array '{name}' is {array.dtype}{list(array.shape)}, expected numbers"
                " under the name of an argument"
            )
    ids = read.get("input_ids")
    if ids is not None and (ids.ndim != 2 or len(ids) != 1 or ids.dtype.kind not in "iu"):
        raise InputError(
            f"{file}: array 'input_ids' is {ids.dtype}{list(ids.shape)}, expected integers [1, S]"
        )
    return read


def _prompts(options: argparse.Namespace, inputs: dict[str, np.ndarray]) -> list[Prompt]:
    if options.prompt or options.prompts:
        if "input_ids" in inputs:
            raise InputError(f"{options.inputs}: has input_ids, expected them or prompts, not both")
        return collect_prompts(options.prompt, options.prompts)
    if not inputs:
        return collect_prompts([], [])
    ids = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
    return [Prompt("prompt1", None, ids)]


def _tokenize(prompts: list[Prompt], directory: Path) -> list[list[str]] | None:
    """Fills in the ids of prompts that came as text. Returns the text of every token, if the
    checkpoint has a tokenizer.json."""
    tokenizer: Any = None
    if (directory / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers throws nothing more precise
            raise InputError(f"{directory / 'tokenizer.json'}: {said(error)}") from error
    for prompt in prompts:
        if prompt.text is None:
            continue
        prompt.input_ids = _encode(directory, tokenizer, prompt.text)
        if not prompt.input_ids:
            raise InputError(f"{prompt.id}: no tokens, expected at least one")
    if tokenizer is None:
        return None
    return [
        [tokenizer.decode([i], skip_special_tokens=False) for i in prompt.input_ids or []]
        for prompt in prompts
    ]


def _encode(directory: Path, tokenizer: Any, text: str) -> list[int]:
    """tokenizer: of tokenizer.json, or None: then it is transformers that knows the files."""
    try:
        if tokenizer is not None:
            return list(tokenizer.encode(text).ids)
        from transformers import AutoTokenizer

        other = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return list(other(text)["input_ids"])
    except MemoryError:
        raise
    except Exception as error:  # of damaged files both libraries throw all kinds
        raise InputError(
            f"{directory}: no tokenizer that can be used ({said(error)}), and prompts are text;"
            ' expected one, or prompts as ids: .jsonl with "input_ids"'
        ) from error


def _run_all(
    options: argparse.Namespace,
    prompts: list[Prompt],
    inputs: dict[str, np.ndarray],
    spools: Path,
    in_process: bool,
) -> None:
    """Makes a directory of spools for each run."""
    spools.mkdir()
    ids = [None if "input_ids" in inputs or not p.input_ids else p.input_ids for p in prompts]
    jobs = []
    for numerics in options.runs:
        out = spools / numerics
        out.mkdir()
        jobs.append(
            {
                "model": str(options.model),
                "numerics": numerics,
                "store": options.store if numerics == "f64" else "f32",
                "prompts": ids,
                "inputs": str(options.inputs) if options.inputs else None,
                "out": str(out),
                "plan": None if numerics == options.runs[0] else str(spools / options.runs[0]),
                "taps": [glob for taps in options.taps for glob in taps.split(",")],
                "map": str(options.map) if options.map else None,
                "threads": options.threads,
                "progress": sys.stderr.isatty(),
            }
        )
    if in_process:
        from assay.capture.run import Job, run

        for job in jobs:
            run(Job(**job))
        return
    # Only the running process has a model in memory. The next one meanwhile imports torch and
    # transformers, which takes seconds, and waits for its job.
    started = [_start()]
    try:
        for n, job in enumerate(jobs):
            if n + 1 < len(jobs):
                started.append(_start())
            _run_process(started[n], job, spools / f"{job['numerics']}.json")
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _start() -> "subprocess.Popen[str]":
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "assay.capture.run"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt is for this process, which ends the others
    )


def _run_process(process: "subprocess.Popen[str]", job: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(job), encoding="utf-8")
    _, told = process.communicate(f"{file}\n")
    _say("")
    if process.returncode == 0:
        return
    error = Path(job["out"]) / "error"
    kinds = {2: UsageError, 3: InputError, 4: MachineError}
    if process.returncode in kinds and error.is_file():
        raise kinds[process.returncode](error.read_text(encoding="utf-8"))
    lines = (told or "").strip().splitlines()
    if process.returncode == -9:
        raise MemoryError(
            f"the {job['numerics']} run was killed, probably because the memory was full: fewer"
            " --runs or a larger machine"
        )
    raise RuntimeError(" | ".join([f"the {job['numerics']} run failed", *lines[-6:]]))


def _say(text: str) -> None:
    """Shows what is being done, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _write(
    options: argparse.Namespace,
    prompts: list[Prompt],
    tokens: list[list[str]] | None,
    work: Path,
    described: dict[str, Any],
) -> dict[str, Any]:
    """described: the manifest's `model` and `generation`."""
    warnings: list[str] = []
    runs = [
        Runs({n: SpoolReader(work / "runs" / n / f"{p}.bin") for n in options.runs})
        for p in range(len(prompts))
    ]
    warnings += runs[0].first.notes.get("warnings", [])

    def write(p: int, pool: Executor) -> dict[str, Any]:
        _say(f"writing {prompts[p].id}")
        directory = work / "prompts" / prompts[p].id
        directory.mkdir(parents=True)
        kept = kept_arrays(runs[p], warnings, prompts[p].id)
        ids = prompts[p].input_ids
        tokens_here = len(ids) if ids else None
        return write_prompt(directory, runs[p], kept, tokens_here, options.compression, pool)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        arrays = [write(p, pool) for p in range(len(prompts))]
    has_oracle = "f64" in options.runs[1:]
    manifest: dict[str, Any] = {
        "schema": files.SCHEMA,
        "producer": files.describe_producer(),
        "numerics": options.runs[0],
        "oracle": "f64" if has_oracle else None,
        "data_flow": "modules",
        "architecture": runs[0].first.notes["architecture"],
        **described,
    }
    if warnings:
        manifest["warnings"] = warnings
    manifest["prompts"] = [
        {
            "id": prompt.id,
            "text": prompt.text,
            "input_ids": prompt.input_ids or [],
            "tokens": tokens[p] if tokens else None,
            "generated_text": None,
            "stopped": "length",
            "files": {
                "reference": f"{prompt.id}/reference.npz",
                **({"oracle": f"{prompt.id}/oracle.npz"} if has_oracle else {}),
            },
            "arrays": arrays[p],
        }
        for p, prompt in enumerate(prompts)
    ]
    _say("")
    # Without a manifest the directory is known to be unfinished.
    (options.out / "manifest.json").unlink(missing_ok=True)
    for prompt in prompts:
        (options.out / prompt.id).mkdir(exist_ok=True)
        for file in (work / "prompts" / prompt.id).iterdir():
            file.replace(options.out / prompt.id / file.name)
    files.write_json(options.out / "manifest.json", manifest)
    return manifest


def report(out: Path, manifest: dict[str, Any], as_json: bool) -> str:
    """What was written, for the terminal or as JSON."""
    written = []
    for prompt in manifest["prompts"]:
        for role, path in prompt["files"].items():
            size = (out / path).stat().st_size
            written.append(
                {"role": role, "path": path, "bytes": size, "arrays": len(prompt["arrays"])}
            )
    warnings = manifest.get("warnings", [])
    if as_json:
        what = {"schema": "assay.capture/1", "out": str(out), "files": written}
        return json.dumps(what | {"warnings": warnings}, indent=2)
    width = max(len(file["path"]) for file in written)
    lines = [f"{'file':{width}}  arrays       size"]
    for file in written:
        lines.append(f"{file['path']:{width}}  {file['arrays']:6}  {_size(file['bytes']):>9}")
    lines.append(
        f"\n{manifest['architecture']}, written to {out}; manifest.json lists every array with\n"
        "  shape, SHA-256, statistics, noise and what it is computed from."
    )
    lines += [f"warning: {warning}" for warning in warnings]
    return "\n".join(visible(part) for line in lines for part in line.split("\n"))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
