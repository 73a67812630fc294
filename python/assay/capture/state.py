"""What a model changes from run to run: a run must not depend on those before it."""

from typing import Any

from torch import nn


class RunState:
    """transformers keeps the rotary frequencies of the longest sequence seen (`dynamic`,
    `longrope`)."""

    def __init__(self, net: nn.Module) -> None:
        self._seen = [(m, _lengths(m), _buffers(m)) for m in net.modules() if _lengths(m)]

    def restore(self) -> None:
        """Puts the model back into the state that it had when this was made."""
        for module, lengths, buffers in self._seen:
            for name in _lengths(module).keys() - lengths.keys():
                delattr(module, name)
            for name, value in lengths.items():
                setattr(module, name, value)
            for name, buffer in buffers.items():
                module.register_buffer(name, buffer.clone(), persistent=False)


def _lengths(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if k.endswith("max_seq_len_cached")}


def _buffers(module: nn.Module) -> dict[str, Any]:
    return {name: b.clone() for name, b in module.named_buffers(recurse=False)}
