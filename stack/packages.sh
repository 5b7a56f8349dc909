#!/bin/sh
# Installs what Debian packages and the tests need and this machine has not: stack/packages.sh STAMP
# Root only; others are told what to install, and the tests say what they skip. No service is started.
set -eu
PACKAGES="prometheus prometheus-alertmanager postgresql pgbouncer chromium chromium-driver"
missing=
for program in prometheus promtool prometheus-alertmanager amtool; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
command -v chromedriver >/dev/null 2>&1 || missing="$missing chromium chromium-driver"
# Debian keeps these off the path
[ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing. As root: apt-get install $PACKAGES" >&2
    exit 0
  fi
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
  fi
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $PACKAGES
fi
touch "$1"
