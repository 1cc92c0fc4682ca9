"""The admin API, /admin/v1: a thin skin on the operations.

door       who asks; and what every answer has
gate       what handlers need: the right that each of them asks for, and how an error is told
pages      lists, a page at a time
surface    the application, and its OpenAPI document

Each other module has the routes of one noun: its fields in, one operation, its fields out.
"""
