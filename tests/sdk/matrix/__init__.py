"""Real clients of nine versions, each in an environment of its own, do the same things with one gateway.

    scenarios    what a program does with the API, in Python; ../javascript/scenarios.mjs is the same list
    reading      what differs between the generations of the SDK, and nothing else
    __main__     runs the scenarios with the SDK that is installed: `python -m tests.sdk.matrix [word]`
    versions     the versions, and how their locked environments are made and kept
    running      one run: a process of such an environment that prints a line for every scenario
    upstream     what stands behind the gateway: the simulator, and models and files
    table        docs/compatibility.md, out of the results

Only the first three run in the old environments, which have the SDK and nothing of ours.
"""
