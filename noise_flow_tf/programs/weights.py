"""Fetch the weights of the original release, and write a run as a folder that can be published."""

from contextlib import suppress
from pathlib import Path

import noise_flow_tf as nf
from noise_flow_tf.programs import model_card
from noise_flow_tf.programs.configs import ExportConfig, WeightsConfig
from noise_flow_tf.saving import pretrained, saved_model
from noise_flow_tf.saving.files import check_name, make_folders, replacing, write_text
from noise_flow_tf.saving.run_folder import RunFolder


def fetch(config: WeightsConfig) -> None:
    """Fetch the release's weights, and print where they are and how to use them.

    Raises:
        ValueError: the licence is not accepted, or what was fetched is damaged.
        OSError: they cannot be fetched or written.
    """
    if config.accept_licence or pretrained.has_release():
        print(pretrained.LICENCE)
    prefix = pretrained.fetch_release(config.accept_licence)
    print(f"\nweights   {prefix}")
    print('use       noise-flow sample --model release, nf.load("release")')


def export(config: ExportConfig) -> None:
    """Write a run's SavedModel, its weights for NumPy and its model card to a new folder.

    Raises:
        ValueError: no run, a run without a trained model, or a folder that holds something.
        OSError: it cannot be written.
    """
    run, out = RunFolder(config.run), Path(config.out)
    if not run.settings.is_file():
        raise ValueError(
            f"{run.path} is not a run folder of noise-flow train or camera: it has no settings.json"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} holds something already; give the name of a new folder")
    check_name(out)
    card = model_card.of_run(run, config.licence)
    model = run.load()
    make_folders(out.parent)
    with replacing(out) as partial:
        saved_model.save(model, partial)
        with suppress(ValueError):  # a layer of a user's own, which the compiled core has not
            nf.save_npz(model, partial / "noise_flow.npz")
        write_text(partial / "README.md", card)
    print(f"model     {out}")
    print(f"card      {out / 'README.md'}: read it, and add what it cannot know")
    print(f"publish   hf upload USER/REPO {out}; others load it as hf://USER/REPO")
