# The command `otel-llm-usage` with the three SDKs. Made for docker-compose.yml; runs as nobody special.
ARG PYTHON_VERSION=3.11-slim-bookworm
FROM python:${PYTHON_VERSION}
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY otel_llm_usage ./otel_llm_usage
RUN pip install --no-cache-dir -c constraints.txt '.[gemini,openai,anthropic]' \
 && useradd --system --uid 10001 --no-create-home llm-usage
USER 10001
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["otel-llm-usage"]
CMD ["demo", "--plain"]
