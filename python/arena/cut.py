"""The tokenizer of a checkpoint whose vocabulary is smaller: its first tokens."""

import json
from pathlib import Path
from typing import Any


def cut_tokenizer(folder: Path, size: int) -> dict[str, Any]:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    bpe = tokenizer["model"]
    bpe["vocab"] = {token: i for token, i in bpe["vocab"].items() if i < size}
    merges = [m if isinstance(m, list) else m.split(" ") for m in bpe["merges"]]
    bpe["merges"] = [m for m in merges if "".join(m) in bpe["vocab"]]
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["id"] < size]
    return tokenizer
