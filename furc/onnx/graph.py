"""A mutable ONNX graph: what everything that edits a model works on.

Protobuf messages compare by value and find nothing by name, so a pass over them is either slow or wrong. Here a node is
an object with an identity, weights are NumPy arrays, and every tensor knows its producer and its readers.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.model_proto import OWN_DOMAINS, SMALL, inferred, input_infos, opset_of, read_inside, without_graph
from furc.onnx.soundness import CHECK
from isa.errors import Loc, QuantizeError

Array = np.ndarray[Any, np.dtype[Any]]  # an ONNX constant may have any element type
Float32 = NDArray[np.float32]
Shape = tuple[int, ...]
KEEP_FLOAT = "furc.keep_float"  # metadata: names of the nodes that are not quantized, one a line
INTEGERS = (
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Node:
    """One operator. Inputs may be "" where an optional input is left out."""

    op: str
    inputs: list[str]
    outputs: list[str]
    name: str = ""
    domain: str = ""
    attributes: dict[str, onnx.AttributeProto] = field(default_factory=dict)

    @property
    def loc(self) -> Loc:
        return Loc(nodes=(self.name or self.outputs[0],))

    @property
    def output(self) -> str:
        return self.outputs[0]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, list of them, str or ndarray."""
        if name not in self.attributes:
            return default
        value = helper.get_attribute_value(self.attributes[name])
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, onnx.TensorProto):
            return numpy_helper.to_array(value)
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value

    def set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            self.attributes[name] = helper.make_attribute(name, value)

    def proto(self) -> onnx.NodeProto:
        """The node as ONNX."""
        made = helper.make_node(self.op, self.inputs, self.outputs, name=self.name, domain=self.domain)
        made.attribute.extend(self.attributes.values())
        return made

    def input(self, index: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def read(self) -> list[str]:
        """The tensors that it reads, each once, those of bodies of If, Loop and Scan with them."""
        return [name for name in dict.fromkeys([*self.inputs, *read_inside(self.attributes.values())]) if name]


def make(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> Node:
    """A new node of the default domain."""
    node = Node(op, list(inputs), list(outputs), name)
    node.set(**attributes)
    return node


class Graph:
    """A model taken apart; `model()` puts it together again.

    constants: initializers by name. inputs, outputs: names of the graph's own.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = [_node(proto) for proto in model.graph.node]
        self.constants: dict[str, Array] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self._head = onnx.ModelProto()
        self._head.CopyFrom(without_graph(model))
        self._name = str(model.graph.name)
        infos = input_infos(model)
        self._infos = {i.name: i for i in (*model.graph.value_info, *model.graph.output, *infos)}  # some are both
        self.inputs = [str(i.name) for i in infos]
        self.outputs = [str(o.name) for o in model.graph.output]
        self._kept_float: frozenset[str] | None = None
        self._producers: dict[str, Node] | None = None
        self._readers: dict[str, list[Node]] = {}

    def copied(self, nodes: Iterable[Node] | None = None) -> Graph:
        """Another graph to edit. It shares weights and attributes: whoever edits puts others in their place.

        nodes: these alone, by default all.
        """
        other = copy.copy(self)
        other.nodes = [replace(n, inputs=[*n.inputs], outputs=[*n.outputs], attributes={**n.attributes})
                       for n in (self.nodes if nodes is None else nodes)]  # fmt: skip
        other.constants, other._infos = dict(self.constants), dict(self._infos)
        other.inputs, other.outputs = list(self.inputs), list(self.outputs)
        other._head = onnx.ModelProto()
        other._head.CopyFrom(self._head)
        other.changed()
        return other

    @property
    def opset(self) -> int:
        return opset_of(self._head) or 1

    def raise_opset(self, least: int) -> None:
        """Let it be read as a model of opset `least` where it is older."""
        for entry in self._head.opset_import:
            if entry.domain in OWN_DOMAINS:
                entry.version = max(entry.version, least)

    def input_infos(self) -> list[onnx.ValueInfoProto]:
        """Types and shapes of the graph's own inputs."""
        return [self._infos[name] for name in self.inputs]

    @property
    def metadata(self) -> dict[str, str]:
        return {p.key: p.value for p in self._head.metadata_props}

    def set_metadata(self, key: str, value: str) -> None:
        kept = {**self.metadata, key: value}
        del self._head.metadata_props[:]
        helper.set_model_props(self._head, kept)
        self._kept_float = None

    def stays_float(self, node: Node) -> bool:
        """Whether the model notes that a node is not to be quantized, see furc/quantizer/noise/keep_float.py."""
        if self._kept_float is None:
            self._kept_float = frozenset(self.metadata.get(KEEP_FLOAT, "").splitlines())
        return node.name in self._kept_float

    def producer(self, name: str) -> Node | None:
        """The node that makes a tensor; None for graph inputs and constants."""
        return self._index()[0].get(name)

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a tensor, each once, in order."""
        return self._index()[1].get(name, [])

    def only_reader(self, name: str) -> Node | None:
        """The one node that reads a tensor which is not a graph output; else None."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def changed(self) -> None:
        """To be called after editing `nodes` or the inputs and outputs of one."""
        self._producers = None

    def _index(self) -> tuple[dict[str, Node], dict[str, list[Node]]]:
        if self._producers is None:
            self._producers, self._readers = {}, {}
            for node in self.nodes:
                for name in node.outputs:
                    self._producers[name] = node
                for name in node.read():
                    self._readers.setdefault(name, []).append(node)
        return self._producers, self._readers

    def is_constant(self, name: str) -> bool:
        return name in self.constants

    def shape(self, name: str) -> Shape | None:
        """Extents of a tensor, None where any is unknown."""
        if name in self.constants:
            return tuple(self.constants[name].shape)
        info = self._infos.get(name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            return None
        dims = info.type.tensor_type.shape.dim
        return tuple(int(d.dim_value) for d in dims) if all(d.HasField("dim_value") for d in dims) else None

    def rank(self, name: str) -> int | None:
        """How many axes a tensor has, None where that is unknown."""
        if name in self.constants:
            return self.constants[name].ndim
        info = self._infos.get(name)
        known = info is not None and info.type.tensor_type.HasField("shape")
        return len(info.type.tensor_type.shape.dim) if info is not None and known else None

    def extents(self, name: str) -> tuple[int | None, ...] | None:
        """Of a tensor, None for each that is open; None where not even their number is known."""
        if self.rank(name) is None or name in self.constants:
            return self.shape(name)
        dims = self._infos[name].type.tensor_type.shape.dim
        return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32, as far as shape inference knows."""
        if name in self.constants:
            return self.constants[name].dtype == np.float32
        info = self._infos.get(name)
        return info is not None and info.type.tensor_type.elem_type == TensorProto.FLOAT

    def is_integer(self, name: str) -> bool:
        """Whether a tensor holds integers, as far as shape inference knows."""
        if name in self.constants:
            return self.constants[name].dtype.kind in "iu"
        info = self._infos.get(name)
        return info is not None and info.type.tensor_type.elem_type in INTEGERS

    def add_constant(self, name: str, value: Array) -> str:
        """Store a constant under a name of its own that starts with `name`."""
        fresh = self.fresh(name)
        self.constants[fresh] = value
        return fresh

    def fresh(self, name: str) -> str:
        """`name`, or `name` with a number where a tensor already has it."""
        producers, readers = self._index()
        taken = (self.constants, producers, readers, self.inputs)
        candidates = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
        return next(c for c in candidates if not any(c in names for names in taken))

    def rename_reads(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
        self.changed()

    def remove(self, dead: Iterable[Node]) -> None:
        gone = {id(node) for node in dead}
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.changed()

    def part(self, nodes: Iterable[Node], inputs: Iterable[str], outputs: Iterable[str]) -> Graph:
        """A copy with some of the nodes alone, in this order, between these tensors. nodes: of this graph or a copy."""
        part = self.copied(own for node in nodes if (own := self.producer(node.output)) is not None)
        part.inputs, part.outputs = list(inputs), list(outputs)
        part.changed()
        part.remove_dead()
        return part

    def remove_dead(self) -> None:
        """Drop nodes and constants that no output depends on."""
        wanted, kept = set(self.outputs), list[Node]()
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                kept.append(node)
                wanted.update(node.read())
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in wanted}
        self.changed()

    def insert_before(self, node: Node, new: Sequence[Node]) -> None:
        at = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[at:at] = new
        self.changed()

    def replace(self, node: Node, new: Sequence[Node]) -> None:
        """Put nodes in the place of one; it may be among them."""
        at = self.nodes.index(node)
        self.nodes[at : at + 1] = new
        self.changed()

    def set_info(self, info: onnx.ValueInfoProto) -> None:
        """Give a tensor another type or shape."""
        self._infos[info.name] = info

    def set_float(self, name: str, shape: Sequence[int | None] | None) -> None:
        """Let a tensor be float32 of this shape; None where an extent, or all, is not known."""
        self.set_info(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def set_alike(self, name: str, other: str) -> None:
        """Let a tensor have the elements of another, as far as shape inference knows them, else float32."""
        kind = self._output_info(other).type.tensor_type.elem_type
        self.set_info(helper.make_tensor_value_info(name, kind, None))

    def model(self) -> onnx.ModelProto:
        """The model as ONNX, with the value infos of the tensors that still exist."""
        model = onnx.ModelProto()
        model.CopyFrom(self._head)
        made = {name for node in self.nodes for name in node.outputs}
        model.graph.name = self._name or "graph"
        model.graph.node.extend(node.proto() for node in self.nodes)
        model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in self.constants.items())
        model.graph.input.extend(self._infos[name] for name in self.inputs)
        model.graph.output.extend(self._output_info(name) for name in self.outputs)
        inner = made.difference(self.outputs)
        model.graph.value_info.extend(info for name, info in self._infos.items() if name in inner)
        return model

    def infer(self) -> None:
        """Forget the shapes of what nodes make, and find every one that can be known without running them. Weights
        are not copied for it. Raises QuantizeError BadModel."""
        light, weights = self._parted()
        for name, value in weights.items():
            light.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
        found = inferred(light)
        self._infos = {i.name: i for i in (*found.value_info, *found.output, *self.input_infos())}

    def light_model(self) -> tuple[onnx.ModelProto, dict[str, Array]]:
        """The model without its large float32 weights, and these: `isa.ort.session` puts them together uncopied."""
        model, weights = self._parted()
        for name, value in weights.items():
            tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="in memory")
        return model, {name: np.ascontiguousarray(value) for name, value in weights.items()}

    def _parted(self) -> tuple[onnx.ModelProto, dict[str, Array]]:
        """The model without its large float32 weights, and these."""
        weights = {n: v for n, v in self.constants.items() if v.dtype == np.float32 and v.size > SMALL}
        rest = copy.copy(self)
        rest.constants = {n: v for n, v in self.constants.items() if n not in weights}
        return rest.model(), weights

    def _output_info(self, name: str) -> onnx.ValueInfoProto:
        return self._infos.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def activations(graph: Graph) -> list[str]:
    """Float tensors that depend on data: the graph inputs and what every node makes, in order."""
    names = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs if name)]
    return [name for name in dict.fromkeys(names) if graph.is_float(name)]


def rewrite(graph: Graph, rule: Callable[[Graph, Node], bool]) -> int:
    """Apply a rule to every node until it changes nothing; how often it did. Raises QuantizeError BadModel."""
    count = 0
    while True:
        before = count
        for node in list(graph.nodes):
            with blamed(node):
                count += rule(graph, node)
        if count == before:
            return count


@contextmanager
def blamed(node: Node) -> Iterator[None]:
    """What goes wrong inside is the node's: its attributes and inputs contradict each other."""
    try:
        yield
    except (ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise QuantizeError(
            "BadModel", f"{node.op}: attributes and inputs do not go together ({error})", at=node.loc, hint=CHECK
        ) from error


def _node(proto: onnx.NodeProto) -> Node:
    attributes = {a.name: a for a in proto.attribute}
    return Node(proto.op_type, list(proto.input), list(proto.output), proto.name, proto.domain, attributes)
