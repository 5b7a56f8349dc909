"""`python -m otel_llm_usage` is the command `otel-llm-usage`."""

from .cli import main

if __name__ == "__main__":
    main()
