"""SIDD from the command line: index, check, download, synthesize."""

import sys


def main(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Run the command; `program` is its name in messages."""
    from noise_flow_tf.programs import sidd_tools

    sys.exit(sidd_tools.main(arguments, program or "noise-flow sidd"))
