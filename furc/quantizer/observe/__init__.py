"""Runs of the float model and of its simulation, what is kept of their tensors, and how far outputs are off."""
