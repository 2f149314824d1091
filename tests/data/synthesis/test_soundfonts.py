import pytest
from toy_soundfont import PRESETS, write_soundfont

from mt3x.data.synthesis.soundfonts import read_presets


def test_presets(tmp_path):
    path = tmp_path / "a.sf2"
    write_soundfont(path)
    assert read_presets(path) == set(PRESETS)
    write_soundfont(path, [(8, 127)])
    assert read_presets(path) == {(8, 127)}


def test_what_is_no_soundfont(tmp_path):
    path = tmp_path / "a.sf2"
    with pytest.raises(FileNotFoundError, match=r"a\.sf2: no such soundfont"):
        read_presets(path)
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(ValueError, match=r"a\.sf2: not a soundfont"):
        read_presets(path)
    write_soundfont(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"a\.sf2: cut short"):
        read_presets(path)
    path.write_bytes(b"RIFF\4\0\0\0sfbk")
    with pytest.raises(ValueError, match="without presets"):
        read_presets(path)
