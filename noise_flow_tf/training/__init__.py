"""Training: one step of maximum likelihood, callbacks, checkpoints, strategies, schedules."""
