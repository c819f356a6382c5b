"""What each command does: a frozen config of `configs` and `run(config)`, also for Python."""
