#!/usr/bin/env bash
# Makes sure of the programs that tests take from Debian: Chromium, which opens the HTML page, and VictoriaMetrics.
#
#   bash tests/packages.sh            installs what is not on PATH, then prints a line name=path for each
#   bash tests/packages.sh --where    prints the same lines and installs nothing; name= is one that is absent
#
# Exit status: 0 all there (or --where), 1 an installation failed, 2 nothing to install with or a wrong argument.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

# The names that distributions and vendors give the same program; the first one found is taken.
locate() {
  local candidate
  chromium='' victoria_metrics=''
  for candidate in chromium chromium-browser google-chrome google-chrome-stable; do
    if [[ -z $chromium ]]; then chromium=$(type -P "$candidate" || true); fi
  done
  for candidate in victoria-metrics victoria-metrics-prod; do
    if [[ -z $victoria_metrics ]]; then victoria_metrics=$(type -P "$candidate" || true); fi
  done
}

install() {
  local -a as_root=()
  if [[ $EUID -ne 0 ]]; then as_root=(sudo --non-interactive); fi
  if ! type -P apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
    say "Put $* on PATH (Debian has them as packages of these names), then run this again."
    exit 2
  fi
  say "installing $* from Debian"
  "${as_root[@]}" apt-get update -qq >&2 || say "the list of packages could not be renewed; the one at hand is used"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >&2 || exit 1
}

case "$#:${1-}" in
  0:) where_only=no ;;
  1:--where) where_only=yes ;;
  *)
    say "usage: packages.sh [--where]"
    exit 2
    ;;
esac

locate
if [[ $where_only == no ]]; then
  absent=()
  [[ -n $chromium ]] || absent+=(chromium)
  [[ -n $victoria_metrics ]] || absent+=(victoria-metrics)
  if ((${#absent[@]})); then
    install "${absent[@]}"
    locate
  fi
fi

printf '%s\n' "chromium=$chromium" "victoria_metrics=$victoria_metrics"
