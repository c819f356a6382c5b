"""Training a noise model with Keras, and what a run leaves behind."""

from noise_flow_tf.training.run_folder import RunFolder, load
from noise_flow_tf.training.trainer import Trainer

__all__ = ["RunFolder", "Trainer", "load"]
