#!/bin/bash
# Registers, shared memory and spills of every CUDA kernel, as ptxas reports them: a Markdown row a kernel and chip.
# Usage: tools/ptxas.sh [--nvcc NVCC] [--arch 80,90] [--jobs N] [--spills] [FILE.cu...]    (default: kernels/cuda/*.cu)
#        tools/ptxas.sh --log FILE    reads the output of a build that was made with -Xptxas -v
#   --spills  only the kernels that spill; exit status 1 when there is one
# A host compiler that nvcc wants goes into NVCC_PREPEND_FLAGS, as in NVCC_PREPEND_FLAGS="-ccbin clang++-14".
# Example: tools/ptxas.sh --arch 80,90 kernels/cuda/layer_norm.cu
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=nvcc archs=75,80,90 jobs=1 log='' spills=0
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' tools/ptxas.sh; exit 0 ;;
    --spills) spills=1; shift; continue ;;
    --nvcc | --arch | --jobs | --log) [ $# -ge 2 ] || { echo "error: $1 wants a value" >&2; exit 2; } ;;
    -*) echo "error: unknown argument $1; tools/ptxas.sh --help" >&2; exit 2 ;;
    *) break ;;
  esac
  case $1 in --nvcc) nvcc=$2 ;; --arch) archs=$2 ;; --jobs) jobs=$2 ;; --log) log=$2 ;; esac
  shift 2
done
files=("$@")
[ $# -gt 0 ] || files=(kernels/cuda/*.cu)

# Only the device half is compiled, so no host compiler's version matters.
compile() {
  command -v "$nvcc" >/dev/null || { echo "error: no $nvcc; --nvcc names one" >&2; exit 1; }
  local arch file outputs
  outputs=$(mktemp -d)
  trap 'rm -rf "$outputs"' RETURN
  # shellcheck disable=SC2016  # for the inner shell
  for arch in ${archs//,/ }; do
    for file in "${files[@]}"; do printf '%s\0%s\0' "$arch" "$file"; done
  done | nvcc=$nvcc outputs=$outputs xargs -0 -n 2 -P "$jobs" bash -c '
    out=$("$nvcc" -std=c++17 --expt-relaxed-constexpr -O3 -I. -Xptxas -v -cubin "-arch=sm_$0" "$1" -o /dev/null 2>&1) ||
      { printf "%s\nerror: %s does not compile for sm_%s\n" "$out" "$1" "$0" >&2; exit 255; }
    printf "%s\n" "$out" >"$outputs/$0-${1//\//-}"'
  cat "$outputs"/*
}

# Kernels are told from others by their name and the element type in it; argument lists are left out.
table() {
  grep -aE 'ptxas info|spill stores' | c++filt | awk -v only="$spills" '
    /Compiling entry function/ {
      name = $0; sub(/.*entry function \x27/, "", name); arch = name
      sub(/\x27 for \x27.*/, "", name); sub(/.*\x27 for \x27/, "", arch); sub(/\x27.*/, "", arch)
      sub(/^void /, "", name); gsub(/selene::(cuda::)?/, "", name); gsub(/\(anonymous namespace\)::/, "", name)
      gsub(/\([a-z_ ]*\)/, "", name); sub(/\(.*/, "", name)
      spill = frame = 0
    }
    /spill stores/ { frame = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ {
      registers = shared = 0
      for (i = 2; i <= NF; ++i) {
        if ($i ~ /^registers/) registers = $(i - 1)
        if ($i ~ /^smem/) shared = $(i - 2)
      }
      ++kernels; if (spill > 0) ++spilling
      if (!only || spill > 0)
        printf "| `%s` | %s | %d | %d | %d | %d |\n", name, arch, registers, shared, frame, spill
    }
    END {
      printf "%d kernels, %d with spills\n", kernels, spilling > "/dev/stderr"
      exit only && spilling > 0
    }' | { printf '| kernel | chip | registers | shared bytes | stack bytes | spilled bytes |\n'
           printf '| --- | --- | ---: | ---: | ---: | ---: |\n'; sort -u; }
}

if [ -n "$log" ]; then table <"$log"; else compile | table; fi
