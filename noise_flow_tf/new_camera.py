"""One more camera for a trained model, from few pairs: Section 4.2 of the Noise Flow paper.

What a camera has of its own are three factors in `sdn5`, one in `sdn6` and psi in `eq16`. The rest
of the model is shared, so that a new camera needs only these few numbers.
"""

from dataclasses import replace
from typing import Any

import tensorflow as tf

from noise_flow_tf.model import NoiseFlow


class NewCamera(NoiseFlow):
    """A model with one more camera, whose own parameters are the only trainable ones.

    `add_camera` makes it and `settled` gives the ordinary model when it is trained. Batch norm
    always uses its averages, also in training: moving them would move the other cameras.
    """

    def __init__(self, model: NoiseFlow, name: str):
        """A copy of `model` with camera `name`; see `add_camera`."""
        super().__init__(model.arch, model.width, **vars(model.known))
        for ours, theirs in zip(self.variables, model.variables, strict=True):
            ours.assign(theirs)
        self.known = replace(model.known, cameras=(*model.cameras, name))
        for layer in self.layers:
            layer.known = self.known
            if layer.of_cameras:
                table = getattr(layer, layer.of_cameras)
                layer.added = tf.Variable(tf.reduce_mean(table, axis=-1), name="added")

    @property
    def trainable_variables(self):
        return tuple(layer.added for layer in self.layers if layer.added is not None)

    def __call__(self, clean: Any, iso: Any, camera: Any, training: bool = False):
        return super().__call__(clean, iso, camera, training=False)


def add_camera(model: NoiseFlow, name: str) -> NewCamera:
    """A copy of a model with one more camera, of which only the new camera's parameters train.

    They start at the mean of the other cameras' (of the logarithms of their factors). For every
    other camera the likelihood stays bit for bit the same, whatever is then trained. `fit_camera`
    trains it; `settled` gives the ordinary model with all cameras.

    Args:
        model: a `NoiseFlow` with a layer that has camera parameters: `sdn5`, `sdn6` or `eq16`.
        name: the new camera's code, two or more capitals and digits; its index is the last one.

    Raises:
        ValueError: a model without camera parameters, a code that is taken or not of that form.

    >>> model = add_camera(NoiseFlow(seed=0), "P9")
    >>> model.num_parameters, model.cameras
    (3, ('IP', 'GP', 'S6', 'N6', 'G4', 'P9'))
    """
    if not any(layer.of_cameras for layer in model.layers):
        raise ValueError(
            f"architecture {model.arch!r} has no parameters of a camera's own, so that a new one "
            "cannot be added; sdn5, sdn6 and eq16 have them"
        )
    if name in model.cameras:
        raise ValueError(
            f"camera {name} is there already; the model knows {', '.join(model.cameras)}"
        )
    return NewCamera(settled(model), name)


def settled(model: NoiseFlow) -> NoiseFlow:
    """The ordinary model of one that `add_camera` made: all its cameras in one table.

    Likelihoods and samples are those of `model`; everything can be trained again. Another model is
    returned as it is.
    """
    if not isinstance(model, NewCamera):
        return model
    plain = NoiseFlow(model.arch, model.width, **vars(model.known))
    layers = [layer for layer in model.layers if layer.of_cameras]
    tables = {id(getattr(layer, layer.of_cameras)): layer.camera_table() for layer in layers}
    added = [id(layer.added) for layer in layers]
    values = [tables.get(id(v), v) for v in model.variables if id(v) not in added]
    for variable, value in zip(plain.variables, values, strict=True):
        variable.assign(value)
    return plain
