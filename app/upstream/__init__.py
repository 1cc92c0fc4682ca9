"""Upstreams: everything that runs a turn. One adapter for each protocol.

routing    the model's or agent's name -> an adapter
adapter    a Turn -> an async iterator of core events; a failure is an ApiError
failures   what an upstream or the network says -> what our client is told

forward    what no adapter understands, passed on as it is; `headers` says which headers pass
peer       the two things that can be asked: a server, and an application in this process
configured    the upstreams of the settings, put together
credentials   the keys of an upstream, and which of them a call is made with
"""
