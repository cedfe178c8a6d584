"""Makes the graphs that the engine reads of a sentence-transformers BERT.

    convert.py restore GRAPH WEIGHTS F32
    convert.py quantize F32 INT8

GRAPH is the model as ONNX with 8-bit weights that it widens with Cast and Mul before use. Quantizing
that would quantize twice, so `restore` puts the f32 weights of WEIGHTS (safetensors) in the place of
those that are widened. `quantize` has its matrices multiplied in 8 bits. The same input gives the
same bytes: the caller knows the sums of both files.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

# The export wrapped the model in a module of this name.
PREFIX = "inner."
# Weights of 7 bits: 8 would saturate the 16-bit sums of an x86 without VNNI.
LARGEST_WEIGHT = 63
# Activations are symmetric around the zero point of an unsigned byte.
LARGEST_ACTIVATION = 127
ZERO_POINT = 128
# Smaller tables of embeddings stay f32.
SMALL_TABLE = 1 << 20


def main(command: str, *paths: str) -> None:
    *sources, target = paths
    model = onnx.load(sources[0])
    if command == "restore":
        restore(model.graph, load_file(sources[1]))
    else:
        quantize(model.graph)
    onnx.checker.check_model(model)
    Path(target).write_bytes(model.SerializeToString(deterministic=True))


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


def quantize(graph: onnx.GraphProto) -> None:
    """Multiplies matrices in 8 bits, with a scale for each row of the left and column of the right.

    DynamicQuantizeLinear, the operator made for this, has one scale for the whole tensor, and so a
    vector that depends on the other texts of the batch. A row is one token: its scale is its own.
    """
    quantized = Quantized(graph)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in quantized.weights:
            quantized.matmul(node)
        elif node.op_type == "Gather" and quantized.is_large_table(node.input[0]):
            quantized.gather(node)
        else:
            quantized.nodes.append(node)
    keep(graph.node, quantized.nodes)
    used = {name for node in graph.node for name in node.input}
    keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])


class Quantized:
    """A graph that becomes one of 8-bit weights, node by node."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes = []
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.weights = {name for name, tensor in tensors.items() if is_matrix(tensor)}
        self.tensors = tensors
        # Of each left side its 8-bit rows and their largest values: query, key and value share one.
        self.rows = {}
        self.one = self.constant("one", np.float32(1))
        self.largest = self.constant("largest", np.float32(LARGEST_ACTIVATION))
        self.smallest = self.constant("smallest", np.float32(1e-10))
        self.zero_point = self.constant("zero_point", np.uint8(ZERO_POINT))
        self.no_zero_point = self.constant("no_zero_point", np.int8(0))

    def is_large_table(self, name: str) -> bool:
        return name in self.weights and len(self.tensors[name].raw_data) > SMALL_TABLE

    def matmul(self, node: onnx.NodeProto) -> None:
        left, right = node.input
        rows, largest = self.quantized_rows(left)
        weight, scale = narrow(numpy_helper.to_array(self.tensors[right]), axis=0)
        weight = self.constant(f"{right}_int8", weight)
        scale = self.constant(f"{right}_scale", scale.ravel() / np.float32(LARGEST_ACTIVATION))
        output = node.output[0]
        zero_points = [self.zero_point, self.no_zero_point]
        sums = self.add("MatMulInteger", [rows, weight, *zero_points], f"{output}_sums")
        sums = self.add("Cast", [sums], f"{output}_cast", to=onnx.TensorProto.FLOAT)
        sums = self.add("Mul", [sums, scale], f"{output}_columns")
        self.add("Mul", [sums, largest], output)

    def quantized_rows(self, name: str) -> tuple[str, str]:
        if name not in self.rows:
            most = self.add("ReduceMax", [name], f"{name}_most", axes=[-1], keepdims=1)
            least = self.add("ReduceMin", [name], f"{name}_least", axes=[-1], keepdims=1)
            least = self.add("Neg", [least], f"{name}_negated")
            largest = self.add("Max", [most, least, self.smallest], f"{name}_largest")
            factor = self.add("Div", [self.largest, largest], f"{name}_factor")
            scaled = self.add("Mul", [name, factor], f"{name}_scaled")
            arguments = [scaled, self.one, self.zero_point]
            self.rows[name] = (self.add("QuantizeLinear", arguments, f"{name}_rows"), largest)
        return self.rows[name]

    def gather(self, node: onnx.NodeProto) -> None:
        table, ids = node.input
        rows, scale = narrow(numpy_helper.to_array(self.tensors[table]), axis=1)
        rows, scale = self.constant(f"{table}_int8", rows), self.constant(f"{table}_scale", scale)
        output = node.output[0]
        rows = self.add("Gather", [rows, ids], f"{output}_rows")
        rows = self.add("Cast", [rows], f"{output}_cast", to=onnx.TensorProto.FLOAT)
        scales = self.add("Gather", [scale, ids], f"{output}_scales")
        self.add("Mul", [rows, scales], output)

    def constant(self, name: str, value) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, inputs: list, output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output


def is_matrix(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2


def narrow(weight, axis: int) -> tuple:
    """The weight in 8 bits, and what to multiply it with: one scale for all that lies along `axis`."""
    most = np.maximum(np.abs(weight).max(axis, keepdims=True), np.float32(1e-10))
    scale = most / np.float32(LARGEST_WEIGHT)
    return np.rint(weight / scale).astype(np.int8), scale


def keep(field, kept: list) -> None:
    """Replaces the content of a repeated field, which owns its items and clears them."""
    copies = [type(item).FromString(item.SerializeToString()) for item in kept]
    del field[:]
    field.extend(copies)


if __name__ == "__main__":
    main(*sys.argv[1:])
