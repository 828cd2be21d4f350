"""The role of nodes that learn class after class, with replay memories in bytes; the server has their union.

Importing this package imports no Flower; its modules do. Memories are :mod:`scenarios.memory`'s, which needs
no Avalanche.
"""
