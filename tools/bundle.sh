#!/bin/bash
# Packs what tools/gpu_check.sh needs into one file that runs on another x86-64 Linux: programs, both modules, the
# libraries they use, golden vectors, recipes, scripts. CUDA's own libraries are the target's.
# Usage: tools/bundle.sh [OUT.tar.gz] [--arch 80,90] [--build DIR]
#   OUT.tar.gz  default: selene-bundle.tar.gz; unpacks into the folder selene/
#   --arch      compute capabilities (default: those that nvcc knows, docs/gpu.md)
#   --build     build folder (default: build-bundle)
# Example: tools/bundle.sh selene.tar.gz --arch 90
# There:   tar xf selene.tar.gz && selene/tools/gpu_check.sh results
set -euo pipefail
cd "$(dirname "$0")/.."
out='' arch=auto build=build-bundle
most_mib=64

fail() { printf 'error: tools/bundle.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '== %s\n' "$*" >&2; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' tools/bundle.sh; exit 0 ;;
    --arch | --build) [ $# -ge 2 ] || { echo "error: $1 wants a value" >&2; exit 2; } ;;
    -*) echo "error: unknown argument $1; tools/bundle.sh --help" >&2; exit 2 ;;
    *) [ -z "$out" ] || { echo "error: more than one output file" >&2; exit 2; }; out=$1; shift; continue ;;
  esac
  case $1 in --arch) arch=$2 ;; --build) build=$2 ;; esac
  shift 2
done
out=$(realpath -m "${out:-selene-bundle.tar.gz}")
for program in nvcc patchelf strip; do
  command -v $program >/dev/null || fail "$program is not on the PATH"
done

programs=(tools/selene-{train,evaluate,prepare,inspect,report,bench,sweep} tests/unit_device tests/golden)
modules=(kernels/cuda/libselene_cuda.so kernels/simt/libselene_simt.so)
say "building in $build"
tools/configure.sh "$build" --buildtype=release -Dtests=true -Dcuda=enabled "-Dgpu_arch=$arch"
ninja -C "$build" "${programs[@]}" "${modules[@]}" >&2

# What every Linux has, and what belongs to the driver or the CUDA toolkit.
elsewhere='^(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s))\.so|^lib(cuda|cublas|cudnn|nccl|nvrtc)'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$work/selene
mkdir -p "$top"/{bin,lib,tests/golden,tools/gpu/peers}

for file in "${programs[@]}"; do cp -L "$build/$file" "$top/bin/"; done
for file in "${modules[@]}"; do cp -L "$build/$file" "$top/lib/"; done
for file in "$top"/bin/* "$top"/lib/*; do ldd "$file"; done | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' |
  sort -u | while read -r name path; do
    if ! [[ $name =~ $elsewhere ]]; then cp -L "$path" "$top/lib/$name"; fi
  done
# The shim reads its own symbols, so only what debuggers want is taken out.
for file in "$top"/bin/* "$top"/lib/*; do
  chmod u+w "$file"
  strip --strip-debug "$file"
done
for file in "$top"/bin/*; do patchelf --set-rpath "\$ORIGIN/../lib" "$file"; done
for file in "$top"/lib/*; do patchelf --set-rpath "\$ORIGIN" "$file"; done
patchelf --set-rpath "\$ORIGIN:/usr/local/cuda/lib64" "$top/lib/libselene_cuda.so"

cp -r recipes LICENSE "$top/"
cp tests/golden/{*.safetensors,manifest.json,README.md} "$top/tests/golden/"
install -m 755 tools/gpu_check.sh "$top/tools/"
install -m 644 tools/gpu/gpu_stages.sh tools/gpu/gpu_check.py "$top/tools/gpu/"
install -m 644 tools/gpu/peers/*.py "$top/tools/gpu/peers/"
git describe --always --dirty >"$top/COMMIT" 2>/dev/null || echo unknown >"$top/COMMIT"

mkdir -p "$(dirname "$out")"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - selene | gzip -9n >"$out"
mib=$((($(stat -c %s "$out") + 1048575) / 1048576))
say "$out: $mib MiB, $(du -sm "$top" | cut -f1) MiB unpacked"
[ $mib -lt $most_mib ] || fail "less than $most_mib MiB wanted: take fewer compute capabilities with --arch"
