"""mlx-lm."""

import mlx.core as mx
from dumping import MODEL, run
from mlx_lm.utils import load_model

mx.set_default_device(mx.cpu)
model = load_model(MODEL)[0]
model.set_dtype(mx.float32)
run(model, lambda ids: model(mx.array([ids])))
