"""The taps that only Gemma 4's layers have: experts beside the MLP, and each layer's own embedding.

Two sums lie at no module's boundary; they are added again here, as the layer adds them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

Keep = Callable[[str, torch.Tensor], None]

BESIDE_MLP = ("routed_norm", "router_norm", "router_input", "routed_post_norm", "shared_post_norm")


def has_experts_beside_mlp(layer: nn.Module) -> bool:
    return hasattr(layer, "router") and hasattr(layer, "experts")


@contextmanager
def gemma4_hooks(
    text: nn.Module, number: int, keep: Keep, tap: Callable[[str], str]
) -> Iterator[None]:
    """Passes the taps of one layer that are not other models' too to keep(name, value) while the context
    lasts."""
    layer: Any = text.layers[number]
    stream: torch.Tensor

    with ExitStack() as stack:

        def on_output(module: nn.Module, see: Callable[[torch.Tensor], None]) -> None:
            stack.callback(module.register_forward_hook(lambda _m, _in, out: see(out)).remove)

        def on_input(module: nn.Module, see: Callable[[torch.Tensor], None], which: int = 0) -> None:
            stack.callback(module.register_forward_pre_hook(lambda _m, args: see(args[which])).remove)

        def kept(name: str) -> Callable[[torch.Tensor], None]:
            # Experts and their router flatten batch and tokens.
            return lambda x: keep(tap(name), x if x.dim() == 3 else x[None])

        def enter(x: torch.Tensor) -> None:
            nonlocal stream
            stream = x

        def add(name: str) -> Callable[[torch.Tensor], None]:
            return lambda x: keep(tap(name), stream + x)

        on_input(layer.pre_feedforward_layernorm, enter)
        on_output(layer.post_feedforward_layernorm, add("mlp_residual"))
        on_input(layer.post_feedforward_layernorm, kept("mlp_output"))
        if has_experts_beside_mlp(layer):
            on_output(layer.pre_feedforward_layernorm_2, kept("routed_norm"))
            on_output(layer.router.norm, kept("router_norm"))
            on_input(layer.router.proj, kept("router_input"))
            on_output(layer.router.proj, kept("router_logits"))

            def choice(parts: tuple[torch.Tensor, ...]) -> None:
                for name, part in zip(("expert_weights", "expert_ids"), parts[1:], strict=True):
                    keep(tap(name), part[None])

            stack.callback(
                layer.router.register_forward_hook(lambda _m, _in, out: choice(out)).remove
            )
            on_output(layer.experts, kept("routed_output"))
            on_output(layer.post_feedforward_layernorm_2, kept("routed_post_norm"))
            on_output(layer.mlp.gate_proj, kept("shared_gate_proj"))
            on_output(layer.mlp.up_proj, kept("shared_up_proj"))
            on_input(layer.mlp.down_proj, kept("shared_mlp_act"))
            on_output(layer.mlp, kept("shared_expert_output"))
            on_output(layer.post_feedforward_layernorm_1, kept("shared_post_norm"))
        width = getattr(layer, "hidden_size_per_layer_input", 0)
        if width:
            def own(name: str) -> Callable[[torch.Tensor], None]:
                first = number * width
                return lambda x: keep(tap(name), x.flatten(2)[..., first : first + width])

            on_output(text.embed_tokens_per_layer, own("ple_embedding"))
            on_output(text.per_layer_model_projection, own("ple_context"))
            on_output(text.per_layer_projection_norm, own("ple_norm"))
            on_input(layer, kept("ple_input"), which=1)
            on_input(layer.per_layer_input_gate, enter)
            on_output(layer.per_layer_input_gate, kept("ple_gate"))
            on_input(layer.per_layer_projection, kept("ple_act"))
            on_output(layer.per_layer_projection, kept("ple_output"))
            on_output(layer.post_per_layer_input_norm, kept("ple_post_norm"))
            on_output(layer.post_per_layer_input_norm, add("ple_residual"))
        yield
