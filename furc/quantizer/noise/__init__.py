"""Which layers cost accuracy, as predicted and as measured, and what can be done about it."""
