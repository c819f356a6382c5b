"""`noise-flow sample`: adds sampled noise to clean images. See `python sample.py --help`."""

from noise_flow_tf.cli.main import command

if __name__ == "__main__":
    command("sample", program="sample.py")
