#!/bin/bash
# Builds the CUDA module for V100 (sm_70), which CUDA 13 no longer compiles for; says what ptxas made of each kernel.
# Usage: tools/gpu/build_sm70.sh [--prefix DIR | --cuda DIR] [--build DIR] [--toolkit-only]
#   --prefix DIR    where CUDA 11.8 is unpacked, 1.2 GB to fetch (default: $XDG_CACHE_HOME/selene/cuda-11.8)
#   --cuda DIR      a CUDA 11.8 or 12.x that is there already: nothing is fetched
#   --build DIR     build folder (default: build-sm70)
#   --toolkit-only  stop when nvcc is ready; its path is the last line
# CUDA 11.8 comes from the non-free part of Debian 12's archive, from the mirror that this system's apt uses, through an
# apt configuration of its own. Nothing is installed. Example: tools/gpu/build_sm70.sh --prefix /opt/cuda-11.8
set -euo pipefail
cd "$(dirname "$0")/../.."
prefix=${XDG_CACHE_HOME:-$HOME/.cache}/selene/cuda-11.8
build=build-sm70 cuda='' toolkit_only=''
packages=(nvidia-cuda-toolkit nvidia-cuda-dev libcudart11.0 libcublas11 libcublaslt11 libcub-dev libthrust-dev
  libcu++-dev)

fail() { printf 'error: tools/gpu/build_sm70.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '== %s\n' "$*" >&2; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' tools/gpu/build_sm70.sh; exit 0 ;;
    --toolkit-only) toolkit_only=yes; shift; continue ;;
    --prefix | --cuda | --build) [ $# -ge 2 ] || { echo "error: $1 wants a folder" >&2; exit 2; } ;;
    *) echo "error: unknown argument $1; tools/gpu/build_sm70.sh --help" >&2; exit 2 ;;
  esac
  case $1 in
    --prefix) prefix=$(realpath -m "$2") ;;
    --cuda) cuda=$(realpath -m "$2") ;;
    --build) build=$2 ;;
  esac
  shift 2
done

# apt_configuration DIR: an apt that knows Debian 12 with non-free, keeps its lists in DIR and the system's as they are.
apt_configuration() {
  local site keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  # shellcheck disable=SC2016  # apt's own placeholders
  site=$(apt-get indextargets --format '$(CODENAME) $(SITE)' 2>/dev/null | sed -n 's/^bookworm //p' | head -n 1)
  [ -n "$site" ] || fail "apt here has no Debian 12 (bookworm) archive, or 'apt-get update' was never run;" \
    "with a toolkit of your own: --cuda DIR"
  [ -f "$keyring" ] || fail "$keyring is missing (package debian-archive-keyring)"
  mkdir -p "$1/lists/partial" "$1/archives/partial"
  printf 'Types: deb\nURIs: %s\nSuites: bookworm\nComponents: main non-free\nSigned-By: %s\n' "$site" "$keyring" \
    >"$1/non-free.sources"
  cat >"$1/apt.conf" <<END
Dir::Etc::sourcelist "$1/non-free.sources";
Dir::Etc::sourceparts "-";
Dir::State::lists "$1/lists";
Dir::Cache "$1";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
}

fetch() {
  mkdir -p "$prefix/apt/debs"
  apt_configuration "$prefix/apt"
  say "package lists"
  APT_CONFIG=$prefix/apt/apt.conf apt-get -qq update >&2
  say "packages: ${packages[*]} (1.1 GB)"
  (cd "$prefix/apt/debs" && APT_CONFIG=$prefix/apt/apt.conf apt-get -qq download "${packages[@]}" >&2)
}

# Debian spreads the toolkit over /usr; this puts it in the layout of NVIDIA's own, which nvcc and Meson expect.
unpack() {
  local deb root=$prefix/root
  say "unpacking into $prefix"
  rm -rf "${root:?}" "${prefix:?}/bin"
  mkdir -p "$root" "$prefix/bin" "$prefix/nvvm"
  for deb in "$prefix"/apt/debs/*.deb; do dpkg -x "$deb" "$root"; done
  # Static libraries of 2 GB that nothing here links.
  find "$root/usr/lib" -name '*_static*.a' ! -name 'libcudart_static.a' -delete
  cp -a "$root"/usr/lib/nvidia-cuda-toolkit/bin/{nvcc,cicc,crt} "$prefix/bin/"
  for deb in ptxas fatbinary cudafe++ nvlink bin2c cuobjdump nvdisasm nvprune; do
    [ ! -e "$root/usr/bin/$deb" ] || cp -a "$root/usr/bin/$deb" "$prefix/bin/"
  done
  ln -sfn ../root/usr/lib/nvidia-cuda-toolkit/libdevice "$prefix/nvvm/libdevice"
  ln -sfn root/usr/include "$prefix/include"
  ln -sfn root/usr/lib/x86_64-linux-gnu "$prefix/lib64"
  cat >"$prefix/bin/nvcc.profile" <<'END'
TOP                = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH              += $(_HERE_):
INCLUDES          += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES         =+ $(_SPACE_) "-L$(TOP)/lib64"
END
  "$prefix/bin/nvcc" --version | grep -q 'release 11.8' || fail "$prefix/bin/nvcc does not run"
  rm -rf "$prefix/apt"
  touch "$prefix/complete"
}

# host_compiler MAJOR: what this toolkit accepts. CUDA 11.8 refuses g++ 12 and newer.
host_compiler() {
  local candidate
  if [ "$1" -ge 12 ]; then command -v g++; return; fi
  for candidate in g++-11 clang++-14 g++-10; do command -v "$candidate" && return; done
  fail "CUDA 11.8 needs g++-11, g++-10 or clang++-14 beside the compiler of this system"
}

if [ -z "$cuda" ]; then
  [ -f "$prefix/complete" ] || { fetch; unpack; }
  cuda=$prefix
fi
[ -x "$cuda/bin/nvcc" ] || fail "no nvcc in $cuda/bin"
release=$("$cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
"$cuda/bin/nvcc" --list-gpu-arch | grep -qx compute_70 || fail "CUDA $release in $cuda does not compile for sm_70"
compiler=$(host_compiler "${release%%.*}")
say "CUDA $release in $cuda, host compiler $compiler"
if [ -n "$toolkit_only" ]; then echo "$cuda/bin/nvcc"; exit 0; fi

mkdir -p "$build"
printf "[binaries]\ncuda = '%s'\n" "$cuda/bin/nvcc" >"$build.ini"
trap 'rm -f "$build.ini"' EXIT
log=$build.log
say "building kernels/cuda/libselene_cuda.so in $build"
# An option cannot follow a compiler that has changed, so the folder is always made anew.
rm -rf "$build"
# The tests' programs are those of the ordinary build: only the module differs.
tools/configure.sh "$build" --native-file "$PWD/$build.ini" --buildtype=release -Dtests=false -Dcuda=enabled \
  -Dgpu_arch=70 "-Dcuda-root=$cuda" -Dcuda_ccbindir="$compiler" -Dcuda_args=-Xptxas=-v -Dnccl=disabled -Dcudnn=disabled
ninja -C "$build" kernels/cuda/libselene_cuda.so >"$log" 2>&1 ||
  { tail -n 60 "$log" >&2; fail "the build failed; $log"; }
mv "$log" "$build/ptxas.log"
tools/gpu/ptxas.sh --log "$build/ptxas.log"
ls -l "$build/kernels/cuda/libselene_cuda.so"
