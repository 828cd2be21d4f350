"""Federated runs on Flower: the apps, the strategy, the FedAvg yardstick and the report of a run.

Importing this package imports no Flower; its modules do.
"""
