"""The scenes of the offline dataset: pictures that scikit-image ships, in linear light."""

from importlib.resources import files

import numpy as np
from skimage.io import imread
from skimage.transform import resize

TRAIN_PICTURES = (
    (1, "astronaut.png"),
    (2, "coffee.png"),
    (3, "motorcycle_left.png"),
    (4, "retina.jpg"),
    (5, "color.png"),
    (3, "motorcycle_right.png"),
    (6, "gravel.png"),
)
TEST_PICTURES = ((7, "chelsea.png"), (8, "rocket.jpg"), (9, "ihc.png"), (10, "brick.png"))
"""Scene numbers and pictures of scikit-image. No picture is in both splits."""


def view(picture: str, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return a random part of a picture of scikit-image: linear sRGB [H, W, 3] in [0, 1], upright.

    The picture is scaled in linear light to 1 to 1.3 times what covers `size` (H, W), cropped, and
    mirrored half of the time.
    """
    path = files("skimage") / "data" / picture
    image = imread(path)
    image = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., :3]
    cover = max(size[0] / image.shape[0], size[1] / image.shape[1])
    scale = cover * random.uniform(1, 1.3)
    shape = np.maximum(np.rint(scale * np.array(image.shape[:2])).astype(int), size)
    top, left = random.integers(0, np.subtract(shape, size), endpoint=True)
    linear = np.empty((*size, 3))
    for color in range(3):  # one at a time: the whole scaled picture may take gigabytes
        scaled = resize((image[..., color] / 255.0) ** 2.2, shape, order=1, anti_aliasing=True)
        linear[..., color] = scaled[top : top + size[0], left : left + size[1]]
    return linear[:, ::-1] if random.integers(2) else linear
