# shellcheck shell=bash
# Sourced: long tests (schedules of the shim, attention's tiles, missing barriers, fuzzers) run a share that goes with the
# date, all of it where the first argument is --all (tests/support/share.h, tools/dev/mutate.py).
if [ "${1:-}" = --all ]; then
  unset SELENE_TEST_DAY
  shift
else
  export SELENE_TEST_DAY=${SELENE_TEST_DAY:-$(($(date +%s) / 86400))}
  echo "long tests: the share of day $SELENE_TEST_DAY, today being $(date -u +%F); --all: everything"
fi
