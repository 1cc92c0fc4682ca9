"""The HTTP surface: thin routes. Auth is each route's own, the default is to refuse.

interactions   POST, GET, DELETE, cancel under /v1, /v1beta and /v1alpha
listing        GET /interactions, an extension
health         /healthz, /readyz
asking         a request for the rest of the API, understood
forwarding     the rest of the API, passed on; `owned` is what it does to what projects own
uploading      uploads: where they begin, and the URLs where they go on
relay          bodies on their way up and down
errors         exceptions -> answers, in one place
exchange       one request and its answer, as plain ASGI
"""
