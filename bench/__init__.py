"""The benchmark: what the gateway costs, in time and in processor time. `make bench` prints it.

upstream   answers as fast as asked for, and writes the time into each event; a process of its own
load       asks for unary answers and streams, and notes when what arrives
places     who is asked: the upstream itself, or a gateway on either database, with or without storing
"""
