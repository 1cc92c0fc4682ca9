"""What the gateway tells about its own work, and never about what is said through it.

observer   what there is to tell; this one listens to nothing
metrics    counts, for Prometheus
traces     spans, for OpenTelemetry; only where an endpoint is configured
"""
