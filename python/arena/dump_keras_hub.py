"""keras-hub, which loads the checkpoint itself. Argument: the class of the backbone."""

import os
import re

os.environ["KERAS_BACKEND"] = "torch"
import keras
import keras_hub
import numpy as np
from dumping import MODEL, WORDS, prompts, save
from record import Recording

arrays = Recording()
# The layers' own names, one below the other.
names: dict[int, str] = {}


def name_below(layer: keras.Layer, prefix: str) -> None:
    for inner in layer._layers:  # those that have no name of their own are numbered by keras
        own = f"{prefix}.{re.sub('_[0-9]+$', '', inner.name)}" if prefix else inner.name
        names[id(inner)] = own
        name_below(inner, own)


called = keras.Layer.__call__


def recorded(layer: keras.Layer, *inputs: object, **more: object) -> object:
    output = called(layer, *inputs, **more)
    if id(layer) in names:
        arrays.add(names[id(layer)], output)
    return output


keras.Layer.__call__ = recorded
kind = getattr(keras_hub.models, WORDS[0])
backbone = kind.from_preset(str(MODEL), dtype="float32")
name_below(backbone, "")
for prompt, ids in prompts():
    arrays = Recording()
    tokens = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), np.int32)}
    hidden = backbone(tokens)
    dump = dict(arrays)
    logits = backbone.token_embedding(hidden, reverse=True)
    save(prompt, ids, {**dump, "logits": keras.ops.convert_to_numpy(logits)})
