"""The files of the page: what they are made from, and that nothing is missing."""

import hashlib
import json
import re

import pytest

from mt3x import page

FILES = page.files()
VENDOR = json.loads(FILES["vendor/manifest.json"].read_text())


def test_lists_what_a_browser_loads():
    assert {"index.html", "app.js", "vendor/preact.js", "sounds/band.sf3"} <= set(FILES)
    assert not [name for name in FILES if name.endswith((".py", ".mjs"))]


@pytest.mark.parametrize("entry", VENDOR, ids=lambda entry: entry["file"])
def test_bundles_are_those_of_the_manifest(entry):
    data = FILES[f"vendor/{entry['file'].removesuffix('.gz')}"].read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert len(data) == entry["bytes"]


def test_every_bundle_has_versions_and_licences():
    bundles = {
        path.name
        for path in FILES.values()
        if re.search(r"vendor/\w+\.(js|wasm.gz)$", path.as_posix())
    }
    assert bundles == {entry["file"] for entry in VENDOR}
    licences = FILES["vendor/LICENSES.txt"].read_text()
    for package in (package for entry in VENDOR for package in entry["packages"]):
        assert re.fullmatch(r"[\d.]+", package["version"])
        assert package["license"] in ("MIT", "Apache-2.0")
        assert re.search(rf"^{re.escape(package['name'])}$", licences, re.MULTILINE)


@pytest.mark.parametrize(("name", "most_mb"), [("piano", 0.9), ("band", 7)])
def test_sound_banks_are_small_and_free(name, most_mb):
    data = FILES[f"sounds/{name}.sf3"].read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"sfbk"
    assert len(data) < most_mb * 1e6
    assert "Permission is hereby granted" in FILES["sounds/LICENSE.txt"].read_text()


OWN = [
    name
    for name in FILES
    if name.endswith((".js", ".html", ".css")) and not name.startswith("vendor/")
]


@pytest.mark.parametrize("name", OWN)
def test_refers_to_files_of_the_page_only(name):
    text = FILES[name].read_text()
    found = re.findall(r'(?:from|import|URL\() ?"(\.{1,2}/[\w./]+)"', text)
    found += re.findall(r'(?:href|src)="([\w./]+)"', text)
    folder = name.rpartition("/")[0]
    for reference in found:
        parts = [*folder.split("/"), *reference.split("/")]
        while ".." in parts:
            at = parts.index("..")
            del parts[at - 1 : at + 1]
        address = "/".join(part for part in parts if part not in ("", "."))
        assert address in FILES or address.startswith(("api/", "model/"))
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
