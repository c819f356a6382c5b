"""The kinds of trained models. A new one is one more `Kind`; nothing here needs TensorFlow."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of trained model: its names, and what makes, exports and finds it.

    Attributes:
        name: in settings and in `KINDS`.
        title: in messages about SavedModels.
        noun: in messages about run folders.
        command: of `noise-flow`, which trains it.
        label: what messages call a model of a recipe.
        sources: in messages, what it is loaded from besides run folders.
        needed: the settings without which a folder is no run of this kind.
        recipe: the attributes of a model that are arguments of its class, and settings of a run.
        key: what checkpoints call the model.
        about: the file in a SavedModel that holds the recipe.
        model: module and name of the class.
        export: the name in `saving.exports` of what gives a model its signatures.
    """

    name: str
    title: str
    noun: str
    command: str
    label: str
    sources: str
    needed: frozenset[str]
    recipe: tuple[str, ...]
    key: str
    about: str
    model: tuple[str, str]
    export: str

    @property
    def model_class(self) -> Any:
        """The class of the models, which needs TensorFlow."""
        module, name = self.model
        return getattr(import_module(module), name)


NOISE_MODEL = Kind(
    name="noise model",
    title="Noise Flow",
    noun="model",
    command="train",
    label="{arch!r}",
    sources=", a SavedModel, the folder of a baseline of noise-flow fit-baseline, or the prefix of "
    "a released checkpoint (the path of its .index file without the ending)",
    needed=frozenset({"arch", "width", "versions"}),
    recipe=("arch", "width", "cameras", "iso_levels", "iso_interpolation", "camera_levels"),
    key="noise_model",
    about="noise_flow.json",
    model=("noise_flow_tf.model", "NoiseFlow"),
    export="noise_model",
)
DENOISER = Kind(
    name="denoiser",
    title="denoiser",
    noun="denoiser",
    command="train-denoiser",
    label="a DnCNN of depth {depth} and width {width}",
    sources=" or a SavedModel",
    needed=frozenset({"depth", "width", "noise_scale", "noise", "versions"}),
    recipe=("depth", "width", "noise_scale"),
    key="network",
    about="denoiser.json",
    model=("noise_flow_tf.denoising.dncnn", "DnCNN"),
    export="Denoiser",
)
KINDS = {kind.name: kind for kind in (NOISE_MODEL, DENOISER)}


@dataclass(frozen=True, kw_only=True)
class BaselineKind:
    """One kind of fitted baseline; its folders hold a file `baseline.json`.

    Attributes:
        name: in files, and of `noise-flow fit-baseline --baseline` and `train-denoiser --noise`.
        title: in tables.
        help: what its noise is.
        class_name: in `noise_flow_tf.baselines`.
    """

    name: str
    title: str
    help: str
    class_name: str

    @property
    def model_class(self) -> Any:
        """The class of the models, which needs TensorFlow."""
        return getattr(import_module("noise_flow_tf.baselines"), self.class_name)


BASELINES = {
    kind.name: kind
    for kind in (
        BaselineKind(
            name="shared_nlf",
            title="Shared NLF",
            help="N(0, gain * ISO * clean + read noise log-linear in ISO), three numbers per "
            "camera, by maximum likelihood",
            class_name="SharedNLF",
        ),
        BaselineKind(
            name="fitted_nlf",
            title="Fitted NLF",
            help="N(0, beta1 * clean + beta2), by maximum likelihood for each camera and ISO",
            class_name="FittedNLF",
        ),
        BaselineKind(
            name="linear_gaussian",
            title="Linear Gaussian",
            help="the fitted NLF's standard deviations times Gaussian noise whose values are "
            "predicted linearly from those before, so that neighbours and channels are "
            "correlated; by maximum likelihood for each camera and ISO",
            class_name="LinearGaussian",
        ),
        BaselineKind(
            name="poisson_gaussian",
            title="Poisson-Gaussian",
            help="Poisson numbers of photoelectrons, Gaussian read noise, quantisation and "
            "clipping; gain and read noise by maximum likelihood for each camera and ISO, for "
            "noisy values that have levels; it has a log mass and no density",
            class_name="PoissonGaussian",
        ),
        BaselineKind(
            name="eld",
            title="ELD",
            help="Poisson numbers of photoelectrons, read noise with the tails of a Tukey-lambda "
            "distribution, one Gaussian value per row of the mosaic, quantisation if the noisy "
            "values have levels; read and row noise log-linear in the gain, per camera",
            class_name="ELD",
        ),
    )
}
"""The baselines that are fitted to a dataset, by name, in the order of tables."""
