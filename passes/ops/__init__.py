"""Every operator, by family. Importing this package declares all of them."""

from passes.ops import channels, commands, concat, conv, elementwise, host, matmul, move, pool, reduce

FAMILIES = (host, conv, matmul, pool, reduce, channels, elementwise, move, concat, commands)
