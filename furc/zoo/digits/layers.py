"""Layers that can learn, in NumPy: each computes its output and, from the loss's gradient there, that at its input.

Activations are [n, h, w, c], so that a convolution is one matrix product a kernel tap. Weights have ONNX's shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Initial = Callable[[str, tuple[int, ...]], Array]  # (name, shape) -> the values that training starts from


@dataclass(eq=False)
class Parameter:
    """What Adam moves. gradient: of the loss, from the last backward()."""

    name: str
    value: Array
    gradient: Array


class Layer(Protocol):
    """backward() belongs to the forward() before it, whose input the layer keeps."""

    def forward(self, x: Array) -> Array: ...

    def backward(self, gradient: Array) -> Array: ...

    def parameters(self) -> Iterator[Parameter]: ...


class _Weightless:
    def parameters(self) -> Iterator[Parameter]:
        return iter(())


class _Weighted:
    def __init__(self, path: str, shape: tuple[int, ...], initial: Initial) -> None:
        names = ((f"{path}.weight", shape), (f"{path}.bias", shape[:1]))
        values = [(name, initial(name, size)) for name, size in names]
        self.weight, self.bias = (Parameter(name, value, np.zeros_like(value)) for name, value in values)

    def parameters(self) -> Iterator[Parameter]:
        yield from (self.weight, self.bias)


class Conv(_Weighted):
    """Stride 1, padded to keep the size. weight [o, c, k, k]."""

    def __init__(self, path: str, inputs: int, outputs: int, kernel: int, initial: Initial) -> None:
        super().__init__(path, (outputs, inputs, kernel, kernel), initial)

    def forward(self, x: Array) -> Array:
        self._taps = _Taps(x, self.weight.value.shape[2])
        return self.bias.value + sum(self._through(x, self._tap(i, j)) for i, j, x in self._taps)

    def backward(self, gradient: Array) -> Array:
        self.bias.gradient = gradient.sum(axis=(0, 1, 2))
        for i, j, x in self._taps:
            self.weight.gradient[:, :, i, j] = self._tap_gradient(x, gradient)
        return self._taps.scatter(lambda i, j: self._back(gradient, self._tap(i, j)))

    def _tap(self, row: int, column: int) -> Array:
        return self.weight.value[:, :, row, column]

    def _through(self, x: Array, tap: Array) -> Array:
        return x @ tap.T

    def _tap_gradient(self, x: Array, gradient: Array) -> Array:
        return np.tensordot(gradient, x, axes=((0, 1, 2), (0, 1, 2)))

    def _back(self, gradient: Array, tap: Array) -> Array:
        return gradient @ tap


class DepthwiseConv(Conv):
    """Each channel has its own filter. weight [c, 1, k, k]."""

    def __init__(self, path: str, channels: int, kernel: int, initial: Initial) -> None:
        super().__init__(path, 1, channels, kernel, initial)

    def _through(self, x: Array, tap: Array) -> Array:
        return x * tap[:, 0]

    def _tap_gradient(self, x: Array, gradient: Array) -> Array:
        product: Array = (x * gradient).sum(axis=(0, 1, 2))
        return product[:, np.newaxis]

    def _back(self, gradient: Array, tap: Array) -> Array:
        return gradient * tap[:, 0]


class Dense(_Weighted):
    """x [n, in] -> [n, out]. weight [out, in]."""

    def __init__(self, path: str, inputs: int, outputs: int, initial: Initial) -> None:
        super().__init__(path, (outputs, inputs), initial)

    def forward(self, x: Array) -> Array:
        self._x = x
        return x @ self.weight.value.T + self.bias.value

    def backward(self, gradient: Array) -> Array:
        self.weight.gradient = gradient.T @ self._x
        self.bias.gradient = gradient.sum(axis=0)
        return gradient @ self.weight.value


class Relu(_Weightless):
    def forward(self, x: Array) -> Array:
        self._positive = x > 0
        return x * self._positive

    def backward(self, gradient: Array) -> Array:
        return gradient * self._positive


class MaxPool(_Weightless):
    """The largest of each 2x2 pixels. Where several are, they share the gradient."""

    def forward(self, x: Array) -> Array:
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
        largest: Array = windows.max(axis=(2, 4), keepdims=True)
        chosen = (windows == largest).astype(x.dtype)
        self._share: Array = chosen / chosen.sum(axis=(2, 4), keepdims=True)
        return largest[:, :, 0, :, 0]

    def backward(self, gradient: Array) -> Array:
        n, h, w, c = gradient.shape
        return (self._share * gradient[:, :, np.newaxis, :, np.newaxis]).reshape(n, 2 * h, 2 * w, c)


class GlobalAverage(_Weightless):
    """[n, h, w, c] -> [n, c]."""

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        average: Array = x.mean(axis=(1, 2))
        return average

    def backward(self, gradient: Array) -> Array:
        pixels = self._shape[1] * self._shape[2]
        return np.broadcast_to(gradient[:, np.newaxis, np.newaxis] / pixels, self._shape)


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    def forward(self, x: Array) -> Array:
        for layer in self._layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient: Array) -> Array:
        for layer in reversed(self._layers):
            gradient = layer.backward(gradient)
        return gradient

    def parameters(self) -> Iterator[Parameter]:
        for layer in self._layers:
            yield from layer.parameters()


class Residual(Chain):
    """x plus what the layers make of it."""

    def forward(self, x: Array) -> Array:
        return x + super().forward(x)

    def backward(self, gradient: Array) -> Array:
        return gradient + super().backward(gradient)


class _Taps:
    """The padded input as each kernel tap sees it: iterates (row, column, x [n, h, w, c])."""

    def __init__(self, x: Array, kernel: int) -> None:
        self._kernel, self._pad, (_, self._height, self._width, _) = kernel, kernel // 2, x.shape
        border = (self._pad, self._pad)
        self._padded = np.pad(x, ((0, 0), border, border, (0, 0)))

    def __iter__(self) -> Iterator[tuple[int, int, Array]]:
        for row, column in np.ndindex(self._kernel, self._kernel):
            yield row, column, self._seen(self._padded, row, column)

    def scatter(self, part: Callable[[int, int], Array]) -> Array:
        """Add up part(row, column) [n, h, w, c] at the pixels that tap saw. Gives [n, h, w, c], without the padding."""
        total = np.zeros_like(self._padded)
        for row, column in np.ndindex(self._kernel, self._kernel):
            self._seen(total, row, column)[:] += part(row, column)
        return self._seen(total, self._pad, self._pad)

    def _seen(self, padded: Array, row: int, column: int) -> Array:
        return padded[:, row : row + self._height, column : column + self._width]
