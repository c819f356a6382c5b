"""The dataset that a script works on: its flags, its frames and its patches."""

import argparse
from collections.abc import Sequence

import cli  # isort: skip  (sets TensorFlow's log level before it is imported)
import sidd

OFFLINE = "data/synthetic_sidd"
_SPLITS = {"train": ("tr", "training"), "test": ("ts", "test")}


def add_flags(parser: cli.Parser, splits: Sequence[str] = ("train", "test")) -> None:
    """Adds the flags that say which patches of which frames; `splits` as those that are used."""
    add = parser.option
    add(
        "cache",
        metavar="FOLDER",
        default="data/patch_cache",
        help="where packed patches are kept for the next run (SIDD_Medium_Raw: about 15 GB)",
    )
    add("strict", action="store_true", help="stop at a damaged frame instead of leaving it out")
    add("patch_height", type=cli.positive(int), default=32, help="patch side in packed pixels")
    add(
        "n_patches_per_image",
        type=cli.positive(int),
        help="at most so many patches of an image (default its whole grid; the release has 2898)",
    )
    add(
        "n_train_threads",
        type=cli.positive(int),
        default=4,
        help="batches made, and files read, at the same time",
    )
    add_frame_flags(parser, splits)


def add_frame_flags(parser: cli.Parser, splits: Sequence[str]) -> None:
    """Adds the flags that say which frames; `splits` as those that are used."""
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
        add(f"start_{short}_im_idx", type=int, default=10, help=f"first frame {of}")
        add(
            f"end_{short}_im_idx", type=int, default=12, help=f"end of the {name} frames, exclusive"
        )
    add("cam", nargs="+", metavar="CODE", help=f"only these cameras: {', '.join(sidd.CAMERAS)}")
    add(
        "iso",
        nargs="+",
        type=int,
        metavar="ISO",
        help=f"only these ISO levels: {', '.join(map(str, sidd.ISO_LEVELS))}",
    )


def root(args: argparse.Namespace) -> str:
    """The dataset's folder; the offline dataset is written where there is none yet."""
    return str(args.sidd_path or sidd.write_synthetic(OFFLINE, exist_ok=True))


def frames(args: argparse.Namespace, split: str) -> list[sidd.Frame]:
    """The frames of a split that the flags ask for.

    Raises:
        ValueError: there is none.
    """
    short, _ = _SPLITS[split]
    first, end = (getattr(args, f"{bound}_{short}_im_idx") for bound in ("start", "end"))
    found = sidd.select_frames(sidd.index(root(args)), split, (first, end), args.cam, args.iso)
    if not found:
        raise ValueError(
            f"{root(args)} has no {split} frame left after choosing frames {first} to {end - 1}, "
            f"cameras {args.cam or 'all'} and ISO {args.iso or 'all'}"
        )
    return found


def patches(
    args: argparse.Namespace,
    chosen: Sequence[sidd.Frame],
    cameras: Sequence[str],
    sampling: str = "uniform",
    **other,
) -> sidd.Patches:
    """The patches of frames, with cameras counted through the codes of a model.

    `other` are arguments of `sidd.Patches` that no flag says, or other values than the flags'.
    """
    asked = {
        "patch_size": args.patch_height,
        "sampling": sampling,
        "patches_per_image": args.n_patches_per_image,
        "cache": args.cache,
        "strict": args.strict,
        "seed": args.seed,
        "parallel_reads": args.n_train_threads,
        "cameras": cameras,
    }
    return sidd.Patches(chosen, **{**asked, **other})


def told(args: argparse.Namespace) -> str:
    """What a report calls the dataset."""
    return str(args.sidd_path or f"the offline stand-in for SIDD ({OFFLINE})")
