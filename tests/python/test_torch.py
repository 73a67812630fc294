"""Tensors of torch, and a real transformers model checked from inside."""

import pytest

import assay

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def engine(model):
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()


def ids_of(reference, prompt="prompt2"):
    return torch.tensor([reference[prompt].input_ids])


@pytest.mark.parametrize("change", [
    lambda t: t, lambda t: t.bfloat16(), lambda t: t.clone().requires_grad_(), lambda t: t.double(),
    lambda t: t.transpose(1, 2).contiguous().transpose(1, 2), lambda t: t.expand(1, -1, -1)[0],
    lambda t: torch.stack([t, t], -1)[..., 0], lambda t: torch._neg_view(-t), lambda t: t.to_sparse(),
])  # fmt: skip
def test_tensors_of_all_kinds(reference, change):
    values = torch.from_numpy(reference["prompt2"]["layer_05_output"].copy())
    with assay.check(reference, prompt="prompt2") as c:
        assert c("layer_05_output", change(values)).relative_l2 == 0


def test_a_correct_model_passes(reference, engine):
    with assay.check(reference, module=engine) as c, torch.no_grad():
        engine(ids_of(reference))
    c.raise_on_failure()
    compared = {r.name for r in c.results if r.verdict != "not compared"}
    assert {"embedding_output", "layer_00_q_proj", "layer_27_output", "final_norm_output", "logits"} <= compared
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.modules())


def test_what_cannot_be_compared_does_not_stop_the_model(reference):
    class Table(torch.nn.Module):
        def forward(self, x):
            return x.to(torch.complex64)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_05_output = Table()  # the name of a tap
            self.unknown = torch.nn.Identity()

        def forward(self, x):
            return self.unknown(self.layer_05_output(x))

    with (
        assay.check(reference, module=(m := Model()), prompt="prompt2") as c,
        pytest.warns(UserWarning, match="not checked"),
    ):
        m(torch.zeros(1, 5, 64))
    with pytest.raises(assay.CheckFailed, match="unknown"):
        c.raise_on_failure()


def test_decoding_with_a_cache_is_followed(reference, engine):
    ids = ids_of(reference)
    with assay.check(reference, module=engine, prompt="prompt2") as c, torch.no_grad():
        cache = engine(ids[:, :2], use_cache=True).past_key_values
        for i in range(2, ids.shape[1]):
            cache = engine(ids[:, i : i + 1], past_key_values=cache, use_cache=True).past_key_values
    c.raise_on_failure()
    assert c.result["prompt2"]["layer_10_output"].metrics["compared"] == ids.shape[1] * 64


def test_generation_runs_on_past_the_prompt(reference, engine):
    with assay.check(reference, module=engine) as c, torch.no_grad():
        engine.generate(ids_of(reference), max_new_tokens=3, do_sample=False)
    c.raise_on_failure()


def test_a_skipped_norm_is_found_where_it_is(reference, engine):
    norm = engine.model.layers[3].post_attention_layernorm
    kept = norm.weight.data.clone()
    norm.weight.data.fill_(1)
    try:
        with assay.check(reference, module=engine) as c, torch.no_grad():
            engine(ids_of(reference))
        assert c.result.first_divergence.tensor == "layer_03_mlp_norm"
        with pytest.raises(AssertionError, match="layer_03_mlp_norm"):
            c.raise_on_failure()
        with pytest.raises(assay.CheckFailed), torch.no_grad():
            with assay.check(reference, module=engine, stop=True):
                engine(ids_of(reference))
    finally:
        norm.weight.data.copy_(kept)
    assert not any(m._forward_hooks for m in engine.modules())


@pytest.mark.parametrize("framework", ["jax", "mlx"])
def test_other_frameworks_arrays(reference, framework):
    values = reference["prompt2"]["layer_05_output"]
    if framework == "jax":
        np = pytest.importorskip("jax.numpy")
    else:
        np = pytest.importorskip("mlx.core")
    array = np.array(values)
    with assay.check(reference, prompt="prompt2") as c:
        assert c("layer_05_output", array).relative_l2 == 0
        assert (
            c("layer_06_output", np.array(reference["prompt2"]["layer_06_output"]).astype(np.bfloat16)).relative_l2 == 0
        )
