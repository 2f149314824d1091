"""The files of the page, found once when the server starts."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.responses import FileResponse

# With `nosniff` a browser runs nothing of another type, and what Python knows of types
# differs from machine to machine.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".ogg": "audio/ogg",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
OTHER_TYPE = "application/octet-stream"
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


class StaticFile(NamedTuple):
    """A file, and how it is sent."""

    path: Path
    media_type: str
    encoding: str | None

    def response(self) -> FileResponse:
        headers = {"Cache-Control": "no-cache"}
        if self.encoding is not None:
            headers["Content-Encoding"] = self.encoding
        return FileResponse(self.path, media_type=self.media_type, headers=headers)


def static_files(files: Mapping[str, Path]) -> dict[str, StaticFile]:
    """Return what is served at which address."""
    found = {}
    for name, path in files.items():
        is_packed = path.suffix == ".gz" and not name.endswith(".gz")
        media_type = MEDIA_TYPES.get(Path(name).suffix, OTHER_TYPE)
        found[f"/{name}"] = StaticFile(path, media_type, "gzip" if is_packed else None)
    found["/"] = found["/index.html"]
    return found


def content_security_policy(page: str) -> str:
    """Return what a page may load: what comes from here.

    Scripts inside of the page, as its import map, are allowed by their hashes.
    """
    digests = (hashlib.sha256(x.encode()).digest() for x in _INLINE.findall(page))
    hashes = "".join(f" 'sha256-{base64.b64encode(x).decode()}'" for x in digests)
    return (
        "default-src 'self'; "
        f"script-src 'self' 'wasm-unsafe-eval'{hashes}; "
        "worker-src 'self' blob:; connect-src 'self' blob:; media-src 'self' blob:; "
        "img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
