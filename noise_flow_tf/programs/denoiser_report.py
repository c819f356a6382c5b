"""What the denoiser scripts leave for a person to read: pictures, and the report of a run."""

import json
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf import plotting
from noise_flow_tf.denoising import DnCNN, denoise_image, scores
from noise_flow_tf.programs import dataset, pictures
from noise_flow_tf.saving import run_folder


class Examples(pictures.Examples):
    """Patches of test frames, one for each ISO level, noisy and denoised."""

    def strips(self, network: DnCNN) -> dict[str, np.ndarray]:
        """For each example noisy, denoised and clean side by side, uint8 RGB."""
        denoised = self._denoised(network)
        return {
            f"noisy, denoised, clean/{label}": np.concatenate(
                [self._render(i, noise) for noise in (self.noise[i], denoised[i], 0.0)], axis=1
            )
            for i, label in enumerate(self.labels)
        }

    def figure(self, networks: Mapping[str, DnCNN]) -> Figure:
        """Figure 8 of the paper: noisy, denoised by each network, and clean, with the PSNR."""
        shown = {"Noisy": self.noise}
        shown |= {title: self._denoised(network) for title, network in networks.items()}
        rows = {}
        for i, label in enumerate(self.labels):
            rows[label] = {
                title: plotting.Picture(self._render(i, noise[i]), caption=_told(noise[i]))
                for title, noise in shown.items()
            }
            rows[label]["Ground truth"] = plotting.Picture(self._render(i, 0.0))
        return plotting.comparison(
            rows, f"Denoised test images with {self.noise_label} noise, rendered to sRGB"
        )

    def _denoised(self, network: DnCNN) -> list[np.ndarray]:
        """What is left of the noise of each example."""
        return [
            denoise_image(network, np.clip(clean + noise, 0, 1)) - clean
            for clean, noise in zip(self.clean, self.noise, strict=True)
        ]


def _told(noise: np.ndarray) -> str:
    return f"{-10 * np.log10(max(np.mean(np.square(noise)), 1e-10)):.2f} dB"


def write_run(
    run, config, rows, best: DnCNN, examples: Examples, test_patches: int, left_out: list[str]
) -> None:
    """Writes pictures, `report.md` and `report.json` of a training run; prints where things are."""
    title = scores.title(config.noise, config.gauss_mix)
    curves = {
        name: pictures.against_epoch(rows, column)
        for name, column in (("training", "psnr"), ("test", "val_psnr"))
    }
    figures = {
        "psnr": plotting.charts(
            plotting.Chart(
                curves, f"PSNR of {title}, {examples.noise_label} test noise", "epoch", "PSNR in dB"
            )
        ),
        "denoised": examples.figure({title: best}),
    }
    for name, figure in figures.items():
        pictures.save_figure(figure, run.pictures / f"{name}.png")
    measured = [row for row in rows if "val_psnr" in row]
    chosen = max(measured, key=lambda row: row["val_psnr"])
    minutes = sum(row["seconds"] for row in rows) / 60
    settings = run.read_settings()
    steps = settings["steps_per_epoch"] * len(rows)
    mix = f", {config.gauss_mix:.0%} of the batches Gaussian" if config.gauss_mix else ""
    model = f" (noise model {config.model}{mix})" if config.model else mix
    text = [
        f"# {title} on {dataset.told(config)}",
        "",
        f"DnCNN of depth {config.depth} and width {config.width}, trained on {config.noise}"
        f"{model}.",
        "",
        f"{len(rows)} epochs, {steps} steps of {config.n_batch_train} patches of "
        f"{config.patch_height} x {config.patch_height} in {minutes:.1f} minutes; schedule "
        f"{config.schedule} at {config.lr:g}, seed {config.seed}. Kept are the weights of epoch "
        f"{chosen['epoch']:.0f}, with {chosen['val_psnr']:.2f} dB the best on "
        f"{test_patches} test patches; `noise-flow evaluate-denoiser` scores them on whole images.",
        "",
        *[f"Frame left out: {reason}" for reason in left_out],
        *([""] if left_out else []),
        *[f"![{name}](pictures/{name}.png)" for name in figures],
        "",
    ]
    numbers = {
        "noise": config.noise,
        "best": {"epoch": int(chosen["epoch"]), "psnr_of_test_patches": chosen["val_psnr"]},
        "training": {"minutes": minutes, "steps": steps, "epochs": len(rows)},
        "dataset": dataset.told(config),
        "left_out": left_out,
        "seed": config.seed,
        "starts": settings["starts"],
    }
    run_folder.write_text(run.report, json.dumps(numbers, indent=2) + "\n")
    run_folder.write_text(run.report_text, "\n".join(text))
    print(f"\n{chosen['val_psnr']:.2f} dB on the test patches after epoch {chosen['epoch']:.0f}\n")
    print(f"report    {run.report_text}")
    print(f"denoiser  {run.saved_model}")
    print(f"curves    tensorboard --logdir {run.tensorboard}")
