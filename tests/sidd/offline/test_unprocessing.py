import numpy as np
import pytest

import sidd
from sidd.offline.pictures import view
from sidd.offline.unprocessing import EXPOSURE, VEILING_GLARE, unprocess


@pytest.mark.parametrize("camera", sidd.CAMERAS)
def test_rendering_gives_the_picture_back(camera):
    linear = view("chelsea.png", (120, 160), np.random.default_rng(0))
    metadata = sidd.typical_metadata(camera, 100, illuminant=4400)
    clean = unprocess(linear, camera, 4400, "H")
    rendered = sidd.render_packed(sidd.pack(clean.T), metadata) / 255
    exposed = EXPOSURE["H"] * (VEILING_GLARE + (1 - VEILING_GLARE) * linear)
    np.testing.assert_allclose(
        (rendered**2.2).mean(axis=(0, 1)), exposed.mean(axis=(0, 1)), rtol=0.03
    )
    assert np.sqrt(np.mean((rendered - exposed ** (1 / 2.2)) ** 2)) < 0.04
