"""The whole chain on one machine without Docker: application, Prometheus, Alertmanager, notifications."""
