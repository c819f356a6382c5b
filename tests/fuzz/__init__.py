"""Mutated inputs for every reader; `make fuzz` runs many, the tests a few."""
