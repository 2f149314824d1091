"""What `mt3x evaluate` reads and writes."""

import sys

import pytest
from evaluated import REF, write_tsv

from mt3x.cli.main import main


@pytest.fixture
def folders(tmp_path):
    """Three pieces as TSV, and estimates in three formats, one of them wrong."""
    ref, est = tmp_path / "ref", tmp_path / "est"
    ref.mkdir()
    est.mkdir()
    for name in "abc":
        write_tsv(ref / f"{name}.tsv", REF)
    REF.to_midi(est / "a.mid")
    REF[:2].to_csv(est / "b.csv")
    REF.shift(0.04).to_json(est / "c.json")
    return ref, est


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line; returns exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mt3x", "evaluate", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code
        return code or 0, *capfd.readouterr()

    return run
