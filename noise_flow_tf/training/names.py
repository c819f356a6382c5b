"""Names and numbers of training that a command line shows; nothing here needs TensorFlow."""

STRATEGIES = ("auto", "none", "mirrored", "multiworker")

MIRRORING = ("auto", "mirrored")
"""The strategies that take a number of replicas."""

RATES = {"cosine": 1e-2, "release": 1e-4}
"""The learning rate of each schedule: cosine's peak, and the release's constant."""
