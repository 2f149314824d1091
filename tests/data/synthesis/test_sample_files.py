"""Samples that cannot be read are named."""

import pytest
from toy_pianos import write_tone

from mt3x.data.synthesis.sample_files import open_sample
from mt3x.data.synthesis.sampled_instruments import read_instrument


def test_a_sound_is_opened(tmp_path):
    write_tone(tmp_path / "C4.wav", 60)
    with open_sample(tmp_path / "C4.wav") as file:
        assert file.frames == len(file.read())


@pytest.mark.parametrize(
    "content", [b"", b"RIFF\x10\x00\x00\x00WAVEfmt ", b"text" * 99]
)
def test_damage_is_named_with_its_file(tmp_path, content):
    folder = tmp_path / "violin"
    folder.mkdir()
    (folder / "C4.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"C4\.wav: not a sound file, or damaged"):
        read_instrument(folder).note(60, 100, 0)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"gone\.wav"),
        open_sample(tmp_path / "gone.wav"),
    ):
        pass
