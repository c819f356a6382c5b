"""Patches of frames for training: where they lie, in which order, and read fast."""
