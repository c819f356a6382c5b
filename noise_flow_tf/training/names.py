"""Names and numbers of training that a command line shows; nothing here needs TensorFlow."""

STRATEGIES = ("auto", "none", "mirrored", "multiworker")

MIRRORING = ("auto", "mirrored")
"""The strategies that take a number of replicas."""

RATES = {"cosine": 1e-2, "release": 1e-4}
"""The learning rate of each schedule: cosine's peak, and the release's constant."""

BATCHES = {"cosine": 16, "release": 138}
"""How many patches a training batch of a noise model has with each schedule."""

BETA_2 = {"cosine": 0.99, "release": 0.999}
"""Adam's decay of squared gradients, for a noise model with each schedule."""
