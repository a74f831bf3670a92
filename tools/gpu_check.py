#!/usr/bin/env python3
# What tools/gpu_check.sh found, as one JSON file and one readable table; and the small comparisons that its stages need.
"""gpu_check.py OUT: reads OUT/raw, writes OUT/result.json and OUT/result.md; exit status 1 when a stage failed.
gpu_check.py --same A B: whether two checkpoints hold the same bits.
gpu_check.py --slowest CSV, --counters CSV: of ncu's raw page, the five slowest kernels; one kernel's counters."""
import argparse
import csv
import json
import os
import re
import sys

SKIPPED, TIMES_UP = 77, (124, 137)
WHAT = {'machine': 'Machine', 'parity': 'Every operation against the CPU', 'golden': 'Golden cases, fp32, TF32 off',
        'graphs': 'Same bits: two runs, graphs and eager, killed and resumed', 'ceilings': 'Measured ceilings',
        'steps': 'Training steps', 'kernels': 'Operations of a step', 'attention': 'Attention alone',
        'peers': 'The same steps in PyTorch', 'sanitizer': 'compute-sanitizer on a small step',
        'counters': 'Hardware counters of the slowest kernels', 'training': 'ListOps training'}
FILES = {'graphs': ['graphs'], 'ceilings': ['ceilings'], 'steps': ['steps'], 'kernels': ['kernels'],
         'attention': ['attention', 'torch_attention'], 'peers': ['peers'], 'sanitizer': ['sanitizer'],
         'counters': ['counters'], 'training': ['training']}
SETTING = ('model', 'length', 'batch', 'layers', 'dim', 'ffn', 'heads', 'precision')


def read_text(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except FileNotFoundError:
        return ''


def json_lines(path):
    """The JSON objects of a file; what a killed program left half written does not count."""
    found = []
    for line in read_text(path).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        found += value if isinstance(value, list) else [value]
    return [v for v in found if isinstance(v, dict)]


def status_name(status):
    if status == 0:
        return 'ok'
    if status == SKIPPED:
        return 'skipped'
    return 'time limit' if status in TIMES_UP else 'failed'


def remark(name, status, last, log):
    """What stands beside a stage: the reason, or the line that counts its tests."""
    if status == SKIPPED:
        return last.replace('skip: ', '', 1)
    counts = re.findall(r'^(?:All tests passed.*|test cases:.*|all +\d+ passed.*)$', log, re.M)
    if counts:
        return re.sub(' +', ' ', counts[-1])
    return '' if status == 0 else last[:160]


def stages_of(raw):
    stages = []
    for line in read_text(os.path.join(raw, 'stages.tsv')).splitlines():
        name, status, seconds, last = (line.split('\t', 3) + ['', '', ''])[:4]
        log = read_text(os.path.join(raw, name + '.log'))
        stage = {'name': name, 'status': status_name(int(status)), 'exit_status': int(status),
                 'seconds': float(seconds), 'remark': remark(name, int(status), last, log)}
        for file in FILES.get(name, []):
            stage[file] = json_lines(os.path.join(raw, file + '.jsonl'))
        if name == 'machine':
            stage['machine'] = dict(re.findall(r'^([a-z ]+): *(.*)$', log, re.M))
        stages.append(stage)
    return stages


def cell(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return json.dumps(value) if isinstance(value, (dict, list)) else str(value).replace('|', '/')
    if isinstance(value, int):
        return str(value)
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return '%.3g' % value
    return '%.4g' % value if abs(value) < 100 else '%.1f' % value


def table(rows, columns=None):
    """Markdown; the columns are those of the rows in order of appearance, unless they are named."""
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    columns = [c for c in columns if any(c in row for row in rows)]
    lines = ['| ' + ' | '.join(columns) + ' |', '| ' + ' | '.join('---' for _ in columns) + ' |']
    lines += ['| ' + ' | '.join(cell(row.get(c, '')) for c in columns) + ' |' for row in rows]
    return lines


def setting(row):
    """The sizes of a step; our lines call the precision dtype."""
    named = dict(row, precision=row.get('precision', row.get('dtype')))
    return {k: named[k] for k in SETTING if named.get(k) is not None}


def comparable(own, peer):
    """Whether the two agree in every size that both name."""
    a, b = setting(own), setting(peer)
    return all(str(a[k]) == str(b[k]) for k in a if k in b)


def beside_peers(steps, peers):
    """Every step of ours with graphs, with PyTorch's times and memory for the same sizes and how many times ours."""
    rows = []
    for own in steps:
        if not own.get('graph', True) or 'step_ms' not in own:
            continue
        row = dict(setting(own), own_ms=own['step_ms'])
        if 'floor_ms' in own:
            row.update(floor_ms=own['floor_ms'], times_floor=own['step_ms'] / own['floor_ms'])
        peak = own.get('peak_mib', own.get('slab_mib'))
        if peak is not None:
            row['own_mib'] = peak
        for peer in peers:
            if comparable(own, peer) and 'step_ms' in peer:
                mode = peer['mode']
                row[mode + '_ms'], row[mode + '_mib'] = peer['step_ms'], peer['peak_mib']
                row[mode + '_times'] = peer['step_ms'] / own['step_ms']
                if peak:
                    row[mode + '_memory_times'] = peer['peak_mib'] / peak
        rows.append(row)
    return rows


def found_in(stages, name):
    return [row for stage in stages for row in stage.get(name, [])]


def report(result):
    machine = next((s['machine'] for s in result['stages'] if 'machine' in s), {})
    lines = ['# GPU check', '']
    lines += ['* %s: %s' % (key, value) for key, value in machine.items()]
    lines += ['* device: ' + result['device'], '* budget: %d s, used %d s' % (result['budget_s'], result['took_s']), '']
    lines += table([{'stage': s['name'], 'what': WHAT.get(s['name'], ''), 'result': s['status'],
                     'seconds': s['seconds'], 'remark': s['remark']} for s in result['stages']])
    compared = beside_peers(found_in(result['stages'], 'steps'), found_in(result['stages'], 'peers'))
    if compared:
        lines += ['', '## Steps beside PyTorch', '',
                  'Least times. own_mib is the whole slab; *_mib is what PyTorch counts as allocated at its peak. '
                  'times_floor: own time over its floor; *_times: how many times ours.', '']
        lines += table(compared)
    for stage in result['stages']:
        for name in FILES.get(stage['name'], []):
            if stage.get(name):
                lines += ['', '## ' + WHAT[stage['name']] + ' (%s)' % name, ''] + table(stage[name])
    return '\n'.join(lines) + '\n'


def tensors(path):
    """Header without metadata, and all tensor bytes, of a safetensors file."""
    with open(path, 'rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        header.pop('__metadata__', None)
        return header, file.read()


def same(first, second):
    a, b = tensors(first), tensors(second)
    if a == b:
        print('%d tensors, %d bytes: equal' % (len(a[0]), len(a[1])))
        return 0
    if a[0] != b[0]:
        print('other tensors, shapes or types')
        return 1
    begins = {name: entry['data_offsets'] for name, entry in a[0].items()}
    different = [name for name, (begin, end) in begins.items() if a[1][begin:end] != b[1][begin:end]]
    print('%d of %d tensors differ: %s' % (len(different), len(begins), ' '.join(different[:5])))
    return 1


def ncu_rows(path):
    """The kernels of ncu's CSV as dictionaries; the line of units is dropped, the program's own output too."""
    lines = [line for line in read_text(path).splitlines() if line.startswith('"')]
    return [row for row in csv.DictReader(lines) if row.get('ID', '').strip().isdigit()]


def number(text):
    try:
        return float(text.replace(',', ''))
    except ValueError:
        return None


def base_name(kernel):
    """`void selene::cuda::fwd_rows<float, 128>(...)` -> fwd_rows"""
    return re.sub(r'[<(].*', '', kernel.replace('(anonymous namespace)', '')).split('::')[-1].split(' ')[-1]


def slowest(path, count=5):
    sums = {}
    for row in ncu_rows(path):
        name = base_name(row['Kernel Name'])
        sums[name] = sums.get(name, 0) + (number(row.get('gpu__time_duration.sum', '')) or 0)
    print('\n'.join(sorted(sums, key=sums.get, reverse=True)[:count]))
    return 0


def counters(path):
    for row in ncu_rows(path):
        kept = {key: number(value) for key, value in row.items()
                if ('__' in key and number(value) is not None)}
        print(json.dumps(dict({'kernel': row['Kernel Name'][:100]}, **kept)))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', nargs='?', help='results folder of tools/gpu_check.sh')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--budget', type=int, default=0)
    parser.add_argument('--took', type=int, default=0)
    parser.add_argument('--same', nargs=2, metavar='CHECKPOINT')
    parser.add_argument('--slowest', metavar='CSV')
    parser.add_argument('--counters', metavar='CSV')
    a = parser.parse_args()
    if a.same:
        return same(*a.same)
    if a.slowest or a.counters:
        return slowest(a.slowest) if a.slowest else counters(a.counters)
    if not a.out:
        parser.error('no results folder given')
    result = {'schema': 1, 'device': a.device, 'budget_s': a.budget, 'took_s': a.took,
              'stages': stages_of(os.path.join(a.out, 'raw'))}
    with open(os.path.join(a.out, 'result.json'), 'w', encoding='utf-8') as file:
        json.dump(result, file, indent=1)
        file.write('\n')
    with open(os.path.join(a.out, 'result.md'), 'w', encoding='utf-8') as file:
        file.write(report(result))
    failed = [s['name'] for s in result['stages'] if s['status'] not in ('ok', 'skipped')]
    print(os.path.join(a.out, 'result.md') + ': ' + ('failed: ' + ' '.join(failed) if failed else 'no stage failed'))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
