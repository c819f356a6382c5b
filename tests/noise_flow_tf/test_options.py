"""Options of the command line are declared in the fields of the configs."""

from dataclasses import dataclass, field, fields

import pytest

from noise_flow_tf.cli.parsing import ConfigParser
from noise_flow_tf.programs import configs
from noise_flow_tf.programs.options import fraction, option, positive_int, required


@dataclass(frozen=True, kw_only=True)
class TwoWords:
    steps: int = option(5, "how many", type=positive_int)
    again: bool = option(False, "once more")


@dataclass(frozen=True, kw_only=True)
class Own(TwoWords):
    files: list[str] = field(metadata=required("of what", names=["files"], nargs="+"))
    given_name: str = field(metadata=required("its name"))
    kinds: list[str] = option(["a"], "of results", nargs="+", choices=["a", "b"])
    steps: int = 7
    again: bool = option(False, names=["--again", "--resume"])
    part: float = option(0.0, "of the steps", type=fraction)
    python_only: int = 3


GIVEN = ["x", "--given-name", "y"]


def test_a_redeclared_field_keeps_what_it_does_not_state():
    config = ConfigParser(Own).config([*GIVEN, "--resume"])
    assert config == Own(files=["x"], given_name="y", again=True)
    assert config.steps == 7
    text = " ".join(ConfigParser(Own).format_help().split())
    assert "two words: --steps N how many (default: 7) --again once more" in text
    assert "of results (default: a)" in text
    assert "python_only" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "required: --given_name"),
        (GIVEN[1:], "required: files"),
        ([*GIVEN, "--steps", "0"], "--steps: invalid positive whole number value: '0'"),
        ([*GIVEN, "--part", "2"], "--part: invalid number from 0 to 1 value: '2'"),
        ([*GIVEN, "--kinds", "c"], "invalid choice: 'c'"),
        ([*GIVEN, "--python_only", "1"], "unrecognized arguments: --python_only 1"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        ConfigParser(Own).config(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_configs_do_not_share_lists():
    assert configs.SampleConfig(model="m", clean="c").formats == ["npy"]
    first, second = (ConfigParser(Own).config(GIVEN) for _ in range(2))
    assert first.kinds is not second.kinds


@pytest.mark.parametrize("name", [name for name in vars(configs) if name.endswith("Config")])
def test_each_field_is_an_option_with_a_help_text(name):
    config = getattr(configs, name)
    actions = {action.dest: action for action in ConfigParser(config)._actions}
    for one in fields(config):
        if (name, one.name) not in (("PaperConfig", "train"), ("FitBaselineConfig", "seed")):
            assert actions[one.name].help
