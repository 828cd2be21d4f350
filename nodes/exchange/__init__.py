"""The exchange: a gRPC service through which nodes share distilled sets without a training round.

``docs/exchange.md`` says how it is run; ``protos/fedbits/v1/exchange.proto`` what is said on the wire.
Importing this package imports no grpc; its modules do. None of them imports torch but the examiner, which is
a process of its own.
"""
