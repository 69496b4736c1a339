"""furc compare: the old name of furc verify."""

from __future__ import annotations

import copy

from furc.cli.commands.verify import command as verify

command = copy.copy(verify)
command.name, command.short_help = "compare", "The old name of verify."
