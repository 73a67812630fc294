"""The taps of layers with a gated delta rule (Qwen3.5, Qwen3-Next).

Convolution, beta and decay lie at no module's boundary: they are the arguments of the rule's function,
which is wrapped where the module looks it up.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

# A prompt's, and a single token's after it.
_RULES = ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule")


@contextmanager
def delta_hooks(
    module: nn.Module, keep: Callable[[str, torch.Tensor], None], tap: Callable[[str], str]
) -> Iterator[None]:
    """Passes the taps of one layer to keep(name, value) while the context lasts."""

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], -1, module.head_v_dim)

    with ExitStack() as stack:

        def on_output(of: nn.Module, name: str) -> None:
            hook = of.register_forward_hook(lambda _m, _in, out: keep(tap(name), out))
            stack.callback(hook.remove)

        if hasattr(module, "in_proj_qkvz"):
            stack.enter_context(_unpacked(module, keep, tap))
        else:
            on_output(module.in_proj_qkv, "gdn_qkv")
            hook = module.in_proj_z.register_forward_hook(
                lambda _m, _in, out: keep(tap("gdn_z"), by_head(out))
            )
            stack.callback(hook.remove)
            on_output(module.in_proj_b, "gdn_b")
            on_output(module.in_proj_a, "gdn_a")
        hook = module.out_proj.register_forward_pre_hook(
            lambda _m, args: keep(tap("gdn_norm"), by_head(args[0]))
        )
        stack.callback(hook.remove)
        on_output(module.out_proj, "gdn_output")
        stack.enter_context(_inside_rule(module, keep, tap))
        yield


@contextmanager
def _unpacked(
    module: nn.Module, keep: Callable[[str, torch.Tensor], None], tap: Callable[[str], str]
) -> Iterator[None]:
    """Wraps the method that takes Qwen3-Next's two projections apart."""
    order = module.fix_query_key_value_ordering

    def order_and_keep(*args: Any) -> Any:
        query, key, value, z, b, a = parts = order(*args)
        keep(tap("gdn_qkv"), torch.cat([x.flatten(2) for x in (query, key, value)], dim=-1))
        for name, part in zip(("gdn_z", "gdn_b", "gdn_a"), (z, b, a), strict=True):
            keep(tap(name), part)
        return parts

    module.fix_query_key_value_ordering = order_and_keep
    try:
        yield
    finally:
        del module.fix_query_key_value_ordering


@contextmanager
def _inside_rule(
    module: nn.Module, keep: Callable[[str, torch.Tensor], None], tap: Callable[[str], str]
) -> Iterator[None]:
    """Wraps the rule's functions while this module runs."""
    modeling = sys.modules[type(module).__module__]
    own = {name: getattr(modeling, name) for name in _RULES}

    def wrapped(rule: Callable[..., Any]) -> Callable[..., Any]:
        def run(
            query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, g: torch.Tensor,
            beta: torch.Tensor, **kwargs: Any,
        ) -> Any:  # fmt: skip
            keep(tap("gdn_conv"), torch.cat([x.flatten(2) for x in (query, key, value)], dim=-1))
            keep(tap("gdn_beta"), beta)
            keep(tap("gdn_decay"), g)
            core, state = rule(query, key, value, g=g, beta=beta, **kwargs)
            keep(tap("gdn_core"), core)
            return core, state

        return run

    def enter(*_: Any) -> None:
        for name, rule in own.items():
            setattr(modeling, name, wrapped(rule))

    def leave(*_: Any) -> None:
        for name, rule in own.items():
            setattr(modeling, name, rule)

    hooks = [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        leave()
        for hook in hooks:
            hook.remove()
