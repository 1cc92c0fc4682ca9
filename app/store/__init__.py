"""The store: the only package that knows SQL. One method is one short transaction.

    database   engines, threads, transactions; the group commit of the hot writes
    schema     the tables, the same on SQLite and PostgreSQL
    clock      the database's time, which leases and expiry go by
    projects, keys, interactions, events, resources, uploads      a module for each noun

Content columns hold bytes (JSON text), never `jsonb`: PostgreSQL refuses U+0000 there, and
what is bytes is the same bytes on both databases.
"""
