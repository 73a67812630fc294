"""The hooks of the other tests, compared with what transformers itself returns."""

import pytest
import torch
from checkpoints import BUNDLED, text_prompts

from assay_hf.model import HfModel, Numerics
from assay_hf.taps import choose_taps, classic_taps, layer_tap, record, tap_names

IDS = text_prompts()["prompt3"]


every_numerics = pytest.mark.parametrize("model", list(Numerics), indirect=True)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> HfModel:
    return HfModel(BUNDLED, request.param)


def as_stored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32)


@every_numerics
def test_looking_changes_nothing(model: HfModel) -> None:
    before = model.forward(IDS)
    rotate, attend = model.modeling.apply_rotary_pos_emb, model.modeling.eager_attention_forward
    logits = record(model, IDS, tap_names(model))["logits"]
    assert torch.equal(as_stored(before), torch.from_numpy(logits))
    assert torch.equal(before, model.forward(IDS))
    # All hooks are removed.
    assert model.modeling.apply_rotary_pos_emb is rotate
    assert model.modeling.eager_attention_forward is attend
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.net.modules())


@pytest.mark.parametrize("model", [Numerics.BF16, Numerics.F32], indirect=True)
def test_layer_outputs_are_the_residual_stream(model: HfModel) -> None:
    taps = record(model, IDS, tap_names(model))
    with torch.inference_mode():
        out = model.net(torch.tensor([IDS]), output_hidden_states=True, output_attentions=True)
    layers = model.config.num_hidden_layers
    assert len(out.hidden_states) == layers + 1
    assert torch.equal(
        as_stored(out.hidden_states[0]), torch.from_numpy(taps["embedding_output"])
    )
    for i in range(layers - 1):
        name = layer_tap(i, "output", layers)
        assert torch.equal(as_stored(out.hidden_states[i + 1]), torch.from_numpy(taps[name])), name
    for i in range(layers):
        name = layer_tap(i, "attn_probs", layers)
        assert torch.equal(as_stored(out.attentions[i]), torch.from_numpy(taps[name])), name
    # The trap: the last of output_hidden_states is after the final norm.
    last = as_stored(out.hidden_states[layers])
    assert torch.equal(last, torch.from_numpy(taps["final_norm_output"]))
    assert not torch.equal(last, torch.from_numpy(taps[layer_tap(layers - 1, "output", layers)]))


@pytest.mark.parametrize("model", [Numerics.F64], indirect=True)
def test_double_is_double(model: HfModel) -> None:
    # In any FP32 operation, one part in 1e12 of the weights would vanish.
    before = model.forward(IDS)
    weight = model.net.model.layers[0].input_layernorm.weight
    with torch.no_grad():
        weight.mul_(1 + 1e-12)
    after = model.forward(IDS)
    change = ((after - before).norm() / before.norm()).item()
    assert 1e-14 < change < 1e-10


@every_numerics
def test_rope_frequencies_survive_the_load(model: HfModel) -> None:
    # A model cast after loading would have them rounded to its dtype.
    dim = model.config.head_dim
    wide = torch.float64 if model.numerics is Numerics.F64 else torch.float32
    exponents = torch.arange(0, dim, 2, dtype=wide) / dim
    expected = 1.0 / (model.config.rope_parameters["rope_theta"] ** exponents)
    assert torch.equal(model.net.model.rotary_emb.inv_freq, expected)


@pytest.mark.parametrize("model", [Numerics.BF16], indirect=True)
def test_a_glob_adds_to_the_classic_set(model: HfModel) -> None:
    chosen = choose_taps(model, ["layer_03_*_proj"])
    added = [f"layer_03_{p}_proj" for p in ("q", "k", "v", "gate", "up")]
    assert set(chosen) == {*classic_taps(model), *added}
    assert chosen == [name for name in tap_names(model) if name in chosen]
