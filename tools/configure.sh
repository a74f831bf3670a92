#!/bin/sh
# Configures a build folder of this clone, whatever is left in it from earlier.
# Usage: tools/configure.sh DIR [MESON ARGUMENT...]. Example: tools/configure.sh build -Dtests=false
set -eu
cd "$(dirname "$0")/.."
build=$1
shift
# CUDA code for the GPU of this machine alone; where there is none, one kind shows that it compiles.
case "$*" in
  *gpu_arch=*) ;;
  *)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
    set -- "-Dgpu_arch=${capability:-90}" "$@"
    ;;
esac
# A folder made by another version, for another path or by a stopped set-up is made anew.
if [ -f "$build/build.ninja" ]; then
  meson setup --reconfigure "$@" "$build" . >"$build/configure.log" 2>&1 && exit 0
  echo "$build is of no use any more and is made anew" >&2
fi
rm -rf "$build"
mkdir -p "$build"
meson setup "$@" "$build" . >"$build/configure.log" 2>&1 || {
  cat "$build/configure.log" >&2
  echo "error: $build cannot be configured" >&2
  exit 1
}
