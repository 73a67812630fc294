"""Records the nodes of llama.cpp's graph, through llama-cpp-python.

    from llama_cpp import Llama
    from assay.record.llama_cpp import record

    llm = Llama("model.gguf", logits_all=True)
    with record(llm, "dump/prompt1.npz"):
        llm.eval(ids)

llama.cpp calls back before and after each node (cb_eval). examples/llamacpp_dump.cpp does the same
from C++.
"""

from __future__ import annotations

import ctypes
import os
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .recording import Recording

# ggml's types of which a node's values can be shown as they are.
_TYPES = {
    0: np.float32, 1: np.float16, 24: np.int8, 25: np.int16, 26: np.int32, 27: np.int64,
    28: np.float64,
}  # fmt: skip
_BF16 = 30
# Views, reshapes and what the model gives no name.
_UNNAMED = (b"node_", b"leaf_", b"(")


class _Tensor(ctypes.Structure):
    """The beginning of ggml_tensor, which has been the same for years; names are asked for."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    ]


class _Ggml:
    """The functions of ggml, from the library that llama_cpp has loaded."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.name = library.ggml_get_name
        self.name.restype, self.name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        self.size = library.ggml_nbytes
        self.size.restype, self.size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
        # From whatever device the tensor is on.
        self.get = library.ggml_backend_tensor_get
        self.get.restype = None
        self.get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]

    def values(self, address: int) -> np.ndarray | None:
        """The tensor with its axes as numpy counts them, the slowest first; None: quantised."""
        tensor = _Tensor.from_address(address)
        dtype = np.dtype(np.uint16 if tensor.type == _BF16 else _TYPES.get(tensor.type, np.void))
        if dtype.kind == "V":
            return None
        data = np.empty(self.size(address), np.uint8)
        self.get(address, data.ctypes.data, 0, data.nbytes)
        view = np.ndarray(tuple(tensor.ne)[::-1], dtype, data, 0, tuple(tensor.nb)[::-1])
        if tensor.type == _BF16:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view.copy()


class GraphRecording(Recording):
    """Records the nodes of a graph that is computed with :meth:`node` as its cb_eval.

    library: the loaded library that has ggml's functions. path, only: as of :func:`assay.record`.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        path: str | os.PathLike[str] | None = None,
        only: str | None = None,
    ) -> None:
        super().__init__(path, only)
        self._ggml = _Ggml(library)
        self._first = b""
        self._passes = 0

    def node(self, address: int, ask: bool, _user_data: Any = None) -> bool:
        """ggml_backend_sched_eval_callback: of the tensor at this address; of the first pass only.

        The last node of a name counts: Qcur is the product first, and rotated last.
        """
        name = self._ggml.name(address)
        try:
            if not name or any(mark in name for mark in _UNNAMED):
                return not ask
            if ask:
                # A pass's first node comes once in it.
                self._passes += name == self._first
                self._first = self._first or name
                return self._passes == 0
            values = self._ggml.values(address)
            text = name.decode(errors="replace")
            if values is not None and (self._only is None or fnmatchcase(text, self._only)):
                self[text] = values
        except Exception as error:  # it must not pass through C
            self.skipped.append(f"{name!r}: {error}")
        return True


class _LlamaRecording(GraphRecording):
    """A recording of a context that replaces the model's own for its duration."""

    def __init__(self, llm: Any, path: str | os.PathLike[str] | None, only: str | None) -> None:
        import llama_cpp
        from llama_cpp import _internals

        super().__init__(llama_cpp.llama_cpp._lib, path, only)
        self._llm = llm
        callback = llama_cpp.ggml_backend_sched_eval_callback(self.node)
        params = type(llm.context_params).from_buffer_copy(llm.context_params)
        # One pass for the whole prompt; attention step by step, so that its values are seen.
        params.n_batch = params.n_ubatch = max(params.n_ctx, 1)
        params.flash_attn_type = 0
        params.cb_eval = callback
        own, own_batch = llm._ctx, llm.n_batch
        context: Any = _internals.LlamaContext(model=llm._model, params=params, verbose=False)

        def restore() -> None:
            llm._ctx, llm.n_batch = own, own_batch
            llm.reset()
            context.close()
            del callback_alive[:]

        callback_alive = [callback]
        llm._ctx = context
        llm.reset()
        self._hooks.callback(restore)

    def __exit__(self, kind: type | None, *rest: object) -> None:
        llm = self._llm
        ran = np.array(llm.input_ids[: llm.n_tokens])
        if len(ran) and self and "input_ids" not in self:
            tokens = next(
                (len(ran) if a.ndim < 2 else a.shape[-2] for a in self.values()), len(ran)
            )
            self["input_ids"] = ran[None, :tokens]
        super().__exit__(kind, *rest)


def record(
    llm: Any, path: str | os.PathLike[str] | None = None, *, only: str | None = None
) -> Recording:
    """Records every named node of the first pass that a llama_cpp.Llama computes in the block.

    ::

        with record(llm, "dump/prompt1.npz"):
            llm.eval(ids)                        # or llm.create_completion(ids, max_tokens=16)

    llm: a llama_cpp.Llama. While the block runs it has another context, with the same settings but
    for these: the whole prompt is one batch, and flash attention is off. Its cache is empty before
    and after. Logits are those of the last position, unless llm was made with logits_all=True.
    path, only: as of :func:`assay.record`.

    Names are llama.cpp's ("l_out-0", "result_output"); tensors have their axes in numpy's order,
    and BF16 becomes FP32. Quantised tensors, views and nodes without a name are left out. "input_ids"
    has the prompt's tokens.

    Returns the :class:`assay.record.Recording`. Raises what llama_cpp raises if there is no memory
    for a second context.
    """
    return _LlamaRecording(llm, path, only)
