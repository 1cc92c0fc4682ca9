"""Who asks: a key in a request becomes a Caller with a project.

keys      what a key looks like, its checksum and its digest
caller    the key in the request -> Caller, through a short cache
pepper    the secret that digests are made with
ownership whose things at an upstream are, and what a request may name
"""
