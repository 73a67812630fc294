"""assay.record: what it writes is what the modules returned, and the model is as before."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from assay_cli import run_assay
from checkpoints import BUNDLED, text_prompts
from transformers import AutoModelForCausalLM

import assay.record
from assay.capture.trace import Trace
from assay.record import Recording, record


class Net(torch.nn.Module):
    """Calls one module twice, returns several things, and changes a tensor in place."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = torch.nn.Linear(4, 4)
        self.pair = Pair()
        self.file = torch.nn.Identity()  # a name that np.savez cannot take

    def forward(self, x: torch.Tensor) -> dict:
        once = self.shared(x)
        twice = self.shared(once)
        once.add_(100)
        first, more = self.pair(twice)
        return {"logits": self.file(first), "inner": more, "cache": object()}


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple:
        return x + 1, {"twice": [2 * x, x > 0]}


def test_every_module_every_call_every_tensor(tmp_path: Path) -> None:
    net, x = Net(), torch.randn(2, 4)
    expected = net.shared(x).detach()
    with torch.no_grad(), assay.record(net, tmp_path / "new" / "x.npz") as dump:
        net(x)
    written = np.load(tmp_path / "new" / "x.npz")
    assert list(written) == list(dump) == [
        "shared", "shared#2", "pair", "pair[1][twice][0]", "pair[1][twice][1]", "file",
        "logits", "inner[twice][0]", "inner[twice][1]",
    ]  # fmt: skip
    # A copy from before the change in place.
    assert np.array_equal(written["shared"], expected.numpy())
    assert np.array_equal(written["file"], written["logits"])
    assert written["pair[1][twice][1]"].dtype == bool
    assert not any(m._forward_hooks for m in net.modules())
    assert not list(tmp_path.glob("new/.*"))


def test_types_that_numpy_does_not_have_keep_their_values() -> None:
    values = torch.tensor([1.5, -0.0, float("inf"), 3e-41, 448.0])
    types = [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.float64]
    recording = Recording()
    for dtype in types:
        recording.add(str(dtype), values.to(dtype))
        array = recording[str(dtype)]
        assert array.dtype == (np.float32 if dtype not in types[3:] else array.dtype)
        assert torch.equal(torch.from_numpy(array).double(), values.to(dtype).double())
    recording.add("grad", torch.ones(3, requires_grad=True).t())
    recording.add("strided", torch.arange(6.0).reshape(2, 3).t())
    assert recording["strided"].tolist() == [[0, 3], [1, 4], [2, 5]]
    recording.add("scalar", torch.tensor(7))
    assert recording["scalar"].shape == ()


def test_what_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, device="meta"))
    with pytest.warns(UserWarning, match="not recorded: 0: "), record(net) as dump:
        net(torch.ones(1, 2, device="meta"))
    assert not dump and len(dump.skipped) == 2
    with pytest.raises(ValueError, match="nothing was recorded"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with record(net, tmp_path / "x.npz"):
            pass
    assert not list(tmp_path.iterdir())


def test_an_exception_in_the_block_writes_nothing(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    (tmp_path / "x.npz").write_bytes(b"old")
    with pytest.raises(RuntimeError), record(net, tmp_path / "x.npz"):
        net(torch.ones(1, 2))
        net(torch.ones(1, 3))
    assert (tmp_path / "x.npz").read_bytes() == b"old"
    assert not net[0]._forward_hooks
    # A directory has the file's name.
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(assay.MachineError, match="cannot write"), record(net, tmp_path / "d.npz"):
        net(torch.ones(1, 2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.npz", "x.npz"]


def test_only_what_was_asked_for() -> None:
    net = Net()
    with record(net, only="pair*") as dump:
        net(torch.ones(1, 4))
    assert list(dump) == ["pair", "pair[1][twice][0]", "pair[1][twice][1]"]


class Base:
    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x + 1


class Derived(Base):
    def __call__(self, x: np.ndarray) -> np.ndarray:
        return 2 * super().__call__(x)


class Plain:
    """A model of plain objects, as tinygrad's are."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(helper=Base(), size=4)
        self.blocks = [Derived(), Base()]
        self.heads = {"main": Base()}
        self.again = self.blocks[1]
        self.activation = np.tanh
        self.loop = self

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        x = ids.astype(np.float32)
        for block in self.blocks:
            x = block(x)
        return self.heads["main"](self.again(x))


def test_plain_objects() -> None:
    before = Base.__call__, Derived.__call__, Plain.__call__
    model, ids = Plain(), np.array([[1, 2]])
    with record(model) as dump:
        result = model(ids)
        Base()(ids)  # none of the model's
    names = ["blocks.0", "blocks.1", "blocks.1#2", "heads.main", "input_ids", "output"]
    assert list(dump) == names
    assert dump["blocks.0"].tolist() == [[4, 6]]
    assert np.array_equal(dump["output"], result)
    assert (Base.__call__, Derived.__call__, Plain.__call__) == before
    with pytest.raises(TypeError, match="no modules that are called"):
        record(object())
    with pytest.raises(TypeError, match="no modules that are called"):
        record(SimpleNamespace(config=3))


def test_a_bf16_run_of_transformers_passes(tmp_path: Path) -> None:
    prompts = {"a": text_prompts()["prompt3"], "b": text_prompts()["prompt2"]}
    lines = "".join(f'{{"id": "{n}", "input_ids": {list(ids)}}}\n' for n, ids in prompts.items())
    (tmp_path / "prompts.jsonl").write_text(lines)
    run_assay([
        "extract", "--model", BUNDLED, "--prompts", tmp_path / "prompts.jsonl", "--numerics",
        "bf16,f64", "--taps", "*", "--max-new-tokens", "1", "--out", tmp_path / "ref",
    ])  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        BUNDLED, dtype=torch.bfloat16, attn_implementation="eager"
    )
    for name, ids in prompts.items():
        with torch.no_grad(), assay.record(model, tmp_path / "dump" / f"{name}.npz"):
            model(torch.tensor([ids]), use_cache=False)
    report = run_assay(["compare", tmp_path / "ref", tmp_path / "dump"]).stdout
    assert "PASS" in report
    assert "Not used" not in report


@pytest.mark.parametrize("library", ["mlx.nn", "tinygrad"])
def test_other_libraries(library: str) -> None:
    pytest.importorskip(library)
    if library == "tinygrad":
        from tinygrad import Tensor, nn

        class Model:
            def __init__(self) -> None:
                self.blk = [nn.Linear(4, 4), nn.Linear(4, 4)]

            def __call__(self, x: Tensor) -> Tensor:
                return x.sequential(self.blk)

        model, x = Model(), Tensor([[1.0, 2, 3, 4]])
    else:
        import mlx.core as x_library
        import mlx.nn as nn

        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model.set_dtype(x_library.bfloat16)
        x = x_library.ones((1, 4), dtype=x_library.bfloat16)
    with record(model) as dump:
        model(x)
    assert len(dump) == 3 and dump["output"].shape == (1, 4)


def test_llama_cpp(tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    from gguf import GGMLQuantizationType

    from assay.record.llama_cpp import record as record_llama
    from assay_hf.gguf_file import write_gguf

    model = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    file = tmp_path / "model.gguf"
    tokenizer = json.loads((BUNDLED / "tokenizer.json").read_text())
    write_gguf(file, model.config, model.state_dict(), GGMLQuantizationType.F32, tokenizer)
    llm = llama_cpp.Llama(str(file), logits_all=True, verbose=False, n_ctx=64)
    own, ids = llm._ctx, [5, 6, 7]
    with record_llama(llm) as dump:
        llm.eval(ids)
        llm.eval([8])  # a second pass, which is not recorded
    assert llm._ctx is own and llm.n_tokens == 0
    assert dump["input_ids"].tolist() == [ids]
    assert dump["l_out-0"].shape == (1, 1, 3, model.config.hidden_size)
    llm.eval(ids)
    assert np.array_equal(dump["result_output"][0, 0], llm.scores[:3])


def test_names_are_those_of_a_capture() -> None:
    net, x = Net(), torch.randn(2, 4)
    with torch.no_grad(), record(net) as dump:
        net(x)
    trace = Trace(net, lambda *_: None, lambda _: None, lambda _: True)
    with torch.inference_mode():
        trace.run({"x": x})
    captured = {name for array in trace.arrays for name in (array.name, array.hook, *array.also)}
    assert {name for name in dump if dump[name].dtype != bool} <= captured


def test_what_the_model_returns_has_a_name_of_its_own() -> None:
    class Meta(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = torch.nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.output(x)

    net = Meta()
    with record(net) as dump:
        net(torch.ones(1, 2))
        net(torch.ones(1, 2))
    assert list(dump) == ["output", "output~2", "output#2", "output#2~2"]
    assert dump["output"].tolist() == [[1, 1]] and dump["output~2"].tolist() == [[2, 2]]


@pytest.mark.parametrize("value", [None, "x", {"logits": torch.ones(1)}, [[1], [1, 2]], object()])
def test_what_is_no_tensor_is_refused_by_name(value: object) -> None:
    with pytest.raises(assay.UsageError, match="^mine: "):
        Recording()["mine"] = value
    with pytest.raises(assay.UsageError, match="name"):
        Recording()[""] = torch.ones(1)
