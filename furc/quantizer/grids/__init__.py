"""Which tensor is on which grid of 256 values, and how that is written as QDQ."""
