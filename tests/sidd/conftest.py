import numpy as np
import pytest

import sidd
from tests.reference import load


@pytest.fixture(scope="session")
def numbers(reference):
    """Those that the release computed from SIDD's metadata among them."""
    return load(reference, "data_and_metrics")


@pytest.fixture(scope="session")
def sample(reference):
    """The one frame of the real SIDD folder among the reference numbers."""
    (instance,) = sidd.index(reference / "sidd_sample")
    (frame,) = instance.frames
    return frame


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """A tiny offline dataset: packed images of 48 x 40 in file orientation."""
    root = tmp_path_factory.mktemp("offline") / "sidd"
    return sidd.write_synthetic(
        root, size=(80, 96), train_instances=6, test_instances=5, progress=False
    )


@pytest.fixture(scope="session")
def train_frames(offline):
    return sidd.select_frames(sidd.index(offline), "train")


@pytest.fixture
def metadata():
    return sidd.Metadata(
        make="LGE",
        camera="G4",
        iso=800,
        nlf=(3e-3, 6e-5),
        cfa_pattern=np.array(sidd.CFA_PATTERNS["BGGR"]),
        as_shot_neutral=np.array([0.5, 1.0, 0.625]),
        color_matrix1=np.eye(3) + 0.25,
        color_matrix2=np.arange(9.0).reshape(3, 3) + 3 * np.eye(3),
    )
