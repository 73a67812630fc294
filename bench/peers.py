"""Times the engine against transformers and llama.cpp on the same weights: decode and prefill.

    python bench/peers.py [--model DIR] [--threads 1 2] [--turns 5]

Without --model a checkpoint of Qwen3-0.6B's shape with random weights is made, and removed at the
end; for llama.cpp the same weights are written as a BF16 GGUF. Each engine is a process of its own
that loads the model once and then gets orders; only one works at a time, in turns, so that a slow
minute of the machine hits all of them. Times are taken inside the processes, of the forward passes
alone, with the logits of the last position. Nothing is timed unless all agree on the logits.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from full_size import ASSAY, synthesize

ENGINE = ASSAY.parent / "bench" / "engine"

POSITIONS = 1024
# A figure's order to an engine, tokens that it computes, unit.
FIGURES = {
    "decode": ("decode 5 32", 32, "tokens/s"),
    "prefill 512": ("prefill 512", 512, "tokens/s"),
    "prefill 5": ("prefill 5", 5, "ms"),
}
OURS = ("assay bf16",)
PEERS = ("llama.cpp bf16", "transformers bf16", "transformers fp32")


def token_ids(vocab_size: int) -> list[int]:
    """Any tokens do; engine.cpp has the same."""
    return [i * 7919 % vocab_size for i in range(POSITIONS)]


# The engines, each in its own process.


class Transformers:
    def __init__(self, model: Path, threads: int, dtype: str) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = AutoModelForCausalLM.from_pretrained(
            model,
            dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[dtype],
            attn_implementation="eager",
        ).eval()
        config = AutoConfig.from_pretrained(model)
        self.ids = torch.tensor([token_ids(config.vocab_size)])
        self.cache = None

    def run(self, begin: int, end: int):
        out = self.model(
            self.ids[:, begin:end],
            past_key_values=self.cache if begin > 0 else None,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = out.past_key_values
        return out.logits[0, -1]

    def logits(self, prompt: int) -> np.ndarray:
        return self.run(0, prompt).float().numpy()


class LlamaCpp:
    def __init__(self, gguf: Path, threads: int, _: str) -> None:
        import llama_cpp

        self.library = llama_cpp
        self.llama = llama_cpp.Llama(
            str(gguf),
            n_ctx=POSITIONS,
            n_batch=512,
            n_ubatch=512,
            n_threads=threads,
            n_threads_batch=threads,
            flash_attn=True,  # as llama.cpp itself chooses; the Python package does not
            verbose=False,
        )
        ids = token_ids(self.llama.n_vocab())
        self.ids = (llama_cpp.llama_token * POSITIONS)(*ids)

    def run(self, begin: int, end: int):
        lib, context = self.library, self.llama.ctx
        if begin == 0:
            lib.llama_memory_clear(lib.llama_get_memory(context), False)
        first = ctypes.byref(self.ids, begin * ctypes.sizeof(lib.llama_token))
        tokens = ctypes.cast(first, ctypes.POINTER(lib.llama_token))
        # The batch asks for its last token's logits.
        if lib.llama_decode(context, lib.llama_batch_get_one(tokens, end - begin)) != 0:
            sys.exit("llama_decode failed")
        return lib.llama_get_logits_ith(context, -1)

    def logits(self, prompt: int) -> np.ndarray:
        return np.ctypeslib.as_array(self.run(0, prompt), (self.llama.n_vocab(),))


def serve(kind: str, model: Path, threads: int, dtype: str) -> None:
    """Orders and answers as in engine.cpp."""
    # Output of the libraries is not an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = {"transformers": Transformers, "llama.cpp": LlamaCpp}[kind](model, threads, dtype)
    print("ready", file=answers)
    for line in sys.stdin:
        match line.split():
            case ["prefill", prompt]:
                start = time.perf_counter()
                engine.run(0, int(prompt))
                print(time.perf_counter() - start, file=answers)
            case ["decode", prompt, count]:
                engine.run(0, int(prompt))
                start = time.perf_counter()
                for at in range(int(prompt), int(prompt) + int(count)):
                    engine.run(at, at + 1)
                print(time.perf_counter() - start, file=answers)
            case ["logits", file, prompt]:
                logits = engine.logits(int(prompt)).astype(np.float32)
                logits.tofile(file)
                print(logits.argmax(), file=answers)


class Worker:
    def __init__(self, name: str, model: Path, gguf: Path, threads: int) -> None:
        kind, dtype = name.split()
        if kind == "assay":
            command = [ENGINE, model, str(threads)]
        else:
            source = gguf if kind == "llama.cpp" else model
            command = [sys.executable, __file__, "--serve", kind, source, str(threads), dtype]
        self.name = name
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.answer()

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended")
        return line.strip()

    def ask(self, order: str) -> str:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.answer()

    def seconds(self, order: str) -> float:
        # Until the other engines' waiting threads sleep: they spin first, torch's and llama.cpp's
        # some milliseconds. Sleeping at once (OMP_WAIT_POLICY=passive) would make both slower.
        time.sleep(0.1)
        return float(self.ask(order))

    def peak_bytes(self) -> int:
        """Pages of mapped files count as well, see full_size.py."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


# The checkpoint for llama.cpp.


def bf16_tensors(model: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and bits; numpy knows no BF16."""
    for file in sorted(model.glob("*.safetensors")):
        data = np.memmap(file, np.uint8, "r")
        size = int(data[:8].view(np.uint64)[0])
        for name, entry in json.loads(data[8 : 8 + size].tobytes()).items():
            if name == "__metadata__":
                continue
            if entry["dtype"] != "BF16":
                sys.exit(f"{file}: {name} is {entry['dtype']}, expected BF16")
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            yield name, np.frombuffer(data[begin:end], np.uint16).reshape(entry["shape"])


def write_gguf(model: Path, path: Path) -> None:
    import gguf

    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "qwen3":
        sys.exit(f"{model}: model_type is {config['model_type']}, expected qwen3")
    layers = config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)

    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    # As llama.cpp's own converter fills the embedding's rows that have no token.
    tokens = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for token, id in tokenizer["model"]["vocab"].items():
        tokens[id], types[id] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    for name, bits in bf16_tensors(model):
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        to = names.get_name(name, try_suffixes=(".weight",))
        if bits.ndim == 1:
            writer.add_tensor(to, (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            raw = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(to, bits.view(np.uint8), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_tokenizer(model: Path, gguf: Path) -> None:
    """That the same text gives the same ids in llama.cpp as in the checkpoint's tokenizer."""
    from llama_cpp import Llama
    from tokenizers import Tokenizer

    text = "The capital of France is  not 東京,\n\nit's Paris: 1234!"
    theirs = Llama(str(gguf), vocab_only=True, verbose=False).tokenize(text.encode(), add_bos=False)
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(text, add_special_tokens=False)
    if theirs != ids.ids:
        sys.exit(f"the GGUF's tokenizer gives {theirs}, expected {ids.ids}")


# The measurement.


def check_logits(workers: list[Worker], scratch: Path) -> None:
    """All engines' logits against those of transformers in FP32."""
    logits, largest = {}, {}
    for worker in workers:
        file = scratch / "logits"
        largest[worker.name] = worker.ask(f"logits {file} 16")
        logits[worker.name] = np.fromfile(file, np.float32).astype(np.float64)
    truth = logits["transformers fp32"]
    print("logits of token 16 against transformers fp32: cosine, argmax")
    for name, values in logits.items():
        cosine = values @ truth / np.linalg.norm(values) / np.linalg.norm(truth)
        print(f"{name:<18} {cosine:.6f}  {largest[name]}")
        if cosine < 0.999:
            sys.exit(f"{name} does not compute the same: nothing timed")


def measure(workers: list[Worker], turns: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each figure, engine and turn."""
    times = {figure: {worker.name: [] for worker in workers} for figure in FIGURES}
    for figure, (order, _, _) in FIGURES.items():
        for worker in workers:
            worker.ask(order)  # buffers and clocks warm up
        for turn in range(turns):
            for worker in workers:
                times[figure][worker.name].append(worker.seconds(order))
            print(f"{figure}, turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
    return times


def report(times: dict[str, dict[str, list[float]]], peaks: dict[str, int]) -> None:
    for figure, (_, tokens, unit) in FIGURES.items():
        print(f"\n{figure}, {unit}")
        for name, seconds in times[figure].items():
            values = [1e3 * s if unit == "ms" else tokens / s for s in seconds]
            spread = f"{min(values):.1f} to {max(values):.1f}"
            print(f"  {name:<18} {statistics.median(values):8.1f}  ({spread})")
    print("\npeak resident memory, GB")
    for name, peak in peaks.items():
        print(f"  {name:<18} {peak / 1e9:8.2f}")

    def quotients(of: list[float], to: list[float]) -> str:
        values = [theirs / ours for ours, theirs in zip(of, to, strict=True)]
        return f"{statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f})"

    print("\ntimes as fast, and memory as a part of the other's")
    print(f"  {'':<34}" + "".join(f"{figure:<23}" for figure in FIGURES) + "memory")
    for ours in OURS:
        for peer in PEERS:
            columns = [f"{quotients(of[ours], of[peer]):<23}" for of in times.values()]
            memory = f"{peaks[ours] / peaks[peer]:.2f}"
            print(f"  {ours} : {peer:<21}" + "".join(columns) + memory)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="checkpoint (default: a random one is made)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=5, help="of each engine (default: 5)")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    return options


def main() -> None:
    options = parse_arguments()
    if options.serve:
        kind, model, threads, dtype = options.serve
        serve(kind, Path(model), int(threads), dtype)
        return
    for program in (ASSAY, ENGINE):
        if not program.is_file():
            sys.exit(f"{program} is not there: run `make bench-peers`, or set ASSAY")
    from importlib.metadata import version

    from llama_cpp import llama_print_system_info

    for package in ("torch", "transformers", "llama-cpp-python"):
        print(f"{package} {version(package)}")
    print(f"llama.cpp: {llama_print_system_info().decode().strip()}")
    with TemporaryDirectory(prefix="assay-bench-") as name:
        scratch = Path(name)
        model = options.model or synthesize(scratch / "model")
        gguf = scratch / "model.gguf"
        write_gguf(model, gguf)
        check_tokenizer(model, gguf)
        for threads in options.threads:
            workers = [Worker(name, model, gguf, threads) for name in (*OURS, *PEERS)]
            print(f"\n== {threads} thread{'s' if threads > 1 else ''}, median of {options.turns}")
            check_logits(workers, scratch)
            times = measure(workers, options.turns)
            report(times, {worker.name: worker.peak_bytes() for worker in workers})
            for worker in workers:
                worker.end()
        load = os.getloadavg()[0]
        print(f"\n{os.cpu_count()} cores, load average at the end {load:.1f}")


if __name__ == "__main__":
    main()
