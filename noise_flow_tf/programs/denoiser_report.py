"""Pictures of denoised patches, for training, its report and the evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf import plotting
from noise_flow_tf.denoising import DnCNN, denoise_image
from noise_flow_tf.programs import pictures


class Examples(pictures.Examples):
    """Patches of test frames, one for each ISO level, noisy and denoised."""

    def strips(self, network: DnCNN) -> dict[str, np.ndarray]:
        """Return, for each example, noisy, denoised and clean side by side, uint8 RGB."""
        denoised = self._denoised(network)
        return {
            f"noisy, denoised, clean/{label}": np.concatenate(
                [self._render(i, noise) for noise in (self.noise[i], denoised[i], 0.0)], axis=1
            )
            for i, label in enumerate(self.labels)
        }

    def figure(self, networks: Mapping[str, DnCNN]) -> Figure:
        """Draw Figure 8 of the paper: noisy, denoised by each network, and clean, with the PSNR."""
        shown: dict[str, Sequence[np.ndarray]] = {"Noisy": list(self.noise)}
        shown |= {title: self._denoised(network) for title, network in networks.items()}
        rows = {}
        for i, label in enumerate(self.labels):
            rows[label] = {
                title: plotting.Picture(self._render(i, noise[i]), caption=_psnr(noise[i]))
                for title, noise in shown.items()
            }
            rows[label]["Ground truth"] = plotting.Picture(self._render(i, 0.0))
        return plotting.comparison(
            rows, f"Denoised test images with {self.noise_label} noise, rendered to sRGB"
        )

    def _denoised(self, network: DnCNN) -> list[np.ndarray]:
        """Return what is left of the noise of each example."""
        return [
            denoise_image(network, np.clip(clean + noise, 0, 1)) - clean
            for clean, noise in zip(self.clean, self.noise, strict=True)
        ]


def _psnr(noise: np.ndarray) -> str:
    return f"{-10 * np.log10(max(np.mean(np.square(noise)), 1e-10)):.2f} dB"
