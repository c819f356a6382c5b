"""The report of noise-flow burst: Markdown, JSON and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from noise_flow_tf import plotting
from noise_flow_tf.programs.configs import Shots
from noise_flow_tf.saving import files
from sidd.raw.calibrating import MAP_BLOCK, Prepared, Result
from sidd.raw.calibration import Calibration
from sidd.wording import counted

if TYPE_CHECKING:
    from noise_flow_tf.programs.burst import Written

_PLACES = ("(0,0)", "(0,1)", "(1,1)", "(1,0)")
_COLOURS = ("R", "G", "B")


def write(
    out: Path,
    config: Shots,
    results: Mapping[int, Result],
    written: Sequence["Written"],
    shown: Path,
) -> None:
    """Write report and pictures of calibrations by ISO to `out`, and print the numbers.

    `shown` is the place of `out` in messages.
    """
    files.make_folders(out / "pictures")
    paragraphs = ["# Noise of " + next(iter(results.values())).calibration.camera]
    for iso, result in results.items():
        drawn = figures(result)
        for name, figure in drawn.items():
            files.write_figure(out / "pictures" / f"{name}_{iso}.png", figure)
        images = "\n".join(f"![{name}](pictures/{name}_{iso}.png)" for name in drawn)
        paragraphs += [f"## ISO {iso}", *text(result), images]
    paragraphs += ["## Pairs", pairs_text(written), _pairs_table(written)]
    files.write_markdown(out / "report.md", paragraphs)
    files.write_json(out / "report.json", numbers(results, written))
    for result in results.values():
        print(f"\nISO {result.calibration.iso}\n")
        print("\n\n".join(text(result)))
    print(f"\n{pairs_text(written)}\n")
    print(f"report       {shown / 'report.md'}")
    print(f"pictures     {shown / 'pictures'}")
    print(f"calibration  {shown / 'calibration.json'}")
    print(f"pairs        {shown / 'Data'}")


def channel_names(result: Result) -> list[str]:
    """Return the names of the packed channels, such as "G (0,1)"."""
    cfa = result.bursts[0].burst.cfa
    places = ((0, 0), (0, 1), (1, 1), (1, 0))
    return [
        f"{_COLOURS[int(cfa[place])]} {name}" for place, name in zip(places, _PLACES, strict=True)
    ]


def text(result: Result) -> list[str]:
    """Return the paragraphs on one ISO."""
    calibration = result.calibration
    notes = "\n".join(f"- {note}" for note in calibration.notes)
    beta1, beta2 = calibration.nlf
    return [
        "variance = slope x + offset of an intensity x in [0, 1], from "
        f"{counted(calibration.frames, 'frame')} of {counted(calibration.bursts, 'burst')}, fitted "
        f"from {max(calibration.lowest, 0):.4f} to {calibration.highest:.3f}. "
        f"Mean over the channels: ({beta1:.4g}, {beta2:.4g}).",
        _channel_table(result),
        _other_numbers(calibration),
        _burst_table(result),
        f"What to look at:\n\n{notes}" if notes else "",
    ]


def _channel_table(result: Result) -> str:
    one = result.calibration
    head = ["channel", "slope", "offset"]
    rows: list[list[str]] = [
        [name, _with_error(slope, slope_error), _with_error(offset, offset_error)]
        for name, slope, slope_error, offset, offset_error in zip(
            channel_names(result), one.slope, one.slope_error, one.offset, one.offset_error,
            strict=True,
        )
    ]  # fmt: skip
    if one.noise_profile is not None:
        head += ["NoiseProfile"]
        for row, (slope, offset) in zip(rows, one.noise_profile, strict=True):
            row.append(f"({slope:.4g}, {offset:.4g})")
    if one.black is not None and one.read is not None:
        head += ["black level", "read noise"]
        for row, black, read in zip(rows, one.black, one.read, strict=True):
            row += [f"{black:.2f}", f"{read:.4g}"]
    return _table(head, rows)


def _other_numbers(one: Calibration) -> str:
    lines = []
    for name, value, error in (
        ("row", one.row, one.row_error), ("column", one.column, one.column_error)
    ):  # fmt: skip
        if value is None or error is None:
            lines.append(f"- {name} noise: not measured")
        elif value < 2 * error:
            lines.append(f"- {name} noise: below {max(value, 0) + 2 * error:.2g}, not seen")
        else:
            lines.append(f"- {name} noise: {_with_error(value, error)} (from {one.row_source})")
    if one.kurtosis is not None:
        shape = "beyond -0.4 to 0.4" if one.tukey_lambda is None else f"{one.tukey_lambda:.2f}"
        lines.append(
            f"- tails of read noise: Tukey lambda {shape} (a Gaussian has 0.14, heavier tails "
            f"less); excess kurtosis {one.kurtosis:.2f}"
        )
    if one.dsnu is not None:
        lines.append(f"- fixed pattern of the darks (DSNU): {one.dsnu:.3g}")
    if one.prnu is not None:
        lines.append(f"- spread of the pixels' gains (PRNU): {100 * one.prnu:.2f}%")
    lines.append(
        "- the offset includes read, row and column noise and quantisation; the fixed pattern "
        "stays in a burst's mean and is in neither number"
    )
    return "\n".join(lines)


def _burst_table(result: Result) -> str:
    head = ["burst", "frames", "mean", "flicker", "largest shift, px", "masked", "of the fit"]
    sources = [*result.bursts, *result.flats]
    rows = [_burst_row(one, used) for one, used in zip(sources, result.transfer.used, strict=False)]
    return _table(head, rows)


def _burst_row(one: Prepared, used: float) -> list[str]:
    flicker = np.abs(one.gain.mean((1, 2)) - 1).max()
    shift = f"{one.shifts.lengths.max():.3f}" if one.shifts.measurable else "no texture"
    shares = one.shares or {}
    masked = ", ".join(
        f"{name} {_percent(share)}" for name, share in shares.items() if share and name != "any"
    )
    return [
        one.burst.name, str(len(one.gain)), f"{one.brightness:.4f}", f"{100 * flicker:.2f}%",
        shift, masked or "none", _percent(used),
    ]  # fmt: skip


def pairs_text(written: Sequence["Written"]) -> str:
    """Return one paragraph on what the masks did to the pairs."""
    count = sum(one.pairs for one in written)
    return (
        f"{counted(count, 'pair')} of {counted(len(written), 'burst')}. Masked pixels with at most "
        "3 in the 5 x 5 around them got noise drawn from the calibration, the others are NaN, and "
        "training leaves out patches with a NaN."
    )


def _pairs_table(written: Sequence["Written"]) -> str:
    head = ["instance", "pairs", "pixels drawn", "pixels NaN", "patches with drawn", "with NaN"]
    rows = [
        [
            str(one.name),
            str(one.pairs),
            *map(
                _percent,
                (one.shares.filled, one.shares.lost, one.shares.patches_filled,
                 one.shares.patches_lost),
            ),
        ]
        for one in written
    ]  # fmt: skip
    return _table(head, rows)


def numbers(results: Mapping[int, Result], written: Sequence["Written"]) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        "isos": [
            {
                **result.calibration.to_json(),
                "nlf": result.calibration.nlf,
                "channels": _channels(result),
                "sources": [
                    {
                        "burst": one.burst.name,
                        "frames": list(one.burst.files),
                        "gains": one.gain.mean((1, 2)).tolist(),
                        "shifts": one.shifts.pixels.tolist(),
                        "shifts_known": one.shifts.measurable,
                        "brightness": one.brightness,
                        "masked": one.shares,
                        "used": used,
                    }
                    for one, used in zip(
                        [*result.bursts, *result.flats], result.transfer.used, strict=False
                    )
                ],
            }
            for result in results.values()
        ],
        "pairs": [
            {"instance": str(one.name), "pairs": one.pairs, **vars(one.shares)} for one in written
        ],
    }


def _channels(result: Result) -> dict[str, dict[str, Any]]:
    stated = result.calibration.noise_profile or (None,) * 4
    return {
        name: {
            "intensity": points.intensity.tolist(),
            "variance": points.variance.tolist(),
            "error": points.error.tolist(),
            "fit": (line.slope, line.offset),
            "errors": (line.slope_error, line.offset_error),
            "stated": of_file,
        }
        for name, points, line, of_file in zip(
            channel_names(result), result.transfer.points, result.transfer.lines, stated,
            strict=True,
        )
    }  # fmt: skip


def figures(result: Result) -> dict[str, Figure]:
    """Return the figures on one ISO by name."""
    one = result.calibration
    title = f"{one.camera}, ISO {one.iso}"
    sources = [*result.bursts, *result.flats]
    fullest = int(np.argmax([(part.shares or {}).get("any", 0) for part in sources]))
    drawn = {
        "photon_transfer": plotting.photon_transfer(
            _channels(result),
            f"Photon transfer of {title}: temporal variance of {one.frames} frames",
        ),
        "masked": plotting.masked_pixels(
            result.maps[fullest],
            f"Pixels left out of {Path(sources[fullest].burst.name).name}",
            MAP_BLOCK,
        ),
    }
    source = result.darks.statistics if result.darks else result.statistics[0]
    drawn["lines"] = plotting.line_profiles(
        {"row": source.rows.residual[0], "column": source.columns.residual[0]},
        f"Offsets of one frame's rows and columns against the mean of all, {title}",
        "raw intensity",
    )
    if result.darks is not None:
        drawn["darks"] = plotting.dark_histogram(
            *result.darks.histogram, f"Noise of the darks of {title}"
        )
        drawn["fixed_pattern"] = plotting.line_profiles(
            {"row": result.darks.row_profile, "column": result.darks.column_profile},
            f"Fixed pattern: mean of the darks' rows and columns, {title}",
            "raw intensity",
        )
    return drawn


def _with_error(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f}%" if part > 0.1 else f"{100 * part:.2g}%"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
