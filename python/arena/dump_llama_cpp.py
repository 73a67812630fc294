"""llama.cpp: the library of xllamacpp under the header of llama-cpp-py-sync. MODEL is a .gguf file.

Word: the number of greedy tokens; or "tokens": no run, but the ids of each prompt as a line of a file.
"""

import ctypes
import json
import sys

import numpy as np
from dumping import MODEL, OUT, WORDS, prompts, save
from llama_cpp_py_sync._cffi_bindings import ffi
from record.llama_cpp import GraphRecording
from xllamacpp import xllamacpp

llama = ffi.dlopen(xllamacpp.__file__)
FLOAT32 = 0  # ggml's number of the type
nodes: GraphRecording


@ffi.callback("bool(struct ggml_tensor *, bool, void *)")
def after_node(node, ask, _user_data):
    return nodes.node(int(ffi.cast("intptr_t", node)), ask)


def decode(context, ids: list[int], first: int) -> np.ndarray:
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.logits[i] = token, first + i, 1
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
    assert llama.llama_decode(context, batch) == 0
    llama.llama_batch_free(batch)
    rows = [llama.llama_get_logits_ith(context, i) for i in range(len(ids))]
    return np.array([np.frombuffer(ffi.buffer(row, 4 * vocabulary), np.float32) for row in rows])


def encode(text: str) -> list[int]:
    """As the model gets it: with a BOS token where the file asks for one."""
    data = text.encode()
    tokens = ffi.new("llama_token[]", len(data) + 8)
    count = llama.llama_tokenize(vocab, data, len(data), tokens, len(data) + 8, True, True)
    assert count >= 0
    return list(tokens[0:count])


llama.llama_backend_init()
model = llama.llama_model_load_from_file(
    str(MODEL).encode(), llama.llama_model_default_params()
)
vocab = llama.llama_model_get_vocab(model)
vocabulary = llama.llama_vocab_n_tokens(vocab)
if WORDS[0] == "tokens":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("".join(json.dumps(ids) + "\n" for _, ids in prompts(encode)))
    sys.exit()
for prompt, ids in prompts(encode):
    options = llama.llama_context_default_params()
    options.n_ctx, options.n_threads, options.n_threads_batch = 512, 1, 1
    options.flash_attn_type = 0  # the probabilities are then seen
    options.type_k = options.type_v = FLOAT32
    options.cb_eval = after_node
    context = llama.llama_init_from_model(model, options)
    nodes = GraphRecording(ctypes.CDLL(xllamacpp.__file__))
    logits = decode(context, ids, 0)
    dump = {**nodes, "logits": logits}
    generated = list(ids)
    for _ in range(int(WORDS[0])):
        generated.append(int(logits[-1].argmax()))
        if llama.llama_vocab_is_eog(vocab, generated[-1]):
            break
        logits = decode(context, generated[-1:], len(generated) - 1)
    save(prompt, ids, {**dump, "generated_ids": np.array([generated])})
    llama.llama_free(context)
