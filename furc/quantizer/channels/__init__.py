"""What can be done with single channels without changing the float model: another order, other scales, groups."""
