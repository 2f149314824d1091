"""What a server allows."""

import ipaddress
import re
from dataclasses import dataclass

from mt3x.music.options import check_fields

MIN_TOKEN = 16
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{MIN_TOKEN},}}")


@dataclass(frozen=True)
class ServerConfig:
    """Where a server listens, and its limits."""

    host: str = "127.0.0.1"
    port: int = 8765
    # What every call of the API must bring; None: nothing.
    token: str | None = None
    # The longest recording, and the largest upload.
    max_minutes: float = 60.0
    max_mb: float = 200.0
    # Recordings that are uploaded, wait or are transcribed at once; as many that are
    # done are kept, and the one that was not used for the longest time goes first.
    jobs: int = 8
    # How long a job is kept after it was last used.
    keep_s: float = 3600.0

    def __post_init__(self) -> None:
        check_fields(
            self,
            port=(0, 65535),
            max_minutes=(0.01, 100_000),
            max_mb=(0.001, 100_000),
            jobs=(1, 1000),
            keep_s=(0.01, 1e7),
        )
        if not self.is_local and self.token is None:
            raise ValueError(
                f"host {self.host} can be reached by others: give a token that they "
                "must know"
            )
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ValueError(
                "the token is too short or has other characters than letters, digits, "
                f"- and _: give at least {MIN_TOKEN} of these"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def max_bytes(self) -> int:
        return round(self.max_mb * 1e6)

    @property
    def max_s(self) -> float:
        return self.max_minutes * 60


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, and known to itself only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
