"""What networks learn for each sample: its class, or more."""

from fedbits.labels.soft import SoftLabels

__all__ = ["SoftLabels"]
