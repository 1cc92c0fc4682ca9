"""Fault campaigns: real processes, real databases, a monkey, and a checker that believes nobody.

upstream   a model of its own, as a process that survives everybody; it writes down what it was asked
clients    ask, follow, leave, come back, cancel, delete, and keep every byte they are told
monkey     kills, freezes and restarts gateways; takes the database away
evidence   what the clients saw, what the upstream was asked, what the database holds
checker    the promises, read from the evidence alone; it shares no code with the gateway
campaign   one of each, put together; `python -m tests.fault` runs as many as wanted
"""
