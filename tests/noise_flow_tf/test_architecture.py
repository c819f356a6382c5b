import pytest

from noise_flow_tf import NoiseFlow, architecture


@pytest.mark.parametrize(
    ("arch", "parameters"),
    [
        ("S-G", 8),
        ("S-G-CAM", 23),
        ("S-Ax1-G-Ax1-CAM", 625),
        ("S-Ax4-G-Ax4-CAM", 2431),
        ("Ax4", 1204),
        ("sdn6|gain4", 13),
        ("eq12|unc|unc|unc|unc|eq16|unc|unc|unc|unc", 2420),
        ("eq12|eq14", 7),
    ],
)
def test_counts_the_scalars_in_use(arch, parameters):
    assert NoiseFlow(arch).num_parameters == parameters


def test_names_of_the_paper_are_the_forms_of_the_release():
    model = NoiseFlow("S-Ax4-G-Ax4-CAM")
    assert model.arch == "sdn5|unc|unc|unc|unc|gain4|unc|unc|unc|unc"


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("sdn5|foo", "unknown layer 'foo'.*allowed are sdn4, sdn5, sdn6, gain4, unc, eq12"),
        ("", "unknown layer ''"),
        ("s-g", "unknown layer 's-g'.*or one of S-G, S-G-CAM, S-Ax1-G-Ax1-CAM"),
        ("sdn5|gain4|gain4", "more than one gain layer"),
        ("sdn5|eq12", "more than one signal layer"),
        ("sdn6|unc|sdn4", "more than one signal layer"),
        ("gain4|eq14", "more than one gain layer"),
        ("eq14|unc|eq16", "more than one gain layer"),
        *(
            (f"{code}|unc", f"layer '{code}'.*abandoned experiment.*allowed are sdn4")
            for code in ("sdn", "sdn1", "sdn2", "sdn3", "gain", "gain1", "gain2", "gain3")
        ),
    ],
)
def test_refuses_what_it_does_not_build(arch, message):
    with pytest.raises(ValueError, match=message):
        NoiseFlow(arch)


def test_counts_the_scalars_of_other_widths():
    """By hand: 1x1 convolution 16, networks 3*3*2*w + w, w*w + w, 3*3*(w + 1)*4 + 4 + 4, and 1."""
    assert NoiseFlow("unc", width=1).num_parameters == 16 + 19 + 2 + 80 + 1
    assert NoiseFlow("unc|unc", width=7).num_parameters == 2 * (16 + 133 + 56 + 296 + 1)


@pytest.mark.parametrize("width", [0, -1, 2.5])
def test_refuses_a_bad_width(width):
    with pytest.raises(ValueError, match="width must be a whole number"):
        NoiseFlow(width=width)


def test_table_has_every_code_and_name():
    table = architecture.table()
    assert all(name in table for name in (*architecture.CODES, *architecture.PAPER_NAMES))
