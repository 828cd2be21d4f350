"""What an exchange is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedbits.errors import ConfigError
from nodes.exchange.credentials import Credentials
from nodes.exchange.examination import ExaminationLimits
from nodes.exchange.space import SpaceLimits
from nodes.exchange.store import Retention


@dataclass(frozen=True)
class Traffic:
    """How much goes on at the same time.

    Attributes:
        uploads, downloads: calls that move bytes; others wait their turn. Memory is bounded by them.
        per_node: of those, of one node.
        calls_per_node: of any kind, watches among them; more are refused.
        idle: seconds after which a stream in which nothing moves is ended.
        least_rate: bytes a second that an upload must have on the whole, as others wait for its place.
    """

    uploads: int = 64
    downloads: int = 64
    per_node: int = 8
    calls_per_node: int = 256
    idle: float = 30.0
    least_rate: int = 4096


@dataclass(frozen=True)
class Settings:
    """One exchange.

    Attributes:
        storage: its folder.
        address: where it listens; port 0 stands for any that is free.
        access: the access list's file; without one, everybody with a certificate may do everything.
        metrics: where Prometheus finds its metrics, or None for nowhere.
        blob_bytes: of the largest blob.
        examiners: processes that decode uploads.
        grace: seconds that calls get to end when the exchange does.
    """

    storage: Path
    address: str
    credentials: Credentials
    access: Path | None = None
    metrics: str | None = None
    blob_bytes: int = 256 << 20
    examiners: int = 1
    grace: float = 10.0
    traffic: Traffic = field(default_factory=Traffic)
    space: SpaceLimits = field(default_factory=SpaceLimits)
    retention: Retention = field(default_factory=Retention)
    examination: ExaminationLimits = field(default_factory=ExaminationLimits)

    def __post_init__(self) -> None:
        self.credentials.check(self.address)
        if self.blob_bytes > self.examination.memory:
            raise ConfigError(
                f"blobs of up to {self.blob_bytes:,} bytes cannot be decoded in {self.examination.memory:,}: "
                "give less of --blob-limit or more of --decode-memory"
            )
