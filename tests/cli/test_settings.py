"""The user's own defaults and presets."""

import click
import pytest
from click.testing import CliRunner

from mt3x.cli import settings
from mt3x.cli.option_types import Formats


@click.command()
@click.option(
    "--preset", is_eager=True, expose_value=False, callback=settings.take_settings
)
@click.option("-f", "--format", "formats", type=Formats())
@click.option("--onset-threshold", type=click.FloatRange(0, 1))
@click.option("--min-duration", type=float)
@click.option("--min-velocity", type=int)
@click.option("--overwrite", is_flag=True)
@click.option("-o", "--output")
def command(**values):
    click.echo({name: value for name, value in sorted(values.items()) if value})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command with a text in mt3x.toml; returns its output, raises errors."""
    path = tmp_path / "mt3x.toml"
    monkeypatch.setenv("MT3X_CONFIG", str(path))

    def call(text, *args):
        path.write_text(text)
        result = CliRunner().invoke(command, args, catch_exceptions=True)
        if isinstance(result.exception, ValueError):
            raise result.exception
        return result.output.strip()

    return call


OWN = """
[transcribe]
format = ["mid", "csv"]
onset_threshold = 0.3
overwrite = true
[presets.mine]
onset-threshold = 0.6
min-velocity = 20
"""


def test_the_command_line_wins_over_the_preset_and_that_over_defaults(run):
    assert run(OWN) == str(
        {"formats": ["midi", "csv"], "onset_threshold": 0.3, "overwrite": True}
    )
    assert "'onset_threshold': 0.6" in run(OWN, "--preset", "mine")
    found = run(OWN, "--preset", "mine", "--onset-threshold", "0.9", "-f", "png")
    assert "'onset_threshold': 0.9" in found and "['plot']" in found
    assert "'min_velocity': 20" in found


def test_presets_need_no_file(run, monkeypatch):
    for name, values in settings.PRESETS.items():
        found = run("", "--preset", name)
        assert f"'onset_threshold': {values['onset-threshold']}" in found
    monkeypatch.setenv("MT3X_CONFIG", "off")
    assert run(OWN) == "{}" and run(OWN, "--preset", "clean") != "{}"


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("x = ", [], r"mt3x\.toml is not TOML"),
        ("[train]", [], r"'train' is unknown; it has tables \[transcribe\]"),
        ("transcribe = 1", [], "transcribe is not a table"),
        ("[transcribe]\nonset = 1", [], "'onset' is not an option"),
        ("[transcribe]\noverwrit = true", [], "did you mean overwrite"),
        ("[transcribe]\noutput = 'a.mid'", [], "'output' is not an option"),
        (
            "[transcribe]\nonset_threshold = 3",
            [],
            r"\[transcribe\]: onset_threshold: 3\.?0* is not in the range",
        ),
        ("[presets]\nmine = 1", ["--preset", "mine"], "is not a table of options"),
        (OWN, ["--preset", "other"], "no preset 'other': give one of clean, .*, mine"),
    ],
)
def test_what_is_wrong_is_named(run, text, args, message):
    with pytest.raises(ValueError, match=message) as caught:
        run(text, *args)
    assert "\n" not in str(caught.value)


def test_the_file_lies_with_other_configurations(monkeypatch, tmp_path):
    monkeypatch.delenv("MT3X_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = settings.config_path()
    assert path is not None and path.name == "mt3x.toml"
