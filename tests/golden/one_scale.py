"""Makes one_scale.onnx: a small graph whose vectors depend on the other texts of the batch.

    pip install onnx==1.23.2 numpy
    python one_scale.py

DynamicQuantizeLinear, which quantizers of ONNX put before each product of matrices, has one scale for
the whole batch. Some tokens have values here that are a hundred times those of others.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH = 64, 8

random = np.random.default_rng(1)
size = np.where(np.arange(TOKENS) % 5 == 0, 100, 1)[:, None]
table = (random.normal(size=(TOKENS, WIDTH)) * size).astype(np.float32)
constants = {
    "tokens": np.int64(TOKENS),
    "table": table,
    "weights": random.integers(-63, 64, (WIDTH, WIDTH)).astype(np.int8),
    "no_zero_point": np.int8(0),
}
nodes = [
    helper.make_node("Mod", ["input_ids", "tokens"], ["row"]),
    helper.make_node("Gather", ["table", "row"], ["embedding"]),
    helper.make_node("DynamicQuantizeLinear", ["embedding"], ["narrow", "scale", "zero_point"]),
    helper.make_node("MatMulInteger", ["narrow", "weights", "zero_point", "no_zero_point"], ["sums"]),
    helper.make_node("Cast", ["sums"], ["product"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["product", "scale"], ["last_hidden_state"]),
]
shape = ["batch", "sequence"]
graph = helper.make_graph(
    nodes,
    "one_scale",
    [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
    [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, WIDTH])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
path = Path(__file__).with_suffix(".onnx")
path.write_bytes(model.SerializeToString(deterministic=True))
