"""Runs: the execution of interactions, and everybody who reads their events.

engine     starts a run: row, chain, upstream; there is one way to execute
journal    numbers, frames and commits a run's events, in group commits
tail       what has been committed lately, in memory, for the followers of this process
follow     a run's events from any number on: from the tail, else from the store
affinity   which of an upstream's keys a run is made with, and what it has made with it
accounts   what a call may cost is reserved before, what it did cost is written with its end
errands    what is left to do at an upstream that keeps a run
worker     keeps leases alive and ends the runs of processes that died

upstream --events--> engine --fold--> outcome --commit--+
                        |                               |
                        +--> journal --commit--> tail --+--> followers (unary, streaming, later)
"""
