"""Patches of frames for training: their places, their order, and fast reading."""
