"""The outputs schema (before 2026-05-20), which SDKs 1.x speak: a view of the steps schema, both ways.

content    a step <-> the contents that it is, with the names that older SDKs read
request    create request -> core Request
resource   core Interaction -> JSON
stream     stored frames -> frames of this schema, from any place on

    steps  [thought, model_output[text, image], function_call]
             |          |     |                    |
    outputs [thought,  text, image,               function_call]

What each schema cannot say is listed in docs/dialects.md.
"""
