"""Layers changed one after the other so that they take out the errors that reach them."""
