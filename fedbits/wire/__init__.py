"""The generated wire format; `make protos` rewrites it."""
