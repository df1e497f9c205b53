#!/usr/bin/env bash
# Gets the real programs that the stack tests run: an OpenTelemetry Collector, Prometheus 3 with promtool, and Alertmanager
# with amtool.
#
#   bash tests/stack/obtain.sh            makes sure of all five, then prints a line name=path for each
#   bash tests/stack/obtain.sh --where    prints the same lines and builds nothing; name= is one that is absent
#
# A program on PATH is taken when it is good enough: a collector (otelcol-contrib or otelcol) that lists every component
# of builder.yaml, Prometheus and promtool of version 3 or newer, Alertmanager and amtool of version 0.34 or newer. What is
# missing is built from its Go module, once, into
# ${REALTIME_SPEND_STACK:-${XDG_CACHE_HOME:-$HOME/.cache}/realtime-spend/stack}/<hash of the recipe>/bin, Alertmanager into
# a folder with a recipe of its own beside it.
# Exit status: 0 all there (or --where), 1 a build failed, 2 nothing to build with or a wrong argument.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
stack=${REALTIME_SPEND_STACK:-${XDG_CACHE_HOME:-${HOME:?HOME or REALTIME_SPEND_STACK must be set}/.cache}/realtime-spend/stack}

# Under the names of 0.144 and newer, which our configuration uses.
required_components=(
  receivers:otlp
  processors:memory_limiter
  exporters:otlp_http exporters:debug exporters:file
  extensions:health_check extensions:file_storage extensions:bearertokenauth
  providers:env providers:file providers:yaml
)

# The one of compose.yaml.
alertmanager_release=0.34.2

say() { printf '%s\n' "$*" >&2; }

# All run in a temporary folder that holds a copy of the recipe, and leave their programs in bin/. Chained with &&,
# because bash forgets `set -e` inside a function whose status is looked at.
build_collector() {
  local release
  release=$(awk '$1 == "version:" { print $2 }' builder.yaml) &&
    GOBIN=$PWD go install -v "go.opentelemetry.io/collector/cmd/builder@v$release" &&
    ./builder --config=builder.yaml --skip-compilation &&
    go build -C dist -v -buildvcs=false -trimpath -ldflags='-s -w' -o ../bin/otelcol .
}

build_prometheus() {
  # The module of Prometheus 3.14.0 is tagged v0.314.0; a plain `go build` would leave the program without a version.
  local release
  release=$(sed -n 's|.*github.com/prometheus/prometheus v0\.3\([0-9]*\.[0-9]*\).*|3.\1|p' prometheus/go.mod) &&
    go build -C prometheus -v -buildvcs=false -trimpath -tags netgo,remove_all_sd \
      -ldflags="-s -w -X github.com/prometheus/common/version.Version=$release" -o ../bin/ \
      github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool
}

build_alertmanager() {
  # Its module lacks the web pages that the program embeds, and they are made with Node.js: a page that says so is put in
  # their place. Only in a copy, since the folder of modules must not be written to.
  local module="github.com/prometheus/alertmanager@v$alertmanager_release" folder
  folder=$(go mod download -json "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p') &&
    cp -R "$folder" alertmanager &&
    chmod -R u+w alertmanager &&
    mkdir alertmanager/ui/app/dist &&
    echo 'Built without its web pages.' >alertmanager/ui/app/dist/index.html &&
    go build -C alertmanager -v -buildvcs=false -trimpath -tags netgo \
      -ldflags="-s -w -X github.com/prometheus/common/version.Version=$alertmanager_release" -o ../bin/ \
      ./cmd/alertmanager ./cmd/amtool
}

digest() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16; }

recipe_hash() {
  {
    cat "$here/builder.yaml" "$here/prometheus/go.mod" "$here/prometheus/go.sum"
    declare -f build_collector build_prometheus
    uname -sm
  } | digest
}

# Apart from the above: who has built those need not build them again for this.
alertmanager_recipe_hash() {
  {
    printf '%s\n' "$alertmanager_release"
    declare -f build_alertmanager
    uname -sm
  } | digest
}

suits_as_collector() {
  local listed component
  listed=$("$1" components 2>/dev/null | awk '/^[a-z]+:/ { section = $1 } $1 == "-" { print section $3 }') || return 1
  for component in "${required_components[@]}"; do
    grep -qxF -- "$component" <<<"$listed" || return 1
  done
}

suits_as_prometheus() {
  local major
  major=$("$1" --version 2>&1 | sed -n 's/^prom[a-z]*, version \([0-9]*\)\..*/\1/p') || return 1
  [[ -n $major && $major -ge 3 ]]
}

suits_as_alertmanager() {
  local release
  release=$("$1" --version 2>&1 | sed -n 's/^a[a-z]*, version \([0-9]*\.[0-9]*\)\..*/\1/p') || return 1
  [[ -n $release && (${release%.*} -ge 1 || ${release#*.} -ge 34) ]]
}

# find NAME CACHE: prints the path of the program that serves as NAME, or nothing.
find_program() {
  local candidate test=suits_as_prometheus
  local -a candidates=("$1")
  case $1 in
    otelcol)
      candidates=(otelcol-contrib otelcol)
      test=suits_as_collector
      ;;
    alertmanager | amtool) test=suits_as_alertmanager ;;
  esac
  for candidate in "${candidates[@]}"; do
    candidate=$(type -P "$candidate") || continue
    if "$test" "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  if [[ -x $2/bin/$1 ]]; then printf '%s\n' "$2/bin/$1"; fi
}

locate() {
  otelcol=$(find_program otelcol "$cache")
  prometheus=$(find_program prometheus "$cache")
  promtool=$(find_program promtool "$cache")
  alertmanager=$(find_program alertmanager "$alertmanager_cache")
  amtool=$(find_program amtool "$alertmanager_cache")
}

lacks_stack() { [[ -z $otelcol || -z $prometheus || -z $promtool ]]; }

lacks_alertmanager() { [[ -z $alertmanager || -z $amtool ]]; }

# Modules are kept read-only, and so is a copy of one until it was made writable.
remove() {
  chmod -R u+w "$@" 2>/dev/null || true
  rm -rf "$@"
}

# alone_in CACHE: waits until nobody else builds there, then looks again at what there is.
alone_in() {
  mkdir -p "$1"
  if command -v flock >/dev/null; then
    # Two runs at once are safe without it (own folders, atomic moves): it saves the second run the same work.
    exec 9>"$1/lock"
    flock -n 9 || { say "waiting for another run that builds into $1" && flock 9; }
    # Nobody else builds now, so these are what a killed run left.
    remove "$1"/building.*
    locate
  fi
}

# The compiler names a package a line: every hundredth is enough to see that it lives.
report_progress() { awk -v what="$1" 'NR % 100 == 0 { print "  " what ": " NR " steps"; fflush() }' >&2; }

# obtain CACHE FUNCTION WHAT: builds in a temporary folder, then moves each program in place under its final name.
obtain() {
  local into=$1 build=$2 what=$3 log=$1/$2.log started=$SECONDS work program
  work=$(mktemp -d "$into/building.XXXXXX")
  cp -R "$here/builder.yaml" "$here/prometheus" "$work"
  mkdir "$work/bin"
  say "building $what from its Go modules (one to five minutes on two cores when nothing is cached)"
  if ! (cd "$work" && CGO_ENABLED=0 GOWORK=off "$build") 2>&1 | tee "$log" | report_progress "$what"; then
    tail -n 30 "$log" >&2
    say "$what could not be built; the lines above are the end of $log"
    remove "$work"
    exit 1
  fi
  mkdir -p "$into/bin"
  # Same file system, so each move is one rename: a reader sees the whole program or none.
  for program in "$work"/bin/*; do mv -f "$program" "$into/bin/"; done
  remove "$work"
  say "built $what in $((SECONDS - started)) s"
}

case "$#:${1-}" in
  0:) where_only=no ;;
  1:--where) where_only=yes ;;
  *)
    say "usage: obtain.sh [--where]"
    exit 2
    ;;
esac

cache=$stack/$(recipe_hash)
alertmanager_cache=$stack/alertmanager-$(alertmanager_recipe_hash)
locate

if [[ $where_only == no ]] && { lacks_stack || lacks_alertmanager; }; then
  if ! command -v go >/dev/null; then
    say "Install Go 1.26 or newer to build the collector, Prometheus and Alertmanager with their tools, or put" \
      "otelcol-contrib 0.144 or newer, prometheus 3, promtool 3, alertmanager 0.34 and amtool 0.34 on PATH, then run this again."
    exit 2
  fi
  if lacks_stack; then
    alone_in "$cache"
    [[ -n $otelcol ]] || obtain "$cache" build_collector "the collector"
    [[ -n $prometheus && -n $promtool ]] || obtain "$cache" build_prometheus "Prometheus and promtool"
  fi
  if lacks_alertmanager; then
    alone_in "$alertmanager_cache"
    ! lacks_alertmanager || obtain "$alertmanager_cache" build_alertmanager "Alertmanager and amtool"
  fi
  locate
fi

printf '%s\n' "otelcol=$otelcol" "prometheus=$prometheus" "promtool=$promtool" "alertmanager=$alertmanager" "amtool=$amtool"
