"""A machine that calls the API in any order, with faults in between, and a model of what must come of it."""
