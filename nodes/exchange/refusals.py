"""Why a call is refused: a short reason for programs, a gRPC status, and one sentence for people."""

from __future__ import annotations

from enum import StrEnum

import grpc

from fedbits.errors import FedbitsError

_Status = grpc.StatusCode


class Reason(StrEnum):
    """What a refused call carries in its trailing metadata, and what refusals are counted by."""

    # who calls, and how
    UNIDENTIFIED = "unidentified"
    PROTOCOL = "protocol"
    FORBIDDEN = "forbidden"
    REVOKED = "revoked"
    BAD_REQUEST = "bad_request"
    # the state of the exchange
    BUSY = "busy"
    SHUTDOWN = "shutdown"
    DISK_FULL = "disk_full"
    FAILED = "failed"
    UNKNOWN_SET = "unknown_set"
    AHEAD = "ahead"
    # an upload
    TOO_LARGE = "too_large"
    QUOTA = "quota"
    REPLAY = "replay"
    IDLE = "idle"
    INCOMPLETE = "incomplete"
    OVERRUN = "overrun"
    SUPERSEDED = "superseded"
    WRONG_DIGEST = "wrong_digest"
    # what the examiner found
    NOT_A_BLOB = "not_a_blob"
    CORRUPT = "corrupt"
    FORMAT_VERSION = "format_version"
    LIMITS = "limits"
    UNFIT_NAME = "unfit_name"
    DECODE_TIME = "decode_time"
    DECODE_MEMORY = "decode_memory"
    DECODER_DIED = "decoder_died"

    @property
    def status(self) -> grpc.StatusCode:
        """The status of a call that is refused for this reason."""
        return _MEANINGS[self][0]

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _MEANINGS[self][1]


# The same call may succeed a little later. Not SUPERSEDED: two uploads would keep taking over.
TEMPORARY = frozenset({Reason.BUSY, Reason.SHUTDOWN, Reason.IDLE})

_MEANINGS: dict[Reason, tuple[grpc.StatusCode, str]] = {
    Reason.UNIDENTIFIED: (_Status.UNAUTHENTICATED, "the caller has no name that the exchange can read"),
    Reason.PROTOCOL: (_Status.FAILED_PRECONDITION, "the caller speaks another version of the protocol"),
    Reason.FORBIDDEN: (_Status.PERMISSION_DENIED, "the access list does not allow this to the caller"),
    Reason.REVOKED: (_Status.PERMISSION_DENIED, "the access list says that the caller is revoked"),
    Reason.BAD_REQUEST: (_Status.INVALID_ARGUMENT, "the request is not of the agreed form"),
    Reason.BUSY: (_Status.UNAVAILABLE, "the exchange has as much to do as it can bear: try again later"),
    Reason.SHUTDOWN: (_Status.UNAVAILABLE, "the exchange is shutting down: try again later"),
    Reason.DISK_FULL: (_Status.RESOURCE_EXHAUSTED, "the exchange has no room left"),
    Reason.FAILED: (_Status.INTERNAL, "the exchange failed; its log says more"),
    Reason.UNKNOWN_SET: (_Status.NOT_FOUND, "there is no such set, or it is there no longer"),
    Reason.AHEAD: (_Status.OUT_OF_RANGE, "the sequence number or offset is beyond what is there"),
    Reason.TOO_LARGE: (_Status.INVALID_ARGUMENT, "the blob is larger than the exchange takes"),
    Reason.QUOTA: (_Status.RESOURCE_EXHAUSTED, "the blob is more than what is left of the node's quota"),
    Reason.REPLAY: (_Status.ALREADY_EXISTS, "another node has published this very blob"),
    Reason.IDLE: (_Status.DEADLINE_EXCEEDED, "nothing moved for too long"),
    Reason.INCOMPLETE: (_Status.ABORTED, "the upload ended before the announced size"),
    Reason.OVERRUN: (_Status.INVALID_ARGUMENT, "the upload is longer than announced"),
    Reason.SUPERSEDED: (_Status.ABORTED, "a later upload of the same blob by the same node has taken over"),
    Reason.WRONG_DIGEST: (_Status.DATA_LOSS, "the bytes that arrived do not have the announced SHA-256"),
    Reason.NOT_A_BLOB: (_Status.INVALID_ARGUMENT, "the upload is not a fedbits blob"),
    Reason.CORRUPT: (_Status.INVALID_ARGUMENT, "the blob is truncated or corrupt"),
    Reason.FORMAT_VERSION: (_Status.INVALID_ARGUMENT, "the blob is of a later version of the format"),
    Reason.LIMITS: (
        _Status.INVALID_ARGUMENT,
        "the blob declares more than the exchange is willing to decode",
    ),
    Reason.UNFIT_NAME: (
        _Status.INVALID_ARGUMENT,
        "the blob names a data set or recipe in more than 200 characters, or in ones that cannot be printed",
    ),
    Reason.DECODE_TIME: (
        _Status.INVALID_ARGUMENT,
        "the blob takes longer to decode than the exchange allows",
    ),
    Reason.DECODE_MEMORY: (
        _Status.INVALID_ARGUMENT,
        "the blob takes more memory to decode than the exchange allows",
    ),
    Reason.DECODER_DIED: (_Status.INVALID_ARGUMENT, "the decoder died of the blob"),
}


class RefusedError(FedbitsError):
    """A call that is refused, on either side of it; ``detail`` takes the place of the reason's sentence."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.sentence)
        self.reason = reason


class UnreachableError(FedbitsError):
    """No exchange answers, or not as one would."""
