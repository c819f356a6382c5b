"""The clean images of sample.py: a file, a folder, a list, a pattern, or an address."""

import glob
import hashlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from noise_flow_tf.programs import sampling_plan
from noise_flow_tf.programs.sampling_plan import Item
from noise_flow_tf.saving.files import replacing

COPIES = ".copies"
"""The folder in --out with copies of images that have an address."""


def items(clean: str, kinds: Collection[str], out: Path) -> list[Item]:
    """Return the clean images that `noise-flow sample --clean` names.

    Names, and with them seeds, are the paths below a folder or below the first part of a pattern
    without *, ? or [, so that they are equal wherever the folder is.

    Args:
        clean: a path; a pattern, such as `shots/**/*.dng`, unless a file has this name; or an
            address that fsspec knows, such as `s3://BUCKET/FOLDER`, also a pattern. What has an
            address is copied to `out` first, unless the copy is there.
        kinds: suffixes of images, in lower case.
        out: the folder of the results.

    Raises:
        ValueError: as `sampling_plan.items`; nothing is found, or an address cannot be read.
    """
    if "://" in clean:
        return _of_address(clean, kinds, out)
    path = Path(clean)
    if path.exists() or not glob.has_magic(clean):
        return sampling_plan.items(path, kinds, out)
    base = _fixed_part(clean)
    found = sorted(glob.glob(clean, recursive=True))
    images = [
        Item(one, one.relative_to(base).with_suffix("").as_posix())
        for one in map(Path, found)
        if sampling_plan.is_clean(one, kinds, out)
    ]
    if not images:
        raise ValueError(
            f"{clean}: no clean image found; of {len(found)} files of this pattern none is one of "
            f"{', '.join(kinds)} (of .mat only *_GT_RAW*, and nothing below --out)"
        )
    return sampling_plan.of_unique_names(images, clean)


def _of_address(address: str, kinds: Collection[str], out: Path) -> list[Item]:
    try:
        import fsspec
    except ImportError as error:
        raise ValueError(
            f"{address}: addresses need fsspec: pip install 'noise-flow-tf[remote]', or gcsfs for "
            "gs:// and adlfs for az://"
        ) from error
    try:
        system, root = fsspec.core.url_to_fs(address)
        if glob.has_magic(root):
            base, found = _fixed_part(root), system.glob(root)
        elif system.isfile(root):
            base, found = str(PurePosixPath(root).parent), [root]
        else:
            base, found = root, system.find(root)
        copies = out / COPIES / hashlib.sha256(base.encode()).hexdigest()[:16]
        images = []
        for remote in sorted(found):
            if not sampling_plan.has_kind(Path(remote), kinds) or not system.isfile(remote):
                continue
            inside = PurePosixPath(remote).relative_to(base)
            # The key is another if the file has changed.
            copy = copies / system.ukey(remote)[:16] / inside
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                with replacing(copy) as temporary:
                    system.get_file(remote, str(temporary))
            name = inside.with_suffix("").as_posix()
            images.append(Item(copy, name, address=system.unstrip_protocol(remote)))
    except Exception as error:  # of the many kinds of the many file systems
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise ValueError(f"{address}: cannot be read: {reason[0]}") from error
    if not images:
        raise ValueError(
            f"{address}: no clean image found; searched for {', '.join(kinds)} (of .mat only "
            "*_GT_RAW*)"
        )
    return sampling_plan.of_unique_names(images, address)


def _fixed_part(pattern: str) -> str:
    """Return the folder before the first part of a pattern that has a *, ? or [."""
    parts = PurePosixPath(pattern).parts
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePosixPath(*parts[:fixed]))
