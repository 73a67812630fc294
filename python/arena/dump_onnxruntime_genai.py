"""onnxruntime-genai: its builder's graph, run by onnxruntime with inner values as outputs."""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from dumping import MODEL, config, prompts, save
from onnxruntime_genai.models.builder import create_model, parse_extra_options

with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
    arguments = (None, str(MODEL), folder, "fp32", "cpu", folder)
    # The short caches of sliding layers are onnxruntime-genai's to fill.
    create_model(*arguments, **parse_extra_options(*arguments, ["windowed_kv_cache=false"]))
    graph = onnx.load(Path(folder) / "model.onnx")
    inner = [
        name
        for node in graph.graph.node
        for name in node.output
        if name.startswith("/model/") and ("layernorm" in name or "proj" in name or "mlp" in name)
    ]
    inner = [name for name in inner if not name.startswith("/model/attn_mask_reformat")]
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in inner
    )
    onnx.save(graph, Path(folder) / "open.onnx", save_as_external_data=True, location="open.data")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(Path(folder) / "open.onnx"), options)

for prompt, ids in prompts():
    feed = {}
    for wanted in session.get_inputs():
        if wanted.name == "input_ids":
            feed[wanted.name] = np.array([ids])
        elif wanted.name == "attention_mask":
            feed[wanted.name] = np.ones((1, len(ids)), np.int64)
        elif wanted.name == "position_ids":
            feed[wanted.name] = np.arange(len(ids))[None]
        else:  # an empty cache
            small = config()
            heads, size = small["num_key_value_heads"], small["head_dim"]
            feed[wanted.name] = np.zeros((1, heads, 0, size), np.float32)
    outputs = ["logits", *inner]
    values = dict(zip(outputs, session.run(outputs, feed), strict=True))
    save(prompt, ids, {n.strip("/").replace("/", "."): v for n, v in values.items()})
