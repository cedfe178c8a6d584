"""Makes model.onnx (f32) and model.int8.onnx of a sentence-transformers BERT.

    convert.py GRAPH WEIGHTS OUT

GRAPH is the model as ONNX with 8-bit weights that it widens with Cast and Mul before use. Quantising
that would quantise twice, so the f32 weights of WEIGHTS (safetensors) take the place of what is
widened first. The same input gives the same bytes: the caller knows the sums of both files.
"""

import sys
from pathlib import Path

import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

# The export wrapped the model in a module of this name.
PREFIX = "inner."


def main(graph: str, weights: str, out: str) -> None:
    f32 = Path(out) / "model.onnx"
    int8 = Path(out) / "model.int8.onnx"
    model = onnx.load(graph)
    restore(model.graph, load_file(weights))
    onnx.checker.check_model(model)
    f32.write_bytes(model.SerializeToString(deterministic=True))
    # A scale for each channel keeps the cosine to f32 at 0.99 (one scale: 0.96); weights of 7 bits
    # do not saturate the 16-bit sums of an x86 without VNNI.
    quantize_dynamic(f32, int8, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def restore(graph: onnx.GraphProto, weights: dict) -> None:
    """Puts the f32 weights where the graph widens 8-bit ones or holds a copy of its own."""
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    narrow = {name.removesuffix("_q") for name in initializers if name.endswith("_q")}
    sources = names_of_weights(graph, initializers)
    for name in sorted(narrow):
        key, transposed = sources[name]
        weight = weights[key].T if transposed else weights[key]
        if list(weight.shape) != list(initializers[f"{name}_q"].dims):
            raise SystemExit(f"{name}: {key} has the shape {weight.shape}")
        # `copy`: a transposed view is written row by row, as ONNX has it.
        graph.initializer.append(numpy_helper.from_array(weight.copy(order="C"), name))
    for name, tensor in initializers.items():
        key = name.removeprefix(PREFIX)
        if key in weights and tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(weights[key], name))

    dropped = {name + suffix for name in narrow for suffix in ("_q", "_scale")}
    keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in dropped])
    keep(graph.node, [node for node in graph.node if widened(node) not in narrow])


def names_of_weights(graph: onnx.GraphProto, initializers: dict) -> dict:
    """For every weight of the graph its key among the safetensors, and whether it is transposed.

    Embeddings have kept their names. The export has renamed the weights of the linear layers, but
    not their biases: whatever is multiplied before `query.bias` is added is `query.weight`.
    """
    found = {}
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0].startswith(PREFIX):
            found[node.input[0]] = (node.input[0].removeprefix(PREFIX), False)
        if node.op_type == "MatMul" and node.output[0] in added:
            for bias in added[node.output[0]].input:
                if bias in initializers and bias.endswith(".bias"):
                    key = bias.removeprefix(PREFIX).removesuffix("bias") + "weight"
                    found[node.input[1]] = (key, True)
    return found


def widened(node: onnx.NodeProto) -> str | None:
    """The weight that this node helps to widen, if it is a Cast or a Mul as these pairs are."""
    return node.output[0].removesuffix("_f") if node.op_type in ("Cast", "Mul") else None


def keep(field, kept: list) -> None:
    """Replaces the content of a repeated field, which owns its items and clears them."""
    copies = [type(item).FromString(item.SerializeToString()) for item in kept]
    del field[:]
    field.extend(copies)


if __name__ == "__main__":
    main(*sys.argv[1:])
