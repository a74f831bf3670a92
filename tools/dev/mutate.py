#!/usr/bin/env python3
"""Takes each barrier out of the kernels, one at a time, and demands that ThreadSanitizer notices.

Usage: tools/dev/mutate.py BUILD [FILE...]   Example: tools/dev/mutate.py build-tsan kernels/cuda/rows/layer_norm.cu
BUILD is a folder built with b_sanitize=thread that has tests/unit_device and libselene_simt.so; without FILE all
files of kernels/cuda are taken. In the copies, BUILD/mutants, every __syncthreads() and __syncwarp() asks whether it
is the missing one: one module serves all. Where SELENE_TEST_DAY is set (tools/dev/share.sh), every second one of them is
taken out; which ones goes with the day. Last line: "N caught, M survived"; exit status 1 for a survivor.
"""
import concurrent.futures
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = 'races: every operation and a training step'
KERNELS = 'kernels/cuda'
# Which sections of that test run the kernels of a file; the first that matches.
SECTIONS = [
    ('attention/tiles', ['attention f32', 'attention on sm_70']),
    ('attention/', ['attention f16', 'attention f32', 'attention on sm_70']),
    ('matmul/', ['linear f32']),
    ('reduce', ['layer_norm f32', 'cross_entropy f32']),
    ('rows/column_sum', ['linear f32']),
    ('rows/copy', ['transpose f32']),
    ('rows/cross_entropy', ['cross_entropy f32']),
    ('rows/embedding', ['embedding f32']),
    ('rows/layer_norm', ['layer_norm f32']),
    ('rows/optimizer', ['training step fp32']),
    ('rows/rows', ['pixel_embedding f32', 'training step fp32']),
]
BARRIER = re.compile(r'__sync(?:threads|warp)\([^()]*\);')
LIMIT = 300  # seconds of one run


class Mutation:
    def __init__(self, path, line, text):
        self.path, self.line, self.text = path, line, text
        self.name = f'{path}:{line} {text}'
        self.sections = next((s for start, s in SECTIONS if path.startswith(f'{KERNELS}/{start}')), [])


def copy_with_switches(paths, folder):
    """Writes the copies; the mutations, whose number is what the switch is asked for."""
    mutations = []
    for path in paths:
        lines = (ROOT / path).read_text(encoding='utf-8').splitlines(keepends=True)
        for at, line in enumerate(lines):
            def switch(found, at=at):
                mutations.append(Mutation(path, at + 1, found[0]))
                return f'(barrier_stands({len(mutations) - 1}) ? {found[0][:-1]} : void());'
            code, slashes, comment = line.partition('//')
            lines[at] = BARRIER.sub(switch, code) + slashes + comment
        lines[0] = 'extern "C" bool barrier_stands(int); ' + lines[0]  # the numbers of lines stay
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(''.join(lines), encoding='utf-8')
    (folder / 'switch.cpp').write_text(
        '#include <stdlib.h>\n'
        'extern "C" bool barrier_stands(int number) {\n'
        '  static const int gone = atoi(getenv("SELENE_MUTATION"));\n'
        '  return number != gone;\n'
        '}\n', encoding='utf-8')
    return mutations


def compile_copies(build, folder, workers):
    """Compiles every kernel file with the copies first in the include path: object of the build -> of the copy."""
    commands, objects = [], {}
    for entry in json.loads((build / 'compile_commands.json').read_text(encoding='utf-8')):
        if not re.fullmatch(r'kernels/simt/\w+\.cpp', entry['file']) or 'selene_simt.so.p' not in entry['output']:
            continue
        words = shlex.split(entry['command'])
        drop = {i + d for i, w in enumerate(words) if w in ('-MQ', '-MF') for d in (0, 1)}
        words = [w for i, w in enumerate(words) if i not in drop and w != '-MD']
        made = str(folder / Path(entry['output']).name)
        words[words.index('-o') + 1] = made
        words.insert(next(i for i, w in enumerate(words) if w.startswith('-I')), f'-I{folder}')
        commands.append(words)
        objects[entry['output']] = made
    commands.append(['c++', '-O1', '-fPIC', '-c', str(folder / 'switch.cpp'), '-o', str(folder / 'switch.o')])
    # ccache does not see that a copy now stands before the header it knows.
    env = dict(os.environ, CCACHE_DISABLE='1')
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda words: subprocess.run(words, cwd=build, check=True, env=env), commands))
    return objects


def link_module(build, folder, objects):
    listed = subprocess.run(['ninja', '-t', 'commands', 'kernels/simt/libselene_simt.so'], cwd=build, check=True,
                            capture_output=True, text=True).stdout
    words = [objects.get(w, w) for w in shlex.split(listed.splitlines()[-1])]
    words[words.index('-o') + 1] = str(folder / 'libselene_simt.so')
    subprocess.run(words + [str(folder / 'switch.o')], cwd=build, check=True)


def run(build, folder, number, section):
    """(exit status, output) of one section without the barrier; with all where number is -1."""
    env = dict(os.environ, SELENE_DEVICE_MODULE=str(folder / 'libselene_simt.so'), SELENE_MUTATION=str(number),
               TSAN_OPTIONS='halt_on_error=1:exitcode=66')
    words = [str(build / 'tests/unit_device'), TEST, '-c', section]
    fixed = ['setarch', platform.machine(), '-R']  # addresses, as in tools/check.sh
    if subprocess.run(fixed + ['true'], capture_output=True, check=False).returncode == 0:
        words = fixed + words
    try:
        done = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                              check=False, text=True, errors='replace')
    except subprocess.TimeoutExpired:
        return 0, f'longer than {LIMIT} s'
    return done.returncode, done.stdout


def judge(build, folder, number, mutation):
    """One line: what noticed that the barrier is missing, or that nothing did."""
    began, last = time.time(), 'no section in tools/dev/mutate.py runs it'
    for section in mutation.sections:
        status, last = run(build, folder, number, section)
        if status == 66 and 'ThreadSanitizer: data race' in last:
            return True, f'{mutation.name} caught in "{section}", {time.time() - began:.0f} s'
        if status != 0:
            break
    return False, f'{mutation.name} SURVIVED\n{last[-2000:]}'


def main(arguments):
    build = Path(arguments[0]).resolve()
    paths = arguments[1:] or sorted(str(p.relative_to(ROOT)) for p in (ROOT / KERNELS).rglob('*.cu*'))
    folder = build / 'mutants'
    shutil.rmtree(folder, ignore_errors=True)
    workers = os.cpu_count() or 1
    began = time.time()
    mutations = copy_with_switches(paths, folder)
    link_module(build, folder, compile_copies(build, folder, workers))
    status, output = run(build, folder, -1, 'cross_entropy f32')
    if status != 0 or 'No tests ran' in output:
        print(f'with all barriers the copies fail:\n{output[-4000:]}\n0 caught, {len(mutations)} survived')
        return 1
    day = os.environ.get('SELENE_TEST_DAY')
    todays = [(n, m) for n, m in enumerate(mutations) if day is None or (n + int(day)) % 2 == 0]
    print(f'{len(todays)} of {len(mutations)} barriers, built in {time.time() - began:.0f} s', flush=True)
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for good, line in pool.map(lambda m: judge(build, folder, *m), todays):
            caught += good
            print(line, flush=True)
    print(f'{time.time() - began:.0f} s\n{caught} caught, {len(todays) - caught} survived')
    return 0 if caught == len(todays) else 1


if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    sys.exit(main(sys.argv[1:]))
