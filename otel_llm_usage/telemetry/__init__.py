"""What others see: metrics for Prometheus and OTLP, and spans."""
