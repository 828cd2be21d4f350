"""Why a node's set is not in the union, as a short code; the sentences belong to whoever prints them."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The outcome of one node in one round. Replies carry these and never the text of an exception."""

    OK = "ok"
    # found by the node itself
    EMPTY_SHARD = "empty_shard"
    NO_DATA = "no_data"
    BUDGET_TOO_SMALL = "budget_too_small"
    BAD_TASK = "bad_task"
    PROTOCOL = "protocol"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_ERROR = "node_error"
    # found by the server
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    OVER_BUDGET = "over_budget"
    NOT_A_BLOB = "not_a_blob"
    CORRUPT = "corrupt"
    VERSION = "version"
    TOO_LARGE = "too_large"
    WRONG_TASK = "wrong_task"
    WRONG_LABELS = "wrong_labels"

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self]


NODE_CODES = frozenset(
    {
        Code.EMPTY_SHARD,
        Code.NO_DATA,
        Code.BUDGET_TOO_SMALL,
        Code.BAD_TASK,
        Code.PROTOCOL,
        Code.OUT_OF_MEMORY,
        Code.NODE_ERROR,
        Code.TIMEOUT,
    }
)

_SENTENCES = {
    Code.OK: "its set is in the union",
    Code.EMPTY_SHARD: "the node has no samples",
    Code.NO_DATA: "the node could not load its data, or has none that its role is for",
    Code.BUDGET_TOO_SMALL: "the budget is too small for one sample of each of the node's classes",
    Code.BAD_TASK: "the node could not read the task or the model it was sent",
    Code.PROTOCOL: "node and server speak different versions of the protocol: install the same fedbits",
    Code.OUT_OF_MEMORY: "the node ran out of memory",
    Code.NODE_ERROR: "the node failed",
    Code.TIMEOUT: "no reply arrived in time",
    Code.UNREACHABLE: "the task could not be delivered, or the node went away",
    Code.UNREADABLE: "the reply could not be read",
    Code.MISSING: "the reply does not contain what was asked for",
    Code.OVER_BUDGET: "the blob is larger than the node's budget",
    Code.NOT_A_BLOB: "the reply is not a fedbits blob",
    Code.CORRUPT: "the blob is truncated or corrupt",
    Code.VERSION: "the blob was written by a later version of the format",
    Code.TOO_LARGE: "the blob declares more samples than the server is willing to decode",
    Code.WRONG_TASK: "the blob describes another task (sample shape, classes or normalisation)",
    Code.WRONG_LABELS: "the blob has labels outside the task's classes, or none",
}
