"""A deployment: Flower's SuperLink on a server's host, a SuperNode on each node's, and keys for all of them.

What runs on them are the apps of a simulation, ``nodes.server_app`` and ``nodes.client_app``.
"""
