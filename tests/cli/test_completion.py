"""Scripts for shells, and what they ask for."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from mt3x.cli.main import group


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_the_command(shell):
    result = CliRunner().invoke(group, ["completion", shell], prog_name="mt3x")
    assert result.exit_code == 0
    assert f"_MT3X_COMPLETE={shell}_complete" in result.output


def test_options_are_completed():
    code = "import sys; from mt3x.cli.main import group; group(prog_name='mt3x')"
    env = {
        "_MT3X_COMPLETE": "bash_complete",
        "COMP_WORDS": "mt3x transcribe --lo",
        "COMP_CWORD": "2",
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert done.stdout.decode().split() == ["plain,--lowest", "plain,--log"]
