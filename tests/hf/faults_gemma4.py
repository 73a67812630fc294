"""Porting mistakes in what only Gemma 4 has, made in transformers."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay.capture.state import RunState
from assay_hf.model import HfModel
from fault_base import Change, Fault, layers_of, replace

OWN_EMBEDDINGS: list[Fault] = []
EXPERTS: list[Fault] = []
BOTH = (OWN_EMBEDDINGS, EXPERTS)


def each_layer(change: Callable[[Any], None]) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            change(layer)

    return patch


def on_text(change: Callable[[Any], None]) -> Change:
    return lambda model, stack: change(model.text)


def filled(name: str, value: float = 1.0) -> Callable[[Any], None]:
    """Sets all elements of a module's tensor, which the checkpoint has at other values."""

    def change(module: Any) -> None:
        tensor = module.get_parameter(name) if "." in name else getattr(module, name)
        assert not torch.equal(tensor.data, torch.full_like(tensor.data, value))
        tensor.data.fill_(value)

    return change


def with_number(name: str, value: float) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        assert getattr(module, name) != value
        setattr(module, name, value)

    return change


def as_it_is(_: nn.Module, x: Tensor) -> Tensor:
    return x


# --- attention ---


def keys_of_first(model: HfModel, stack: ExitStack) -> None:
    """The first layer of each kind keeps its keys and values for the later ones."""
    seen: set[str] = set()
    for layer in layers_of(model):
        kind = layer.self_attn.layer_type
        layer.self_attn.store_full_length_kv = kind not in seen
        seen.add(kind)


def values_normed(forward: Callable[[Any, Tensor], Tensor], only_keys: bool = False) -> Change:
    """forward(attention, x) takes the place of the values' norm."""

    def change(layer: Any) -> None:
        attention = layer.self_attn
        if attention.is_kv_shared_layer or (only_keys and attention.v_proj is not None):
            return
        replace(attention.v_norm, lambda _, x: forward(attention, x))

    return each_layer(change)


def norm_of_keys(attention: Any, x: Tensor) -> Tensor:
    # Not the module itself, whose hooks would take this for the keys.
    return type(attention.k_norm).forward(attention.k_norm, x)


def norm_twice(attention: Any, x: Tensor) -> Tensor:
    return type(attention.v_norm).forward(attention.v_norm, norm_of_keys(attention, x))


def scaled_scores(layer: Any) -> None:
    layer.self_attn.scaling = layer.self_attn.head_dim**-0.5


def whole_heads(model: HfModel, stack: ExitStack) -> None:
    """All pairs of the full layers' heads are rotated."""
    rotary = model.text.rotary_emb
    size = 2 * len(rotary.full_attention_inv_freq)
    theta = model.config.rope_parameters["full_attention"]["rope_theta"]
    rotary.full_attention_inv_freq = 1.0 / theta ** (torch.arange(0, size, 2) / size)
    model._untouched = RunState(model.net)  # otherwise each run restores the frequencies


def plain_partial(model: HfModel, stack: ExitStack) -> None:
    """The first quarter of the full layers' heads is rotated by itself."""
    own = model.modeling.apply_rotary_pos_emb
    rope = model.config.rope_parameters["full_attention"]
    size = 2 * len(model.text.rotary_emb.full_attention_inv_freq)
    dims = int(rope["partial_rotary_factor"] * size)
    inv_freq = 1.0 / rope["rope_theta"] ** (torch.arange(0, dims, 2) / dims)

    def rotate(x: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Tensor:
        if x.shape[-1] != size:
            return own(x, cos, sin, unsqueeze_dim)
        angles = torch.arange(x.shape[1])[:, None] * inv_freq
        angles = torch.cat((angles, angles), dim=-1)[None]
        turned = own(x[..., :dims], angles.cos().to(x.dtype), angles.sin().to(x.dtype), unsqueeze_dim)
        return torch.cat((turned, x[..., dims:]), dim=-1)

    stack.enter_context(mock.patch.object(model.modeling, "apply_rotary_pos_emb", rotate))


# --- per-layer inputs, the layers' scalars ---


def shifted_parts(text: Any) -> None:
    """Each layer gets the next one's part of the token's row."""
    table = text.embed_tokens_per_layer.weight
    parts = table.data.view(len(table), text.config.num_hidden_layers, -1)
    parts[:, :-1] = parts[:, 1:].clone()


def scalar_on_addend(layer: Any) -> None:
    norm, scalar = layer.post_per_layer_input_norm, layer.layer_scalar.clone()
    layer.layer_scalar.fill_(1.0)

    def forward(self: Any, x: Tensor) -> Tensor:
        return type(self).forward(self, x) * scalar

    replace(norm, forward)


# --- experts ---


def router_reads_experts_input(layer: Any) -> None:
    norm = layer.pre_feedforward_layernorm_2

    def normed(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (type(norm).forward(norm, args[0]), *args[1:])

    layer.router.register_forward_pre_hook(normed)


def same_norm(layer: Any) -> None:
    layer.pre_feedforward_layernorm_2.weight.data = layer.pre_feedforward_layernorm.weight.data


def exchanged_norms(layer: Any) -> None:
    one, two = layer.post_feedforward_layernorm_1.weight, layer.post_feedforward_layernorm_2.weight
    one.data, two.data = two.data, one.data


for _faults in BOTH:
    _faults += [
        Fault("v-norm-missing", "", values_normed(lambda _, x: x)),
        Fault("layer-scalar", "left out", each_layer(filled("layer_scalar"))),
        Fault("attn-scale", "1/sqrt(head_dim)", each_layer(scaled_scores)),
        Fault("rope-scaling-wrong", "whole heads", whole_heads),
        Fault("rope-scaling-wrong", "plain partial", plain_partial),
    ]
OWN_EMBEDDINGS += [
    Fault("kv-source", "first", keys_of_first),
    Fault("v-norm-weighted", "", values_normed(norm_of_keys)),
    Fault(
        "per-layer-input",
        "left out",
        each_layer(with_number("hidden_size_per_layer_input", 0)),
    ),
    Fault(
        "per-layer-input",
        "token not scaled",
        on_text(lambda text: filled("embed_scale")(text.embed_tokens_per_layer)),
    ),
    Fault(
        "per-layer-input",
        "context not scaled",
        on_text(with_number("per_layer_model_projection_scale", 1.0)),
    ),
    Fault("per-layer-input", "sum not scaled", on_text(with_number("per_layer_input_scale", 1.0))),
    Fault("per-layer-input", "next layer's", on_text(shifted_parts)),
    Fault("layer-scalar", "on the addend", each_layer(scalar_on_addend)),
]
EXPERTS += [
    Fault("k-as-v", "normed", values_normed(norm_of_keys, only_keys=True)),
    Fault("k-as-v", "normed twice", values_normed(norm_twice, only_keys=True)),
    Fault("router-input", "no scale", each_layer(lambda layer: filled("scale")(layer.router))),
    Fault(
        "router-input",
        "no root",
        each_layer(lambda layer: with_number("scalar_root_size", 1.0)(layer.router)),
    ),
    Fault("router-input", "experts' input", each_layer(router_reads_experts_input)),
    Fault(
        "per-expert-scale", "", each_layer(lambda layer: filled("per_expert_scale")(layer.router))
    ),
    Fault("experts-beside-mlp", "one norm", each_layer(same_norm)),
    Fault("experts-beside-mlp", "exchanged", each_layer(exchanged_norms)),
]
