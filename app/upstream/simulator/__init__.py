"""The simulator: a deterministic stand-in for Gemini, embedded and over HTTP.

    request + steps --> model.answer --> Answer --> stream --> playback --> adapter   in this process
                           |                                       |
                           |                                       +-----> server     `gateway simulate`
                           |
      directives     what the last user text orders: sizes, delays, failures
      conversation   the steps, checked and in one form
      signatures     thoughts are signed over all that came before them, and verified
      options        the request's other fields, checked
      functions, tools, talk, example, pictures, usage     what it says
      body, endpoints, run, memory, responses              the server's own: what it keeps and how it tells

The same request and steps always make the same answer. It is exact about the conversation it is
sent: a step that came back changed breaks the signature of the next thought, a function result
needs its call. That makes it a test of whoever keeps the conversation.
"""
