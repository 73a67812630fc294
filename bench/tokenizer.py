"""Times `assay tokenize` against the tokenizers library on the same text, and its start-up.

    python bench/tokenizer.py [--model DIR] [--megabytes 10] [--runs 5]

The text is mixed: prose and code from this machine's Python, numbers, Chinese, Japanese and Korean,
emoji, whitespace. It comes as JSON lines, one document of --document characters each, and both
sides read JSON and give ids. Each uses one thread. The ids must be equal, or nothing is timed. A
run's start-up (an empty input) is taken off the time, so that the rate is of encoding alone.
"""

import argparse
import ast
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
ASSAY = Path(os.environ.get("ASSAY", ROOT / "build" / "assay")).resolve()
BUNDLED = ROOT / "models" / "tiny-qwen3"


def files(directory: Path, suffix: str, limit: int) -> str:
    text, size = [], 0
    for file in sorted(directory.rglob(f"*{suffix}")):
        if size >= limit:
            break
        text.append(file.read_text(encoding="utf-8", errors="ignore"))
        size += len(text[-1])
    return "".join(text)[:limit]


def prose(limit: int) -> str:
    """The library's docstrings: English without code around it."""
    parts, size = [], 0
    for file in sorted(Path(os.__file__).parent.rglob("*.py")):
        if size >= limit:
            break
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                if text := ast.get_docstring(node):
                    parts.append(text + "\n\n")
                    size += len(parts[-1])
    return "".join(parts)[:limit]


def mixed_text(size: int, document: int) -> list[str]:
    rng = random.Random(1)
    english = files(ROOT / "docs", ".md", 1 << 20) + prose(size // 3)
    code = files(ROOT / "src", ".cpp", size // 6) + files(Path(os.__file__).parent, ".py", size // 4)
    ranges = [(0x4E00, 0x9FA5, 6), (0x3041, 0x30FF, 2), (0xAC00, 0xD7A3, 2)]

    def words(make) -> str:
        return "".join(make() + rng.choice([" ", " ", ", ", "。", "\n"]) for _ in range(document // 8))

    def cjk() -> str:
        first, last, _ = rng.choices(ranges, [r[2] for r in ranges])[0]
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8)))

    def number() -> str:
        return rng.choice([str(rng.randrange(10 ** rng.randint(1, 12))), f"{rng.gauss(0, 1e3):.6g}"])

    def emoji() -> str:
        return "".join(chr(rng.randint(0x1F300, 0x1F64F)) for _ in range(rng.randint(1, 3)))

    def space() -> str:
        return rng.choice([" ", "\n", "\t", "\r\n"]) * rng.randint(1, 40) + "x"

    def accented() -> str:
        return "".join(rng.choice("aeiounçéèüößłřžабвгдежзикλμνος") for _ in range(rng.randint(2, 9)))

    kinds = {english: 35, code: 35, cjk: 12, number: 6, emoji: 3, space: 4, accented: 5}
    documents, total = [], 0
    while total < size:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if isinstance(kind, str):
            at = rng.randrange(max(1, len(kind) - document))
            text = kind[at : at + document]
        else:
            text = words(kind)
        documents.append(text)
        total += len(text.encode())
    return documents


def assay_seconds(command: list[str | Path], source: Path, out: Path) -> float:
    with source.open("rb") as stdin, out.open("wb") as stdout:
        start = time.perf_counter()
        subprocess.run(command, stdin=stdin, stdout=stdout, check=True)
        return time.perf_counter() - start


def report(name: str, values: list[float], unit: str) -> None:
    print(
        f"{name:<28} {statistics.median(values):8.2f} {unit:<5} ({min(values):.2f} to {max(values):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=BUNDLED, help="directory of tokenizer.json")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--document", type=int, default=4000, help="characters of a document")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    documents = mixed_text(int(options.megabytes * 1e6), options.document)
    size = sum(len(d.encode()) for d in documents) / 1e6
    lines = [json.dumps(d, ensure_ascii=False) for d in documents]
    library = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    command = [ASSAY, "tokenize", "--model", options.model, "--jsonl"]
    with TemporaryDirectory(prefix="assay-bench-") as name:
        text, nothing, out = (Path(name) / n for n in ("text.jsonl", "empty", "out"))
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        nothing.touch()

        def by_library() -> tuple[float, list[list[int]]]:
            start = time.perf_counter()
            # The library's quickest way: without offsets. In one thread, see above.
            texts = [json.loads(line) for line in lines]
            encodings = library.encode_batch_fast(texts, add_special_tokens=False)
            ids = [encoding.ids for encoding in encodings]
            return time.perf_counter() - start, ids

        expected = by_library()[1]
        assay_seconds(command, text, out)
        if [json.loads(line) for line in out.read_text().splitlines()] != expected:
            sys.exit("the ids differ: nothing timed")
        rates: dict[str, list[float]] = {"assay": [], "tokenizers": []}
        starts, ratios = [], []
        for _ in range(options.runs):
            starts.append(assay_seconds(command, nothing, out))
            rates["assay"].append(size / (assay_seconds(command, text, out) - starts[-1]))
            rates["tokenizers"].append(size / by_library()[0])
            ratios.append(rates["assay"][-1] / rates["tokenizers"][-1])
    print(f"{size:.1f} MB, {len(documents)} documents, {sum(map(len, expected))} tokens, ids equal")
    for engine, values in rates.items():
        report(f"{engine}, one thread", values, "MB/s")
    report("assay / tokenizers", ratios, "")
    report("assay's start-up", [1e3 * s for s in starts], "ms")


if __name__ == "__main__":
    main()
