"""Models on disk: run folders, SavedModels, checkpoints of the original release."""
