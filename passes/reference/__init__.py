"""Reference executors: each level on arrays, with the arithmetic of isa/execute/numerics.py."""
