"""Double precision for models that ask for FP32 by name.

A transformers model of dtype float64 is not computed in double: norms, softmax, routers, rotary
frequencies and tables ask for FP32. So for as long as a double run lasts, FP32 is double:
transformers' own code computes in double, and none of it is written a second time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.integrations import moe


@contextmanager
def fp32_is_double() -> Iterator[None]:
    """Makes every FP32 that Python code asks for a double, and so everything computed in it."""
    fp32, to_fp32, default = torch.float32, torch.Tensor.float, torch.get_default_dtype()
    can_use_grouped_mm = moe._can_use_grouped_mm
    torch.float32 = torch.float = torch.float64
    tensor: Any = torch.Tensor
    tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    # torch's grouped_mm does not support double; transformers has a loop for that case.
    moe._can_use_grouped_mm = lambda *_: False
    try:
        yield
    finally:
        torch.float32 = torch.float = fp32
        tensor.float = to_fp32
        torch.set_default_dtype(default)
        moe._can_use_grouped_mm = can_use_grouped_mm


def widen_constants(net: nn.Module) -> None:
    """Computes again, in double, what a loaded model computed from its config: buffers that no
    checkpoint stores. Loading itself must not take place in fp32_is_double(), where FP32 weights are
    read as doubles."""
    with torch.no_grad(), fp32_is_double():
        for owner, module in _with_owners(net, net):
            _widen_buffers(owner, module)


def _with_owners(module: nn.Module, owner: nn.Module) -> Iterator[tuple[Any, nn.Module]]:
    """Every module with the nearest model around it, whose _init_weights knows it."""
    if hasattr(module, "_init_weights"):
        owner = module
    yield owner, module
    for child in module.children():
        yield from _with_owners(child, owner)


def _widen_buffers(owner: Any, module: nn.Module) -> None:
    computed = [
        name
        for name in module._non_persistent_buffers_set
        if (buffer := module._buffers.get(name)) is not None and buffer.is_floating_point()
    ]
    if not computed:
        return
    tensor: Any
    for tensor in module.parameters(recurse=False):
        tensor._is_hf_initialized = True  # stays as it was loaded
    for name, tensor in module.named_buffers(recurse=False):
        if name in computed:
            module._buffers[name] = tensor.double()
        else:
            tensor._is_hf_initialized = True
    owner._init_weights(module)
    if hasattr(module, "scalar_embed_scale"):  # Gemma's embedding
        module.embed_scale = torch.tensor(module.scalar_embed_scale)
