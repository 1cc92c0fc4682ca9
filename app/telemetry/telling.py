"""What the settings say is told, and to whom, put together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fastapi.telemetry import TelemetryConfig

from app.settings import SettingsError
from app.settings import Telemetry as TelemetrySettings
from app.telemetry.metrics import Metrics
from app.telemetry.observer import Observer

if TYPE_CHECKING:
    from app.telemetry.traces import Traces


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The observer that everything is told to, and those behind it; `traces` only where they are sent."""

    observer: Observer
    metrics: Metrics
    traces: "Traces | None"

    @classmethod
    def of(cls, settings: TelemetrySettings, models: Iterable[str]) -> Self:
        """By the settings; `models` are globs of those that metrics tell apart. Raises SettingsError."""
        metrics = Metrics(models)
        if settings.otlp_endpoint is None:
            return cls(metrics, metrics, None)
        # Only here: without an endpoint the libraries need not even be installed.
        try:
            from app.telemetry import traces  # noqa: PLC0415
        except ImportError:
            text = "telemetry.otlp_endpoint: needs the extra 'otel': pip install 'interactions-gateway[otel]'"
            raise SettingsError([text]) from None
        made = traces.Traces(metrics, traces.exporter(settings), settings.service_name)
        return cls(made, metrics, made)

    async def close(self) -> None:
        """Send what has not been sent."""
        if self.traces is not None:
            await self.traces.close()


def framework() -> TelemetryConfig:
    """What FastAPI is told: nothing by itself. Its spans would have URLs in them, and the keys in those."""
    return {
        "tracing": False,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
    }
