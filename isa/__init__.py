"""The lowest floor: passes and furc import it, so that it is loaded before them."""

import time

LOADED = time.time()  # seconds since the epoch: code of furc in this process was read from its files after that
