"""The flags that several commands share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from noise_flow_tf.cli.parsing import ConfigParser, not_negative, positive
from noise_flow_tf.programs.configs import CAMERAS, FORMATS, ISO_LEVELS, OFFLINE, Run
from noise_flow_tf.training.names import MIRRORING, STRATEGIES

RunConfig = TypeVar("RunConfig", bound=Run)

_SPLITS = {"train": ("tr", "training"), "test": ("ts", "test")}


def add_patch_flags(parser: ConfigParser, splits: Sequence[str] = ("train", "test")) -> None:
    """Add the flags that say which patches of which frames; `splits` as those that are used."""
    add = parser.option
    add(
        "cache",
        metavar="FOLDER",
        help="where packed patches are kept for the next run (SIDD_Medium_Raw: about 15 GB)",
    )
    add("strict", action="store_true", help="stop at a damaged frame instead of leaving it out")
    add("patch_height", type=positive(int), help="patch side in packed pixels")
    add(
        "n_patches_per_image",
        type=positive(int),
        help="at most so many patches of an image (default its whole grid; the release has 2898)",
    )
    add(
        "n_train_threads",
        type=positive(int),
        help="batches made, and files read, at the same time",
    )
    add_frame_flags(parser, splits)


def add_frame_flags(parser: ConfigParser, splits: Sequence[str]) -> None:
    """Add the flags that say which frames; `splits` as those that are used."""
    add = parser.option
    add(
        "sidd_path",
        metavar="ROOT",
        help="SIDD_Medium_Raw or SIDD_Full; by default the offline dataset, written once to "
        f"{OFFLINE}",
    )
    for split in splits:
        short, name = _SPLITS[split]
        of = f"of each {name} instance"
        add(f"start_{short}_im_idx", type=int, help=f"first frame {of}")
        add(f"end_{short}_im_idx", type=int, help=f"end of the {name} frames, exclusive")
    add("cam", nargs="+", metavar="CODE", help=f"only these cameras: {', '.join(CAMERAS)}")
    add(
        "iso",
        nargs="+",
        type=int,
        metavar="ISO",
        help=f"only these ISO levels: {', '.join(map(str, ISO_LEVELS))}",
    )


def add_strategy_flags(parser: ConfigParser) -> None:
    """Add the flags that say on which devices training runs, for `strategies.choose`."""
    add = parser.option
    add(
        "strategy",
        choices=STRATEGIES,
        help="mirrored: over all GPUs of this machine; multiworker: over the machines of "
        "TF_CONFIG; auto: mirrored where there is a GPU, or with --replicas",
    )
    add(
        "replicas",
        type=positive(int),
        help="mirrored over so many: the first GPUs, or parts of the CPU where there is no GPU, to "
        "try it",
    )


def add_run_flags(parser: ConfigParser, *resume_names: str, logdir_note: str = "") -> None:
    """Add the flags of a training run of any kind; `resume_names` are others of --resume."""
    add = parser.option
    add("logdir", metavar="RUN", help=f"folder that the run is written to{logdir_note}")
    add("seed", type=int, help="of initial values, shuffling and noise")
    add(
        "average_batches",
        type=not_negative,
        metavar="N",
        help="training batches that batch norm's averages are measured on before each evaluation; "
        "0: the averages that training leaves, as in the release",
    )
    add("overwrite", action="store_true", help="remove an earlier run in that folder first")
    parser.add_argument(
        "--resume",
        *resume_names,
        action="store_true",
        help="resume the run in that folder from its last checkpoint, with its settings; start it "
        "if there is none",
    )
    add(
        "checkpoint_every",
        type=positive(int),
        help="steps between checkpoints within an epoch; one more follows each epoch",
    )
    add("n_batch_train", type=positive(int), help="patches in a training batch")
    add("n_batch_test", type=positive(int), help="patches in a test batch")
    add(
        "epochs_full_valid",
        type=positive(int),
        help="test every so many epochs, besides each of the first ten and each tenth below 100",
    )
    add_strategy_flags(parser)


def add_image_flags(parser: ConfigParser) -> None:
    """Add the flags of commands that work on whole raw images."""
    add = parser.option
    add(
        "tile",
        type=positive(int),
        help="side of the tiles it works in, in packed pixels; they do not show",
    )
    add(
        "orientation",
        choices=["upright", "file"],
        help="how a .npy lies: as one looks at it, or transposed as HDF5 gives SIDD's files",
    )
    add("formats", nargs="+", choices=FORMATS, help="of the raw results")


def of_run(
    parser: ConfigParser[RunConfig], arguments: list[str] | None, folder: str | Path
) -> RunConfig:
    """Return the config of a run that is resumed: its own settings, but for what is given now.

    The run's own --replicas are dropped if a --strategy is given that takes none. The program says
    whether what is given goes with the run.
    """
    given = parser.config(arguments)
    settings = json.loads((Path(folder) / "settings.json").read_text(encoding="utf-8"))
    known = (vars(given).keys() & settings.keys()) - {"resume", "overwrite"}
    parser.set_defaults(**{name: settings[name] for name in known})
    changes = {} if parser.config(arguments).strategy in MIRRORING else {"replicas": given.replicas}
    return parser.config(arguments, **changes)
