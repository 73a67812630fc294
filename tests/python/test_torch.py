"""Tensors of torch, and a real transformers model checked from inside."""

import assay
import pytest

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


@pytest.fixture(scope="module")
def capped(tmp_path_factory):
    """A small Gemma 2, whose logits are soft-capped after lm_head, and its reference."""
    directory = tmp_path_factory.mktemp("gemma2")
    config = transformers.Gemma2Config(
        vocab_size=300, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, final_logit_softcapping=2.0, query_pre_attn_scalar=16, sliding_window=8,
        initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config).bfloat16().eval()
    model.save_pretrained(directory / "model")
    ids = [[5, 50, 17, 3, 88, 21, 9], [64, 30, 2]]
    reference = assay.extract(directory / "model", ids, out=directory / "data", taps="*", max_new_tokens=0)
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory / "model", dtype=torch.bfloat16, attn_implementation="eager"
    ).eval(), reference


class Plain(torch.nn.Module):
    """A port that returns a bare tensor; its modules have the usual names, but for the last."""

    def __init__(self, engine, head, cap):
        super().__init__()
        self.model = engine.model
        self.add_module(head, engine.lm_head)
        self.head, self.cap = head, cap

    def forward(self, ids):
        logits = getattr(self, self.head)(self.model(ids).last_hidden_state)
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits


@pytest.mark.parametrize("cap", [2.0, None, 4.0])
@pytest.mark.parametrize("form", ["transformers", "lm_head", "output"])
def test_the_models_own_output_counts(capped, monkeypatch, tmp_path, form, cap):
    engine, reference = capped
    monkeypatch.setattr(engine.config, "final_logit_softcapping", cap)
    model = engine if form == "transformers" else Plain(engine, form, cap)
    right = cap == 2.0
    for prompt in reference:
        ids = ids_of(reference, prompt)
        with assay.check(reference, module=model) as c, torch.no_grad():
            model(ids)
        assert bool(c.result) == right, c.result.text()
        assert c.result[prompt]["logits"].verdict == ("pass" if right else "fail")
        with assay.record(model, tmp_path / f"{form}/{prompt}.npz"), torch.no_grad():
            model(ids)
    result = assay.compare(reference, tmp_path / form)
    assert bool(result) == right, result.text()
    if not right:
        assert result.first_divergence.tensor == "logits"
        diagnosis = assay.diagnose(reference, tmp_path / form)
        assert not diagnosis, diagnosis.text()
        with pytest.raises(assay.CheckFailed, match="logits.*: noise ratio"), torch.no_grad():
            with assay.check(reference, module=model, stop=True):
                model(ids)


@pytest.mark.parametrize("cap", [2.0, None])
def test_the_models_own_output_counts_in_steps(capped, monkeypatch, cap):
    engine, reference = capped
    monkeypatch.setattr(engine.config, "final_logit_softcapping", cap)
    ids = ids_of(reference, "prompt1")
    with assay.check(reference, module=engine, prompt="prompt1") as c, torch.no_grad():
        cache = engine(ids[:, :2], use_cache=True).past_key_values
        for i in range(2, ids.shape[1]):
            cache = engine(ids[:, i : i + 1], past_key_values=cache, use_cache=True).past_key_values
    assert c.result["prompt1"]["logits"].verdict == ("pass" if cap else "fail"), c.result.text(every_tensor=True)
    assert bool(c.result) == bool(cap)
    fails = [r.candidate_name for r in c.results if not r]
    assert fails == ([] if cap else ["logits"] * (ids.shape[1] - 1))


def test_what_a_model_returns_need_not_be_logits(reference, engine):
    with assay.check(reference, module=engine.model, map="transformers") as c, torch.no_grad():
        engine.model(ids_of(reference))
    assert c.result["prompt2"]["final_norm_output"].verdict == "pass" and c.result
    assert "last_hidden_state" in {r.candidate_name for r in c.results}
    with assay.check(reference, module=engine) as c, torch.no_grad():
        engine(ids_of(reference), output_hidden_states=True, output_attentions=True)
    c.raise_on_failure()
