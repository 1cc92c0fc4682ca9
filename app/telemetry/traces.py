"""Traces for OpenTelemetry, by its conventions for generative AI: names, counts and times, no content.

One span for an interaction, and one for each call of an upstream inside it. A client's `traceparent`
is their parent. Imported only where traces are sent somewhere: the libraries are the extra `otel`.
"""

import asyncio
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.errors import ApiError
from app.settings import Telemetry
from app.telemetry.observer import Facts, Headers, Observer

_CUT = 200
_CARRIED = frozenset({b"traceparent", b"tracestate"})
_TOKENS = (
    ("total_input_tokens", "gen_ai.usage.input_tokens"),
    ("total_output_tokens", "gen_ai.usage.output_tokens"),
)


def exporter(settings: Telemetry) -> SpanExporter:
    """Sends spans to the endpoint of the settings, in the background."""
    endpoint = f"{str(settings.otlp_endpoint).rstrip('/')}/v1/traces"
    headers = {name: value.get_secret_value() for name, value in settings.otlp_headers.items()}
    return OTLPSpanExporter(endpoint=endpoint, headers=headers)


class Traces(Observer):
    """Makes spans, and passes everything on to another observer."""

    def __init__(self, inner: Observer, exported: SpanExporter, service: str) -> None:
        self._inner = inner
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(exported))
        self._tracer = self._provider.get_tracer("interactions-gateway")
        self._propagator = TraceContextTextMapPropagator()

    async def close(self) -> None:
        """Send what has not been sent."""
        await asyncio.to_thread(self._provider.shutdown)

    def carry(self, headers: MutableMapping[str, str]) -> None:
        """Put the current span's `traceparent` among the headers of a request to an upstream."""
        self._propagator.inject(headers)

    def asked(self, headers: Headers) -> AbstractContextManager[None]:
        """Let the spans of the request belong to the client's."""
        carried = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
        return self._within(carried) if carried else super().asked(headers)

    @contextmanager
    def _within(self, carried: Mapping[str, str]) -> Iterator[None]:
        token = context.attach(self._propagator.extract(carried))
        try:
            yield
        finally:
            context.detach(token)

    @contextmanager
    def running(self, facts: Facts) -> Iterator[None]:
        """A span from the beginning to the end of the interaction."""
        with self._span(SpanKind.SERVER, facts.upstream, facts), self._inner.running(facts):
            yield

    @contextmanager
    def calling(self, upstream: str, facts: Facts | None = None) -> Iterator[None]:
        """A span for the call."""
        with self._span(SpanKind.CLIENT, upstream, facts) as span, self._inner.calling(upstream, facts):
            try:
                yield
            except ApiError as error:
                _fail(span, error.code)
                raise
            except BaseException as error:
                _fail(span, type(error).__name__)
                raise

    def ended(self, facts: Facts, status: str, seconds: float, usage: Mapping[str, Any] | None) -> None:
        """Note on the interaction's span how it ended and what was counted."""
        span = trace.get_current_span()
        span.set_attribute("gen_ai.response.finish_reasons", [status])
        for name, attribute in _TOKENS:
            if usage and isinstance(count := usage.get(name), int):
                span.set_attribute(attribute, count)
        if status == "failed":
            _fail(span, status)
        self._inner.ended(facts, status, seconds, usage)

    def request(self, method: str, route: str, status: int) -> None:
        """Passed on."""
        self._inner.request(method, route, status)

    def heard(self, seconds: float) -> None:
        """Noted on the span, and passed on."""
        trace.get_current_span().add_event("gen_ai.first_event")
        self._inner.heard(seconds)

    def took_up(self, course: str) -> None:
        """Passed on."""
        self._inner.took_up(course)

    def swept(self) -> None:
        """Passed on."""
        self._inner.swept()

    def erased(self, interactions: int) -> None:
        """Passed on."""
        self._inner.erased(interactions)

    def committed(self, writes: int, seconds: float) -> None:
        """Passed on."""
        self._inner.committed(writes, seconds)

    def _span(self, kind: SpanKind, upstream: str, facts: Facts | None) -> AbstractContextManager[Span]:
        attributes: dict[str, Any] = {"gen_ai.provider.name": "gcp.gemini", "gateway.upstream": upstream}
        name = "forward"
        if facts is not None:
            operation = "invoke_agent" if facts.agent else "chat"
            target = (facts.model or facts.agent or "")[:_CUT]
            name = f"{operation} {target}"
            attributes |= {
                "gen_ai.operation.name": operation,
                "gen_ai.agent.name" if facts.agent else "gen_ai.request.model": target,
                "gen_ai.conversation.id": facts.conversation,
                "gen_ai.response.id": facts.id,
            }
        return self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        )


def _fail(span: Span, kind: str) -> None:
    """What went wrong as a code: messages may quote a request."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
