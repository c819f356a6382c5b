"""Denoises a raw image with a trained denoiser."""

from pathlib import Path

import numpy as np

import sidd
from noise_flow_tf import denoising
from noise_flow_tf.denoising import scores
from noise_flow_tf.programs import raw_files, raw_images
from noise_flow_tf.programs.configs import DenoiseConfig
from noise_flow_tf.saving.files import make_folders


def read_colours(config: DenoiseConfig, path: Path, noisy: raw_images.Raw) -> sidd.Metadata:
    """Return what rendering needs: from the raw file, METADATA or as typical of the camera."""
    if noisy.file:
        if config.metadata:
            raise ValueError(f"{path}: has its own tags; leave out --metadata")
        return noisy.file.metadata(config.camera, noisy.file.iso or sidd.ISO_LEVELS[0])
    metadata = config.metadata or raw_images.companion(path, "NOISY", "METADATA")
    if metadata:
        return sidd.read_metadata(metadata)
    if "dng" in config.formats:
        raise ValueError(
            f"{path}: a DNG needs the tags of a raw file or METADATA; give --metadata or other "
            "--formats"
        )
    return sidd.typical_metadata(config.camera, sidd.ISO_LEVELS[0])


def run(config: DenoiseConfig) -> None:
    """Denoise the image, write the results, and print its scores if a clean image is known.

    Raises:
        ValueError: a model, an image or metadata that does not fit.
        OSError: a file that cannot be written.
    """
    path, out = Path(config.noisy), Path(config.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    raw_files.check_formats(config.formats)
    network = denoising.load(config.model)
    noisy = raw_images.read_image(path, config.orientation)
    colours = read_colours(config, path, noisy)
    clean_path = config.clean or raw_images.companion(path, "NOISY", "GT")
    clean = raw_images.read_image(Path(clean_path), config.orientation) if clean_path else None
    if clean and clean.packed.shape != noisy.packed.shape:
        raise ValueError(
            f"{clean_path}: has packed shape {list(clean.packed.shape)}, but {path} has "
            f"{list(noisy.packed.shape)}"
        )

    denoised = denoising.denoise_image(network, noisy.packed, config.tile)
    make_folders(out)
    for form in config.formats:
        target = out / f"{path.stem}_denoised.{'MAT' if form == 'mat' else form}"
        if form == "dng":
            like = noisy.file or raw_files.described(colours, from_srgb=False)
            raw_files.save_dng(target, denoised, raw_files.denoised_like(like))
        else:
            raw_images.save(target, form, sidd.unpack(denoised), noisy.in_given_form(denoised))
        print(target)
    for name, packed in (("denoised", denoised), ("noisy", noisy.packed)):
        target = out / f"{path.stem}_{name}_srgb.png"
        raw_images.save_picture(target, noisy.render(packed, colours))
        print(target)
    if clean and min(denoised.shape[:2]) >= scores.SSIM_WINDOW:
        before, after = (scores.score(clean.packed, image) for image in (noisy.packed, denoised))
        print(
            f"PSNR: noisy {before['psnr']:.2f} dB, denoised {after['psnr']:.2f} dB; "
            f"SSIM: noisy {before['ssim']:.4f}, denoised {after['ssim']:.4f}"
        )
    else:
        print(f"removed a standard deviation of {np.std(noisy.packed - denoised):.5f}")
