#!/bin/sh
# Installs the Debian or Ubuntu packages that are missing; where it is not root it prints the command instead.
# Usage: tools/dev/setup.sh [tests] [check]    (what is wanted beside the programs). Example: tools/dev/setup.sh tests
set -eu

wanted="g++ meson ninja-build pkg-config libyaml-cpp-dev libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev libdnnl-dev libpng-dev"
for part; do
  case $part in
    tests) wanted="$wanted catch2 libboost-context-dev" ;;
    check) wanted="$wanted clang libclang-rt-dev libomp-dev" ;;
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    *) echo "error: tools/dev/setup.sh: unknown part $part, wanted tests or check" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "no Debian packages on this system; the build needs the equivalents of: $wanted" >&2
  exit 0
fi

# A virtual or renamed package (pkg-config, clang-14 for clang) counts when it brings its program.
present() {
  case $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) in *' installed') return 0 ;; esac
  case $1 in
    pkg-config | meson | g++) command -v "$1" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    clang) command -v clang++ >/dev/null || command -v clang++-14 >/dev/null ;;
    libclang-rt-dev) ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1 ;;
    libomp-dev) ls /usr/lib/llvm-*/lib/clang/*/include/omp.h >/dev/null 2>&1 ;;
    *) return 1 ;;
  esac
}

missing=
for package in $wanted; do present "$package" || missing="$missing $package"; done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "error: packages are missing; run: sudo apt-get install -y --no-install-recommends$missing" >&2
  exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
# shellcheck disable=SC2086  # a list of words on purpose
apt-get install -y -qq --no-install-recommends $missing >&2
