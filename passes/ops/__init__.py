"""Every operator, by family. Importing this package declares all of them."""

from passes.ops import commands, concat, conv, elementwise, host, move, pool, reduce

FAMILIES = (host, conv, pool, reduce, elementwise, move, concat, commands)
