"""Checkpoints that others have published, fetched once: `fetch`, `read_published`.

They lie in public buckets of Google Cloud Storage, which lists the objects of a folder
with their sizes and MD5 digests, and gives each over HTTPS. What was fetched before a
break stays, and the next call goes on from there. When all is there and right, it
becomes one file of weights.
"""

import base64
import hashlib
import http.client
import itertools
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jax

from mt3x.interop.t5x_checkpoints import (
    guess_config,
    read_config,
    read_t5x,
    tokens_config,
)
from mt3x.models import weights_file
from mt3x.models.objectives import config_from_dict, make_objective

BASE = "https://storage.googleapis.com"
ADDRESS_SETTING = "MT3X_CHECKPOINTS_URL"
"""The variable of the environment that names a mirror of `BASE`."""
HEAD_DIM = 64
"""Channels of an attention head in all published sizes."""
NUM_CONNECTIONS, NUM_TRIES, TIMEOUT_S, WAIT_S = 4, 4, 30.0, 1.0
_BLOCK_BYTES = 1 << 18
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


class Remote(NamedTuple):
    """A file that can be fetched."""

    path: PurePosixPath  # in the folder
    url: str
    num_bytes: int
    md5: bytes


def read_published(
    source: str | os.PathLike[str], model: str | None = None, head_dim: int = HEAD_DIM
) -> tuple[dict[str, Any], Any, int]:
    """Read a checkpoint that T5X wrote: parameters, objective's config and step.

    Args:
      source: as for `read_t5x`.
      model: what its tokens mean, as for `tokens_config`; None: what the config beside
        the checkpoint says or, without one, its vocabulary.
      head_dim: channels of an attention head of MT3's network, which a checkpoint does
        not tell.

    Raises:
      OSError, ValueError: as `read_t5x`, `guess_config` and `tokens_config`; or the
        parameters are not those of the config.
    """
    params, step = read_t5x(source)
    try:
        own = read_config(source)
        if own is not None and model is None:
            config = config_from_dict(own)
        else:
            config = tokens_config(guess_config(params, head_dim), model)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    expected = jax.eval_shape(make_objective(config).init, jax.random.key(0))
    weights_file.check_params(params, expected, source)
    return params, config, step


def fetch(
    model: str,
    address: str,
    target: Path,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Fetch a checkpoint and write its weights to one file.

    Args:
      model: what its tokens mean, as for `tokens_config`.
      address: its folder, gs://BUCKET/FOLDER.
      target: the file to write. Beside it lies what was fetched until then.
      on_progress: called with the bytes that are there and those that there will be.

    Raises:
      OSError: the server cannot be reached, the connection broke again and again, or
        the disk is full.
      ValueError: what the server gives is damaged or no checkpoint.
    """
    base = os.environ.get(ADDRESS_SETTING, BASE).rstrip("/")
    bucket, _, folder = address.removeprefix("gs://").partition("/")
    parts = target.with_name(f"{target.stem}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    try:
        files = list(_listed(base, bucket, f"{folder.rstrip('/')}/"))
        _fetch_all(files, parts, on_progress)
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(
            f"cannot fetch {model} from {base} ({reason}): check the network and run "
            "again, which goes on where it stopped"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"cannot fetch {model} from {base}: {error}; run again"
        ) from error
    params, config, step = read_published(parts, model, HEAD_DIM)
    metadata = {"source": address, "step": str(step)}
    weights_file.save_weights(target, params, config.to_dict(), metadata)
    shutil.rmtree(parts)


def _listed(base: str, bucket: str, prefix: str) -> Iterator[Remote]:
    """Yield the files of a checkpoint that hold its parameters.

    Raises:
      OSError, http.client.HTTPException: the server cannot be reached.
      ValueError: its list is not what it should be.
    """
    query = {"prefix": prefix, "fields": "items(name,size,md5Hash),nextPageToken"}
    num_found = 0
    while True:
        url = f"{base}/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
        page = json.loads(_again(lambda url=url: _body(url)))
        try:
            for item in page.get("items", []):
                name = item["name"]
                path = PurePosixPath(name.removeprefix(prefix))
                # Of the optimizer nothing is needed.
                if name.endswith("/") or path.parts[0].startswith("state."):
                    continue
                if path.is_absolute() or ".." in path.parts or "\\" in name:
                    raise ValueError(f"its list has a file outside: {name[:100]!r}")
                where = f"{base}/{bucket}/{urllib.parse.quote(name)}"
                md5 = base64.b64decode(item["md5Hash"])
                yield Remote(path, where, int(item["size"]), md5)
                num_found += 1
            token = page.get("nextPageToken")
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"its list of files is not as expected ({error})"
            ) from error
        if token is None:
            break
        query["pageToken"] = token
    if not num_found:
        raise ValueError(f"there are no files in {bucket}/{prefix}")


def _fetch_all(
    files: list[Remote], folder: Path, on_progress: Callable[[int, int], object]
) -> None:
    total = sum(file.num_bytes for file in files)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise OSError(
            f"it has {total / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB left"
        )
    done = dict.fromkeys((file.path for file in files), 0)

    def take(file: Remote) -> None:
        def tell(num_bytes: int) -> None:
            done[file.path] = num_bytes
            on_progress(sum(done.values()), total)

        _again(lambda: _fetch_file(file, folder / file.path, tell))

    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        # The first that fails ends it; those that have not begun are left out.
        list(pool.map(take, files))


def _fetch_file(file: Remote, path: Path, tell: Callable[[int], object]) -> None:
    """Fetch what is missing of a file, and check it.

    Raises:
      OSError, http.client.HTTPException: the connection broke; what came is kept.
      ValueError: it is another file than the list says. It is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as out:
        there = out.tell()
        if there < file.num_bytes:
            request = urllib.request.Request(file.url)
            if there:
                request.add_header("Range", f"bytes={there}-")
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                start = f"bytes {there}-"
                if not response.headers.get("Content-Range", "").startswith(start):
                    out.truncate(0)
                    there = 0
                # One more than there should be, to notice it.
                while there <= file.num_bytes:
                    block = response.read(min(_BLOCK_BYTES, file.num_bytes + 1 - there))
                    if not block:
                        break
                    out.write(block)
                    there += len(block)
                    tell(there)
    if there < file.num_bytes:
        raise ConnectionError(
            f"{file.path} broke off after {there} of {file.num_bytes} bytes"
        )
    with open(path, "rb") as whole:
        md5 = hashlib.file_digest(whole, "md5").digest()
    if there > file.num_bytes or md5 != file.md5:
        path.unlink()
        raise ValueError(f"{file.path} is not what the list of files says")
    tell(there)


def _body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        return response.read()


def _again(function: Callable[[], Any]) -> Any:
    """Call a function, and again some times where the network fails."""
    for number in itertools.count(1):
        try:
            return function()
        except _NETWORK_ERRORS as error:
            # What HTTP calls the fault of whoever asks stays so.
            code = getattr(error, "code", 500)
            is_final = 400 <= code < 500 and code not in (408, 429)
            if is_final or number == NUM_TRIES:
                raise
        time.sleep(WAIT_S * 2 ** (number - 1))
