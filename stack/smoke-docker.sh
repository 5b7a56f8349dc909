#!/bin/sh
# What only a machine with Docker can show: the images exist, everything starts, and the parts find
# each other. Run as `make smoke-docker`; leaves nothing running.
set -eu
cd "$(dirname "$0")/.."
GRAFANA_ADMIN_PASSWORD=${GRAFANA_ADMIN_PASSWORD:-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')}
export GRAFANA_ADMIN_PASSWORD
compose() { docker compose -p llm-usage-smoke "$@"; }
trap 'compose logs --tail=40; compose down -v' EXIT
compose up -d --build --wait --wait-timeout 300
answers() { # NAME URL WORD: the URL says the word within a minute
  for _ in $(seq 60); do
    if curl -fsS "$2" 2>/dev/null | grep -q "$3"; then echo "ok: $1"; return; fi
    sleep 1
  done
  echo "FAILED: $1 ($2 never said $3)" >&2
  exit 1
}
grafana="http://admin:$GRAFANA_ADMIN_PASSWORD@127.0.0.1:3000"
answers "the application serves metrics" http://127.0.0.1:9464/metrics llm_tokens_total
answers "Prometheus scrapes it" "http://127.0.0.1:9090/api/v1/query?query=llm_build_info" '"version"'
answers "Prometheus has the rules" http://127.0.0.1:9090/api/v1/rules LLMBudgetExceeded
answers "Prometheus knows Alertmanager" http://127.0.0.1:9090/api/v1/alertmanagers alertmanager:9093
answers "Alertmanager has its receivers" http://127.0.0.1:9093/api/v2/receivers webhook
answers "Grafana has the data source" "$grafana/api/datasources" prometheus
answers "Grafana has the board of the spend" "$grafana/api/dashboards/uid/llm-spend" llm_cost
answers "Grafana has the board of the measurement" "$grafana/api/dashboards/uid/llm-measurement" llm_
answers "the collector gets OTLP" "http://127.0.0.1:9090/api/v1/query?query=otelcol_receiver_accepted_metric_points" '"value"'
trap 'compose down -v' EXIT
echo "everything starts and answers"
