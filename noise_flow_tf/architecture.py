"""Architecture strings and the paper's names for them."""

from typing import NamedTuple

PAPER_NAMES = {
    "S-G": "sdn4|gain4",
    "S-G-CAM": "sdn5|gain4",
    "S-Ax1-G-Ax1-CAM": "sdn5|unc|gain4|unc",
    "S-Ax4-G-Ax4-CAM": "sdn5|unc|unc|unc|unc|gain4|unc|unc|unc|unc",
    "Ax4": "unc|unc|unc|unc",
}


class Code(NamedTuple):
    """A layer code.

    Attributes:
        help: what the layer computes, in one line.
        module: the module of `layers` whose class declares the code.
        kind: an architecture has at most one layer of each kind; "" for any number.
    """

    help: str
    module: str
    kind: str = ""


CODES = {
    "sdn4": Code(
        "signal: var = exp(beta1) y / g + exp(beta2), g = exp(v[iso]) ISO", "signal", "signal"
    ),
    "sdn5": Code("sdn4 with three factors per camera, on beta1, beta2 and v", "signal", "signal"),
    "sdn6": Code("sdn4 with one factor per camera, on v", "signal", "signal"),
    "gain4": Code("gain: one learned scalar for all images", "gain", "gain"),
    "unc": Code("flow step: invertible 1x1 convolution and affine coupling", "flow_step"),
    "eq12": Code(
        "paper's signal layer: var = beta1 y / gamma + beta2 (gamma of eq14 or eq16)",
        "paper_signal",
        "signal",
    ),
    "eq14": Code("paper's gain layer: gamma = u[iso] ISO", "paper_gain", "gain"),
    "eq16": Code(
        "paper's gain layer with a camera factor: gamma = psi[camera] u[iso] ISO",
        "paper_gain",
        "gain",
    ),
    "nlf": Code(
        "signal: var = slope[iso, camera] y + offset[iso, camera], for one's own cameras",
        "noise_level",
        "signal",
    ),
}

_ABANDONED = ("sdn", "sdn1", "sdn2", "sdn3", "gain", "gain1", "gain2", "gain3")


def parse(arch: str) -> list[str]:
    """Return the layer codes of an architecture, from the data side to the latent side.

    Args:
        arch: a name of `PAPER_NAMES`, or codes of `CODES` joined by `|`.

    Raises:
        ValueError: an unknown or abandoned code, or more than one signal or gain layer.

    >>> parse("S-Ax1-G-Ax1-CAM")
    ['sdn5', 'unc', 'gain4', 'unc']
    """
    codes = PAPER_NAMES.get(arch, arch).split("|")
    for code in codes:
        if code in _ABANDONED:
            raise ValueError(
                f"layer {code!r} in architecture {arch!r} is an abandoned experiment of the "
                f"original release; {_allowed()}"
            )
        if code not in CODES:
            raise ValueError(f"unknown layer {code!r} in architecture {arch!r}; {_allowed()}")
    for kind in sorted({CODES[code].kind for code in codes} - {""}):
        members = [code for code in CODES if CODES[code].kind == kind]
        if sum(code in members for code in codes) > 1:
            raise ValueError(
                f"architecture {arch!r} has more than one {kind} layer; at most one of "
                f"{', '.join(members)} is allowed"
            )
    return codes


def title(arch: str) -> str:
    """Return the paper's name of layer codes, or the codes themselves.

    >>> title("sdn4|gain4"), title("unc|unc")
    ('S-G', 'unc|unc')
    """
    return next((name for name, codes in PAPER_NAMES.items() if codes == arch), arch)


def table() -> str:
    """Return the codes and the paper's names, one per line, for help texts."""
    lines = ["codes, joined by | from the data side to the latent side:"]
    lines += [f"  {code:6} {CODES[code].help}" for code in CODES]
    lines += ["names of the paper:"]
    lines += [f"  {name:16} {arch}" for name, arch in PAPER_NAMES.items()]
    return "\n".join(lines)


def _allowed() -> str:
    return f"allowed are {', '.join(CODES)} joined by '|', or one of {', '.join(PAPER_NAMES)}"
