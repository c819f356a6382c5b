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
    sources=", a SavedModel, or the prefix of a released checkpoint (the path of its .index file "
    "without the ending)",
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
