#!/bin/bash
# Installs what is missing, builds everything and runs every test. Last line: "N passed, N failed"; exit status 1 on a
# failure. The numbers are test cases, as tools/dev/count_tests.py finds them. --all: the long tests whole,
# not the share of the day (tools/dev/share.sh). Example: tools/test.sh --all
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,4s/^# //p' tools/test.sh; exit 0 ;; esac

# Whatever stops this script before the tests have been counted is a failure of its own.
trap 'status=$?; if [ -z "${counted:-}" ]; then echo "0 passed, 1 failed"; exit $((status ? status : 1)); fi' EXIT

. tools/dev/minutes.sh
. tools/dev/share.sh
tools/dev/setup.sh tests
# Without this ccache compiles anew whatever has a precompiled header.
export CCACHE_SLOPPINESS=pch_defines,time_macros
tools/configure.sh build --buildtype=release -Dtests=true -Dfuzz=false -Dclones=true -Dopenmp=true -Db_sanitize=none
ninja -C build
lap build
# Several programs share the cores: threads that wait must sleep, not spin.
export OMP_WAIT_POLICY=passive
rm -f build/meson-logs/testlog.json
meson test -C build --no-rebuild --print-errorlogs >build/meson-logs/test-output.txt 2>&1 || true
lap tests
counted=yes
show_minutes
python3 tools/dev/count_tests.py build/meson-logs/testlog.json
