"""Every operator, by family. Importing this package declares all of them."""

from passes.ops import commands, concat, conv, elementwise, host, move, pool

FAMILIES = (host, conv, pool, elementwise, move, concat, commands)
