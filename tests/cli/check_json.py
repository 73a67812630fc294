"""Checks the JSON of every command against docs/schema, and docs/schema against what commands print.

Arguments: the program, the repository. Needs jsonschema (Debian: python3-jsonschema). An undocumented field
fails, because the schemas allow no others; so does a documented field that no output here has.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator

PROGRAM, ROOT = Path(sys.argv[1]), Path(sys.argv[2])
MODEL = ROOT / "models/tiny-qwen3"
SCHEMAS = {}
seen = set()
failures = []

# Fields that need more than these small cases: an array that diverges in an MoE because of a tie.
NEVER_HERE = {("assay.compare/1", "same_until")}


def fail(text):
    failures.append(text)
    print(f"FAIL {text}")


def load_schemas():
    for path in sorted((ROOT / "docs/schema").glob("*.schema.json")):
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        name = schema["properties"]["schema"]["const"]
        SCHEMAS[name] = schema
        if path.name != name.split(".")[1].replace("_", "-").replace("/", "-") + ".schema.json":
            fail(f"{path.name} describes {name}")


def fields(node, inside):
    """All (object, property) of a schema, each object as the id of its node."""
    if isinstance(node, dict):
        if "properties" in node:
            if node.get("additionalProperties") is not False:
                fail(f"{inside}: an object allows other fields: {sorted(node['properties'])}")
            for name, value in node["properties"].items():
                if "description" not in value and "$ref" not in value:
                    fail(f"{inside}: no description of {name}")
                yield id(node), name
        for value in node.values():
            yield from fields(value, inside)
    elif isinstance(node, list):
        for value in node:
            yield from fields(value, inside)


def note_fields(schema, value, root):
    """Notes which documented fields a valid value has."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for choice in schema.get("anyOf", []):
        if Draft202012Validator({**choice, "$defs": root.get("$defs", {})}).is_valid(value):
            note_fields(choice, value, root)
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in schema.get("properties", {}):
                seen.add((id(schema), name))
                note_fields(schema["properties"][name], inner, root)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for inner in value:
            note_fields(schema["items"], inner, root)


def run(*words, code=0, schema=None, lines=False, text=None):
    """Runs a command with --json and checks what it prints; returns it."""
    words = [str(word) for word in words]
    done = subprocess.run([PROGRAM, *words, "--json"], capture_output=True, text=True, input=text)
    shown = "assay " + " ".join(words)
    if done.returncode != code:
        fail(f"{shown}: exit code {done.returncode}, not {code}: {done.stderr}")
    try:
        found = [json.loads(part) for part in (done.stdout.splitlines() if lines else [done.stdout])]
    except ValueError as error:
        fail(f"{shown}: not JSON: {error}: {done.stdout[:200]}")
        return {}
    for value in found:
        name = value.get("schema") if isinstance(value, dict) else None
        if name not in SCHEMAS or (schema and name != schema):
            fail(f"{shown}: schema {name}, not {schema}")
            continue
        errors = list(Draft202012Validator(SCHEMAS[name]).iter_errors(value))
        for error in errors[:5]:
            fail(f"{shown}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
        if not errors:
            note_fields(SCHEMAS[name], value, SCHEMAS[name])
    return found[0] if found else {}


def changed_model(directory, change):
    """A copy of the bundled model with another config."""
    shutil.copytree(MODEL, directory)
    config = json.loads((directory / "config.json").read_text())
    change(config)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def small_config(**own):
    return {"model_type": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512,
            "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False, **own}


def safetensors(path, tensors):
    """Writes F32 tensors: name -> (shape, numbers)."""
    header, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        raw = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def small_commands(scratch):
    run("--version", schema="assay.version/1")
    run("synth", "--list", schema="assay.models/1")
    run("bench", "--list", schema="assay.models/1")
    run("compare", "--list", schema="assay.maps/1")
    run("extract", "--list", schema="assay.taps/1")
    run("diagnose", "--list", schema="assay.mistakes/1")
    run("doctor", schema="assay.doctor/1")
    damaged = scratch / "damaged"
    shutil.copytree(MODEL, damaged)
    (damaged / "tokenizer.json").write_text("{")
    run("doctor", "--model", damaged, code=1, schema="assay.doctor/1")
    run("tokenize", "Hello", "grüße \U0001f600", schema="assay.tokenize/1", lines=True)
    run("tokenize", "--ids", "276,295", schema="assay.tokenize/1", lines=True)
    run("generate", "Hello", "--max-new-tokens", "3", schema="assay.generate/1")
    run("bench", "--runs", "1", schema="assay.bench/1")
    (scratch / "config.json").write_text(json.dumps(small_config()))
    run("synth", "--config", scratch / "config.json", "--out", scratch / "small", schema="assay.synth/1")


def explanations(scratch):
    run("explain", schema="assay.explain/1")
    run("explain", "--layer", "3", schema="assay.explain/1")
    configs = {
        "moe": small_config(model_type="qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                            decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True),
        "window": small_config(model_type="mistral", sliding_window=16),
        "phi3": small_config(model_type="phi3", original_max_position_embeddings=512, rope_scaling={
            "type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}),
    }
    for name, config in configs.items():
        directory = scratch / f"explain-{name}"
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(config))
        run("explain", "--model", directory, schema="assay.explain/1")


def comparisons(scratch):
    reference = scratch / "reference"
    run("extract", "--numerics", "bf16,f64", "--taps", "*", "--max-new-tokens", "4", "--out", reference,
        schema="assay.extract/1")
    (scratch / "ids.jsonl").write_text('{"input_ids": [1, 2, 3]}\n')
    run("extract", "--prompts", scratch / "ids.jsonl", "--out", scratch / "ids", schema="assay.extract/1")
    other_base = changed_model(scratch / "other-base", lambda config: config.update(rope_theta=10000))
    wrong = scratch / "wrong"
    run("extract", "--model", other_base, "--taps", "*", "--max-new-tokens", "4", "--out", wrong,
        "--prompt", "The capital of France is", "--prompt", "What is 2+2?", schema="assay.extract/1")
    good = reference / "prompt2/reference.npz"
    bad = wrong / "prompt1/reference.npz"
    run("compare", reference, good, schema="assay.compare/1")
    run("compare", reference, good, "--model", MODEL, "--profile", "table", "--as", "f32", schema="assay.compare/1")
    run("compare", reference, bad, "--model", MODEL, "--html", scratch / "report.html", "--prompt", "prompt2",
        code=1, schema="assay.compare/1")
    run("compare", reference, wrong, code=1, schema="assay.compare/1")
    run("compare", good, good, "--tolerance", "0.1", schema="assay.compare/1")
    run("extract", "--numerics", "f32", "--max-new-tokens", "1", "--prompt", "Hello", "--out", scratch / "f32",
        schema="assay.extract/1")
    run("compare", reference, scratch / "f32/prompt1/reference.npz", schema="assay.compare/1")
    # Under unknown names, in another layout, with one array that cannot be read.
    arrays = run("inspect", good, "layer_00_output", "logits", "layer_00_q_norm", "--slice", ":",
                 schema="assay.inspect/1")

    def flat(value):
        return [x for inner in value for x in flat(inner)] if isinstance(value, list) else [value]

    values = {array["name"]: (array["shape"], flat(array["slice"])) for array in arrays["arrays"]}
    shape, numbers = values["layer_00_output"]
    nan = [float("nan")] + values["logits"][1][1:]
    safetensors(scratch / "odd.safetensors", {
        "hidden": (shape, numbers), "logits": (values["logits"][0], nan),
        "layer_02_output": ([3], [1.0, 2.0, 3.0]), "what": ([2], [0.0, float("inf")]),
        "layer_01_output": (shape[1:], numbers)})
    run("compare", reference, scratch / "odd.safetensors", "--prompt", "prompt2", code=1, schema="assay.compare/1")
    run("compare", reference, scratch / "odd.safetensors", "--prompt", "prompt2", "--suggest-map",
        scratch / "rules.json", schema="assay.map_draft/1")
    run("diagnose", "--reference", reference, "--candidate", good, schema="assay.diagnose/1")
    run("diagnose", "--reference", reference, "--candidate", bad, "--prompt", "prompt2", code=1,
        schema="assay.diagnose/1")
    run("diagnose", "--reference", reference, "--candidate", scratch / "odd.safetensors", "--prompt", "prompt2",
        code=1, schema="assay.diagnose/1")
    # Without RoPE; with so few tokens another mistake explains it as well.
    shape, numbers = values["layer_00_q_norm"]
    safetensors(scratch / "unrotated.safetensors", {name: (shape, numbers) for name in
                                                    ("layer_00_q_norm", "layer_00_q_rope")})
    run("diagnose", "--reference", reference, "--candidate", scratch / "unrotated.safetensors", "--prompt", "prompt2",
        code=1, schema="assay.diagnose/1")
    run("diagnose", "--power", "--text", "Hello", schema="assay.power/1")
    return reference


def inspections(scratch, reference):
    file = reference / "prompt2/reference.npz"
    run("inspect", file, "logits", "--channels", "2", "--histogram", "3", "--slice", "0,-1,:3",
        schema="assay.inspect/1")
    run("inspect", reference, schema="assay.inspect/1")
    run("inspect", reference, "logits", schema="assay.inspect/1")
    run("inspect", MODEL, schema="assay.inspect/1")
    run("inspect", scratch / "odd.safetensors", schema="assay.inspect/1")
    dumps = scratch / "dumps"
    dumps.mkdir()
    shutil.copy(file, dumps / "a.npz")
    (dumps / "b.json").write_text("{}")
    run("inspect", dumps, code=3, schema="assay.inspect/1")
    run("inspect", ROOT / "tests/formats/data/msprobe", schema="assay.inspect/1")
    unknown = changed_model(scratch / "unknown", lambda config: config.update(model_type="gpt2"))
    run("inspect", unknown, "model.norm.weight", schema="assay.inspect/1")
    manifest = json.loads((reference / "manifest.json").read_text())
    manifest["model"]["config"]["model_type"] = "gpt2"
    (reference / "manifest.json").write_text(json.dumps(manifest))
    run("inspect", reference, schema="assay.inspect/1")
    # An array that is cut off: the other one is shown, and the exit code tells.
    pieces = scratch / "pieces"
    pieces.mkdir()
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }".ljust(117) + b"\n"
    whole = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack("<2f", 1, 2)
    (pieces / "a.npy").write_bytes(whole)
    (pieces / "b.npy").write_bytes(whole[:-4])
    run("inspect", pieces, code=3, schema="assay.inspect/1")


def errors(scratch):
    run("compare", "--nothing", code=2, schema="assay.error/1")
    run("synth", code=2, schema="assay.error/1")
    run("capture", code=2, schema="assay.error/1")
    # A Python that has nothing to import.
    os.environ["ASSAY_PYTHON"] = str(scratch / "python")
    Path(os.environ["ASSAY_PYTHON"]).write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -I -S -c "$@"\n')
    Path(os.environ["ASSAY_PYTHON"]).chmod(0o755)
    run("capture", scratch, code=4, schema="assay.error/1")
    del os.environ["ASSAY_PYTHON"]
    run("compare", scratch / "none", scratch / "none", code=3, schema="assay.error/1")
    run("explain", "--markdown", code=2, schema="assay.error/1")
    if os.geteuid() != 0 or Path("/proc/self").exists():
        run("extract", "--out", "/proc/nothing", code=4, schema="assay.error/1")


def chats(scratch):
    (scratch / "chat.json").write_text('[{"role": "user", "content": "Hi"}]')
    run("tokenize", "--conversation", scratch / "chat.json", schema="assay.tokenize/1", lines=True)


load_schemas()
documented = {name: set(fields(schema, name)) for name, schema in SCHEMAS.items()}
with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    os.environ["XDG_CACHE_HOME"] = name
    small_commands(place)
    explanations(place)
    inspections(place, comparisons(place))
    errors(place)
    chats(place)
# They need torch and the Python package: tests/hf/test_capture.py, tests/python/test_golden.py.
documented.pop("assay.capture/1")
documented.pop("assay.golden/1")
for name, pairs in documented.items() if not failures else []:
    unseen = {field for node, field in pairs if (node, field) not in seen}
    for field in sorted(unseen - {field for schema, field in NEVER_HERE if schema == name}):
        fail(f"{name}: no output here has the documented field '{field}'")
total = sum(map(len, documented.values()))
print(f"{len(SCHEMAS)} schemas, {total} fields, {len(seen)} seen, {len(failures)} failures")
sys.exit(bool(failures))
