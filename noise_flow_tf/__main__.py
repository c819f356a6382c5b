"""`python -m noise_flow_tf COMMAND`, the same as `noise-flow COMMAND`."""

from noise_flow_tf.cli.main import main

if __name__ == "__main__":
    main()
