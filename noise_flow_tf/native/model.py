"""Noise and its density for NumPy arrays, without TensorFlow."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from noise_flow_tf.native import arrays
from noise_flow_tf.native.ops import OpCode

FORMAT = 1
"""Of the `.npz` files; `noise_flow_tf.save_npz` writes them."""

_CLEAN_RANGE = (-0.5, 1.5)


class Model:
    """A trained Noise Flow that runs on the compiled core alone.

    It holds arrays only and changes nothing, so threads may share it, and a process that forks,
    such as the workers of a PyTorch `DataLoader`, may use it before and after.

    Attributes:
        arch: the codes of the layers.
        cameras: the codes of the supported cameras, in index order.
        iso_levels: the supported ISO levels.
        iso_interpolation: whether an ISO between two levels of a camera is accepted.
        camera_levels: the ISO levels of each camera; empty if all cameras have all of them.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Read a file; see `load`."""
        self._path = os.fspath(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            about = json.loads(str(content["about"]))
            if about["format"] != FORMAT:
                raise ValueError(
                    f"its format is {about['format']}, and this version reads {FORMAT}"
                )
            self.arch: str = about["arch"]
            self.cameras = tuple(about["cameras"])
            self.iso_levels = tuple(about["iso_levels"])
            self.iso_interpolation = bool(about["iso_interpolation"])
            self.camera_levels = tuple(map(tuple, about.get("camera_levels", ())))
            self._ops = np.ascontiguousarray(content["ops"], np.int32)
            self._parameters = [
                [content[f"{i}/{k}"] for k in range(_COUNTS[OpCode(code)])]
                for i, (code, _) in enumerate(self._ops)
            ]
            self._check()
        except Exception as error:  # of many kinds for a damaged file
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f"{self._path}: not weights that noise_flow_tf.save_npz wrote ({error})"
            ) from error

    def sample(
        self,
        clean: np.ndarray,
        iso: Any,
        camera: Any,
        seed: Any = None,
        temperature: float = 1.0,
        latent: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw noise.

        The latent comes from NumPy's generator. So a seed draws other noise here than in
        TensorFlow; noise of a given latent is the same.

        Args:
            clean: `[H, W, 4]` or `[B, H, W, 4]`, packed clean raw images in [0, 1].
            iso: the ISO level, one for all or `[B]`.
            camera: the camera's index or code ("S6"), one for all or `[B]`.
            seed: what `np.random.default_rng` takes; None draws other noise each time, in each
                process that forks, too.
            temperature: the standard deviation T of the latent, z ~ N(0, T^2).
            latent: of the shape of `clean`, instead of one that is drawn.

        Returns:
            Noise of the shape of `clean`, float32, in units of raw intensity.

        Raises:
            ValueError: a wrong shape, integers, NaN or values that are not normalised raw
                intensities, an unknown ISO or camera, a temperature that is negative or not finite.
        """
        images = self._images(clean, "clean", _CLEAN_RANGE)
        if not (np.ndim(temperature) == 0 and 0 <= temperature < np.inf):
            raise ValueError(f"temperature must be finite and not negative; got {temperature}")
        if latent is None:
            generator = np.random.default_rng(seed)
            values = generator.standard_normal(images.shape, np.float32)
        else:
            values = self._like(latent, images, "latent")
        params = self._params(images, iso, camera)
        noise = arrays.noise_of(self._ops, params, values * np.float32(temperature), images)
        return noise.reshape(np.shape(clean))

    def log_prob(self, noise: np.ndarray, clean: np.ndarray, iso: Any, camera: Any) -> np.ndarray:
        """Return the log-density of noise `[H, W, 4]` or `[B, H, W, 4]`, nats, for each image.

        Args:
            noise: in units of raw intensity, of the shape of `clean`.
            clean: as for `sample`.
            iso: as for `sample`.
            camera: as for `sample`.

        Raises:
            ValueError: as `sample`.
        """
        return self._values(noise, clean, iso, camera, with_latent=False)[1]

    def latent_and_log_prob(
        self, noise: np.ndarray, clean: np.ndarray, iso: Any, camera: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the latent of noise, of its shape, and `log_prob`."""
        latent, log_prob = self._values(noise, clean, iso, camera, with_latent=True)
        return latent.reshape(np.shape(clean)), log_prob

    def _values(
        self, noise: np.ndarray, clean: np.ndarray, iso: Any, camera: Any, with_latent: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        images = self._images(clean, "clean", _CLEAN_RANGE)
        values = self._like(noise, images, "noise")
        params = self._params(images, iso, camera)
        latent, log_prob = arrays.latent_and_log_prob(
            self._ops, params, values, images, with_latent
        )
        return latent, log_prob.reshape(np.shape(clean)[:-3])

    def _check(self) -> None:
        if not all(isinstance(level, int | float) for level in self.iso_levels):
            raise ValueError(f"ISO levels {self.iso_levels}")
        if self.camera_levels and len(self.camera_levels) != len(self.cameras):
            raise ValueError(f"levels of cameras {self.camera_levels}")
        if not all(own and {*own} <= {*self.iso_levels} for own in self.camera_levels):
            raise ValueError(f"levels of cameras {self.camera_levels}")
        levels, cameras = len(self.iso_levels), len(self.cameras)
        for (code, w), parameters in zip(self._ops, self._parameters, strict=True):
            expected = _shapes(OpCode(code), int(w), (levels, cameras))
            shapes = [p.shape for p in parameters]
            if shapes != expected:
                raise ValueError(f"parameters of shapes {shapes} instead of {expected}")
            if any(p.dtype != np.float32 or not np.isfinite(p).all() for p in parameters):
                raise ValueError("a parameter is not a finite float32")

    def _images(self, values: Any, name: str, limits: tuple[float, float] | None) -> np.ndarray:
        values = np.asarray(values)
        if values.dtype.kind != "f":
            raise ValueError(
                f"{name} must be floating-point raw intensities; got {values.dtype.name}"
            )
        if values.ndim not in (3, 4) or values.shape[-1] != 4 or 0 in values.shape[-3:]:
            raise ValueError(
                f"{name} must have shape [H, W, 4] or [B, H, W, 4]; got {list(values.shape)}"
            )
        if limits is not None and values.size:
            low, high = values.min(), values.max()
            if not limits[0] <= low <= high <= limits[1]:
                raise ValueError(
                    f"{name} must be raw intensities in [0, 1] ({limits[0]:g} to {limits[1]:g} is "
                    f"accepted); got {low:g} to {high:g}; normalise raw values as (raw - black "
                    "level) / (white level - black level)"
                )
        return np.ascontiguousarray(values, np.float32).reshape(-1, *values.shape[-3:])

    def _like(self, values: Any, images: np.ndarray, name: str) -> np.ndarray:
        array = self._images(values, name, None)
        if array.shape != images.shape:
            raise ValueError(
                f"{name} must have the shape of clean; got {list(array.shape)} and "
                f"{list(images.shape)}"
            )
        return array

    def _params(self, images: np.ndarray, iso: Any, camera: Any) -> np.ndarray:
        """Return the vector of all parameters for a batch."""
        batch = len(images)
        cameras = _each(
            [self._camera(c) for c in np.ravel(camera)], np.shape(camera), batch, "camera"
        )
        isos = _each([self._iso(i) for i in np.ravel(iso)], np.shape(iso), batch, "iso")
        places = [self._place(*pair) for pair in zip(isos.tolist(), cameras.tolist(), strict=True)]
        lower, upper, part = np.reshape(places, [-1, 3]).T
        lower, upper = lower.astype(int), upper.astype(int)
        parts = []
        for (code, _), parameters in zip(self._ops, self._parameters, strict=True):
            if code in (OpCode.SIGNAL, OpCode.GAIN):
                # Between two ISO levels the logarithms of both layers are linear in log ISO.
                logs = [np.log(p.astype(np.float64)) for p in parameters]
                low, high = ([p[i, cameras] for p in logs] for i in (lower, upper))
                parts += [np.exp(a + part * (b - a)) for a, b in zip(low, high, strict=True)]
            else:
                parts += parameters
        return np.concatenate([np.ravel(p) for p in parts] or [np.zeros(0)]).astype(np.float32)

    def _camera(self, camera: Any) -> int:
        code = camera.item() if isinstance(camera, np.generic) else camera
        if code in self.cameras:
            return self.cameras.index(code)
        if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < len(self.cameras):
            return code
        raise ValueError(
            f"unknown camera {code!r}; supported cameras: {', '.join(self.cameras)}, or their "
            f"indices 0 to {len(self.cameras) - 1}"
        )

    def _iso(self, iso: Any) -> float:
        levels: Sequence[int] = self.iso_levels
        number = iso.item() if isinstance(iso, np.generic) else iso
        if isinstance(number, int | float) and not isinstance(number, bool):
            between = self.iso_interpolation and levels[0] <= number <= levels[-1]
            if number in levels or between:
                return number
        raise ValueError(
            f"unknown ISO {number!r}; supported ISO levels: {', '.join(map(str, levels))}"
            + (" and values between them" if self.iso_interpolation else "")
        )

    def _place(self, iso: float, camera: int) -> tuple[int, int, float]:
        """Return the indices of the camera's ISO levels around an ISO, and its place between."""
        own = self.camera_levels[camera] if self.camera_levels else self.iso_levels
        if iso in own:
            return self.iso_levels.index(iso), self.iso_levels.index(iso), 0.0
        if self.iso_interpolation and own[0] < iso < own[-1]:
            above = int(np.searchsorted(own, iso))
            low, high = own[above - 1 : above + 1]
            part = np.log(iso / low) / np.log(high / low)
            return self.iso_levels.index(low), self.iso_levels.index(high), part
        code = self.cameras[camera]
        raise ValueError(
            f"camera {code} has no ISO {iso:.10g}; supported for {code}: "
            f"{', '.join(map(str, own))}"
            + (" and values between them" if self.iso_interpolation else "")
        )


def load(path: str | os.PathLike) -> Model:
    """Load the weights that `noise_flow_tf.save_npz` wrote.

    Args:
        path: of a `.npz` file. It holds numbers and text alone: nothing of it is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another file, or a damaged one.
    """
    return Model(path)


_COUNTS = {OpCode.SIGNAL: 2, OpCode.GAIN: 1, OpCode.MIX: 5, OpCode.COUPLING: 12}


def _shapes(code: OpCode, w: int, table: tuple[int, int]) -> list[tuple[int, ...]]:
    if code in (OpCode.SIGNAL, OpCode.GAIN):
        return [table] * _COUNTS[code]
    if code == OpCode.MIX:
        return [(4, 4), (4,), (4,), (6,), (6,)]
    kernels = [(3, 3, 2, w), (1, 1, w, w), (3, 3, w + 1, 4)]
    hidden: list[tuple[int, ...]] = [(w,)] * 3
    return [kernels[0], *hidden, kernels[1], *hidden, kernels[2], (4,), (4,), ()]


def _each(values: list, shape: tuple, batch: int, name: str) -> np.ndarray:
    if shape not in ((), (1,), (batch,)):
        raise ValueError(
            f"{name} must be one value for all or one for each of the {batch} images; got shape "
            f"{list(shape)}"
        )
    return np.broadcast_to(np.array(values), [batch])
