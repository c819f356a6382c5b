"""`noise-flow train`: trains a noise model. See `python train.py --help`."""

from noise_flow_tf.cli.main import command

if __name__ == "__main__":
    command("train", program="train.py")
