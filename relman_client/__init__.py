"""Client of relman, a release manager over gRPC.

`relman_client.v1` holds the generated messages and stubs of the contract in proto/relman/v1.
"""
