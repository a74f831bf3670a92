#!/usr/bin/env python3
# What tools/gpu_check.sh found, as one JSON file and one readable page; and what its stages want compared.
"""gpu_check.py OUT --raw DIR: OUT/result.json and OUT/result.md; exit status 1 when a stage failed.
gpu_check.py OUT --add RESULT.json...: the stages of several results as one; the first that has a stage counts.
gpu_check.py --same A B: whether two checkpoints hold the same bits.
gpu_check.py --slowest CSV, --counters CSV: of ncu's raw page, the five slowest kernels; one kernel's counters."""
import argparse
import csv
import json
import os
import re
import sys

SKIPPED, TIMES_UP = 77, (124, 137)
WHAT = {'machine': 'the machine', 'parity': 'every operation against the CPU', 'golden': 'golden cases, fp32, TF32 off',
        'check': 'large sizes against other kernels', 'ceilings': 'measured ceilings', 'steps': 'training steps',
        'kernels': 'operations of a step', 'attention': 'attention alone',
        'graphs': 'the same bits: two runs; graphs and eager; killed and resumed', 'peers': 'the same steps in PyTorch',
        'sanitizer': 'compute-sanitizer on small steps', 'counters': 'hardware counters of the slowest kernels',
        'training': 'ListOps training'}
SHORT = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16'}
SIZES = ('model', 'length', 'batch', 'layers', 'dim', 'ffn', 'heads', 'precision')
COUNTERS = {'gpu__time_duration.sum': 'ns', 'dram__throughput.avg.pct_of_peak_sustained_elapsed': 'memory %',
            'sm__throughput.avg.pct_of_peak_sustained_elapsed': 'compute %', 'dram__bytes_read.sum': 'bytes read',
            'dram__bytes_write.sum': 'bytes written',
            'sm__warps_active.avg.pct_of_peak_sustained_active': 'warps active %',
            'launch__registers_per_thread': 'registers', 'launch__grid_size': 'blocks',
            'launch__block_size': 'threads'}


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
            found.append(json.loads(line))
        except ValueError:
            continue
    return [v for v in found if isinstance(v, dict)]


def status_name(status):
    known = {0: 'ok', SKIPPED: 'skipped', **dict.fromkeys(TIMES_UP, 'cut off')}
    return known.get(status, 'failed')


def remark(status, last, log):
    """What stands beside a stage: the reason, or the line that counts its tests."""
    if status == SKIPPED:
        return last.replace('skip: ', '', 1)
    if status in TIMES_UP:
        last = 'by its time limit; what it had found is kept'
    counts = re.findall(r'^(?:All tests passed.*|test cases:.*|all +\d+ passed.*)$', log, re.M)
    errors = (re.findall(r'^.*\berror: .*$', log, re.M) or [last]) if status else []
    return '; '.join(re.sub(' +', ' ', text)[:200] for text in counts[-1:] + errors[:1])


def slower_kernels(stage):
    """What a stage has timed on slower kernels than those meant for it: a time that must not be taken for ours."""
    rows = [row for found in stage.values() if isinstance(found, list) for row in found]
    found = [f for row in rows for f in row.get('fallbacks') or []]
    return list(dict.fromkeys('%s %s %s: %s' % tuple(f.get(k) for k in ('operation', 'dtype', 'shape', 'reason'))
                              for f in found))


def stages_of(raw, running):
    """running: the name and seconds of a stage that has not ended, or nothing."""
    stages = []
    lines = read_text(os.path.join(raw, 'stages.tsv')).splitlines()
    if running:
        lines.append('\t'.join([running[0], str(TIMES_UP[0]), running[1], '']))
    for line in lines:
        name, status, seconds, last = (line.split('\t', 3) + ['', '', ''])[:4]
        log = read_text(os.path.join(raw, name + '.log'))
        stage = {'name': name, 'status': status_name(int(status)), 'exit_status': int(status),
                 'seconds': float(seconds), 'remark': remark(int(status), last, log)}
        for file in ['attention', 'torch_attention'] if name == 'attention' else [name]:
            stage[file] = json_lines(os.path.join(raw, file + '.jsonl'))
        for row in stage.get('training', []):
            found = row.pop('evaluation', None)
            row.update(found if isinstance(found, dict) else {})
        slower = slower_kernels(stage)
        if slower:
            stage.update(status='failed', remark='slower kernels: ' + '; '.join(slower)[:400])
        if name == 'machine':
            stage['machine'] = dict(re.findall(r'^([a-z ]+): *(.*)$', log, re.M))
        stages.append(stage)
    return stages


def rows_of(stages, name):
    return [row for stage in stages for row in stage.get(name, [])]


def cell(value):
    if value is None:
        return ''
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return json.dumps(value) if isinstance(value, (dict, list)) else str(value).replace('|', '/')
    if isinstance(value, int) or value == 0:
        return str(value)
    return '%.0f' % value if 1000 <= abs(value) < 1e6 else '%.3g' % value


def table(rows):
    """Markdown; the columns are those of the rows in order of appearance, without empty ones."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [c for c in columns if any(row.get(c) not in (None, '') for row in rows)]
    lines = ['| ' + ' | '.join(columns) + ' |', '| ' + ' | '.join('---' for _ in columns) + ' |']
    return lines + ['| ' + ' | '.join(cell(row.get(c)) for c in columns) + ' |' for row in rows]


def number(value):
    """A number, or None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value.replace(',', ''))
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def ratio(a, b):
    """a / b; None unless both are numbers and b is positive."""
    a, b = number(a), number(b)
    return a / b if a is not None and b is not None and b > 0 else None


def sizes(row):
    """What names a step; selene-bench calls the precision dtype."""
    named = dict(row, precision=row.get('precision', row.get('dtype')))
    return {k: str(named[k]) for k in SIZES if named.get(k) is not None}


def comparable(own, peer):
    """Whether the two agree in every size that both name."""
    a, b = sizes(own), sizes(peer)
    return all(a[k] == b[k] for k in a if k in b)


def compared_steps(stages):
    """Every step of ours, with PyTorch's times and memory for the same sizes and how many times ours they are."""
    rows = []
    for own in rows_of(stages, 'steps'):
        named = sizes(own)
        row = {k: named.get(k) for k in ('model', 'length', 'batch', 'layers', 'dim', 'precision')}
        row.update({'graph': 'yes' if own.get('graph', True) else 'no', 'recompute': own.get('recompute', 'none'),
                    'ms': own.get('step_ms'), 'median ms': own.get('step_median_ms'), 'floor ms': own.get('floor_ms'),
                    'x floor': ratio(own.get('step_ms'), own.get('floor_ms')), 'MiB': own.get('slab_mib')})
        peers = [p for p in rows_of(stages, 'peers') if comparable(own, p) and number(p.get('step_ms'))]
        for family in ('eager', 'compile') if own.get('graph', True) else ():
            found = [p for p in peers if str(p.get('mode')).startswith(family)]
            if found:
                peer = min(found, key=lambda p: p['step_ms'])
                row.update({family + ' ms': peer['step_ms'],
                            family + ' / own': ratio(peer['step_ms'], own.get('step_ms')),
                            family + ' MiB': peer.get('peak_mib'),
                            'own MiB / ' + family: ratio(own.get('slab_mib'), peer.get('peak_mib')),
                            family + ' was': '%s, weights %s, attention %s' % tuple(
                                peer.get(k) for k in ('mode', 'weights', 'attention'))})
        rows.append(row)
    return rows


def compared_attention(stages):
    """A row for every shape and pass, a column for every kernel, and how fast ours is beside cuDNN's."""
    rows = {}

    def put(shape, dtype, direction, kernel, ms):
        if number(ms) is not None:
            rows.setdefault((shape, dtype, direction), {})[kernel + ' ms'] = ms

    for line in rows_of(stages, 'attention'):
        put(line.get('shape'), line.get('dtype'), line.get('pass'), line.get('kernel', '?'), line.get('ms'))
    for line in rows_of(stages, 'torch_attention'):
        shape = 'x'.join(str(line.get(k)) for k in ('batch', 'heads', 'queries', 'keys', 'dim'))
        for direction in ('forward', 'backward'):
            put(shape, SHORT.get(line.get('precision')), direction, 'torch ' + str(line.get('kernel')),
                line.get(direction + '_ms'))
    table_rows = []
    for (shape, dtype, direction), times in rows.items():
        cudnn = min((times[k] for k in ('cudnn ms', 'torch cudnn ms') if k in times), default=None)
        torch = min((ms for kernel, ms in times.items() if kernel.startswith('torch')), default=None)
        table_rows.append(dict({'B x H x Nq x Nk x K': shape, 'type': dtype, 'pass': direction}, **times,
                               **{'cuDNN / own': ratio(cudnn, times.get('own ms')),
                                  "PyTorch's best / own": ratio(torch, times.get('own ms'))}))
    return table_rows


def compared_operations(stages):
    """The operations of a step, longest first, with what they achieve of the ceilings."""
    ceiling = {(c.get('what'), c.get('dtype')): c.get('value') for c in rows_of(stages, 'ceilings')}
    lines = rows_of(stages, 'kernels')
    totals = {}
    for line in lines:
        totals[line.get('model')] = totals.get(line.get('model'), 0) + (number(line.get('ms')) or 0)
    rows = []
    for line in sorted(lines, key=lambda x: (str(x.get('model')), -(number(x.get('ms')) or 0))):
        share = ratio(line.get('ms'), totals[line.get('model')])
        row = {'model': line.get('model'), 'operation': line.get('operation'), 'type': line.get('dtype'),
               'calls': line.get('calls'), 'ms': line.get('ms'), '% of step': share and 100 * share,
               'GB/s': line.get('gb_s')}
        of_copy = ratio(line.get('gb_s'), ceiling.get(('copy', 'f32')))
        of_product = ratio(line.get('gflop_s'), ceiling.get(('matmul', line.get('dtype'))))
        row['% of copy'] = of_copy and 100 * of_copy
        if line.get('flops'):
            row['GFLOP/s'], row['% of product'] = line.get('gflop_s'), of_product and 100 * of_product
        rows.append(row)
    return rows


def judged(what, wanted, value):
    """wanted: 'at least N' or 'at most N'."""
    if value is None:
        return {'target': what, 'wanted': wanted, 'measured': 'not measured', 'verdict': ''}
    met = value >= float(wanted.split()[-1]) if 'least' in wanted else value <= float(wanted.split()[-1])
    return {'target': what, 'wanted': wanted, 'measured': value, 'verdict': 'met' if met else 'MISSED'}


def targets(stages):
    """What the project wants to be on an H100, beside what was measured here."""
    wanted = {'model': 'luna-16', 'length': '4096', 'batch': '32', 'dim': '256', 'graph': 'yes'}
    steps = {row['recompute']: row for name in ('fp16', 'bf16') for row in compared_steps(stages)
             if row['precision'] == name and all(row.get(k) == v for k, v in wanted.items())}
    step, less = steps.get('none', {}), steps.get('feed_forward', {})
    name = 'Luna-16 Text step, 4096 tokens, batch 32, %s' % step.get('precision', 'bf16')
    rows = [{'target': name + ': ms, least (median)', 'wanted': '',
             'measured': '%s (%s)' % (cell(step['ms']), cell(step['median ms'])) if step else 'not measured'}]
    rows += [judged(what, limit, row.get(column)) for what, limit, row, column in (
        ('times its floor', 'at most 1.6', step, 'x floor'),
        ('times as fast as PyTorch eager', 'at least 2', step, 'eager / own'),
        ('times as fast as torch.compile', 'at least 1.3', step, 'compile / own'),
        ("share of PyTorch's peak memory, eager", 'at most 0.5', step, 'own MiB / eager'),
        ('the same with train.recompute feed_forward', 'at most 0.5', less, 'own MiB / eager'),
        ('and then times as fast as PyTorch eager', 'at least 2', less, 'eager / own'))]
    for direction in ('forward', 'backward'):
        found = [row for row in compared_attention(stages) if row['pass'] == direction
                 and row['B x H x Nq x Nk x K'] == '32x4x4096x4096x64']
        rows.append(judged("own attention, %s: times as fast as cuDNN's" % direction, 'at least 0.5',
                           found[0]['cuDNN / own'] if found else None))
    return rows


def plain(name):
    return lambda stages: rows_of(stages, name)


SECTIONS = [
    ('Training steps', 'Least times. *x floor*: own time over the larger of bytes over copy speed and operations '
     'over the speed of a large product, summed over the launches. *eager / own*: how many times as fast as '
     'the fastest eager (compiled) form of PyTorch. MiB: ours is the whole slab, theirs the peak of what is '
     'allocated, with CUDA graphs of what is reserved.', compared_steps),
    ('Attention alone', '', compared_attention),
    ('Ceilings', 'GB/s of a copy, bytes read and written; GFLOP/s of a large product.', plain('ceilings')),
    ('Operations of a step', 'Each call at its least, launched one by one.', compared_operations),
    ('Against other kernels', 'The largest difference over the largest number, and what roundings explain.',
     plain('check')),
    ('The same bits', '', plain('graphs')),
    ('compute-sanitizer', '', plain('sanitizer')),
    ('Hardware counters', '', plain('counters')),
    ('ListOps training', '', plain('training')),
    ("PyTorch's steps, every line", '', plain('peers')),
    ("PyTorch's attention, every line", '', plain('torch_attention'))]


def report(result):
    stages = result['stages']
    machine = next((s['machine'] for s in stages if s.get('machine')), {})
    lines = ['# GPU check', '']
    if result['device'] == 'cuda':
        lines += table(result['targets']) + ['']
    lines += table([{'stage': s['name'], 'what': WHAT.get(s['name'], ''), 'result': s['status'],
                     'seconds': s['seconds'], 'remark': s['remark']} for s in stages])
    lines += ['', 'Used %d s of %d s.' % (result['took_s'], result['budget_s']), '']
    lines += ['* %s: %s' % (key, value) for key, value in machine.items()]
    for title, note, make in SECTIONS:
        rows = make(stages)
        if rows:
            lines += ['', '## ' + title, ''] + ([note, ''] if note else []) + table(rows)
    return '\n'.join(lines) + '\n'


def combined(stages, files):
    """The stages of this run, and those of earlier results that were not run again, in the usual order."""
    known = {stage['name']: stage for stage in stages}
    for path in files:
        try:
            with open(path, encoding='utf-8') as file:
                for stage in json.load(file)['stages']:
                    known.setdefault(stage['name'], stage)
        except (OSError, ValueError, TypeError, KeyError) as error:
            sys.exit('error: %s: is not a result.json of gpu_check.sh (%s)' % (path, error))
    return [known[name] for name in WHAT if name in known]


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
    return [row for row in csv.DictReader(lines) if (row.get('ID') or '').strip().isdigit()]


def base_name(kernel):
    """`void selene::cuda::<unnamed>::fwd_rows<float, 128>(...)` -> fwd_rows"""
    kernel = re.sub(r'(<unnamed>|\(anonymous namespace\))::', '', kernel)
    return re.sub(r'[<(].*', '', kernel).split('::')[-1].split(' ')[-1]


def slowest(path, count=5):
    sums = {}
    for row in ncu_rows(path):
        name = base_name(row.get('Kernel Name') or '')
        sums[name] = sums.get(name, 0) + (number(row.get('gpu__time_duration.sum')) or 0)
    print('\n'.join(sorted(sums, key=sums.get, reverse=True)[:count]))
    return 0


def counters(path):
    for row in ncu_rows(path):
        line = {'kernel': (row.get('Kernel Name') or '')[:120]}
        line.update({title: number(row[key]) for key, title in COUNTERS.items() if row.get(key)})
        line.update({key: number(value) for key, value in row.items()
                     if key and 'pipe_tensor' in key and 'pct' in key and number(value)})
        print(json.dumps(line))
    return 0


def write_results(a):
    stages = combined(stages_of(a.raw, a.running) if a.raw else [], a.add)
    result = {'schema': 1, 'device': a.device, 'budget_s': a.budget, 'took_s': a.took, 'targets': targets(stages),
              'stages': stages}
    for name, text in (('result.json', json.dumps(result, indent=1) + '\n'), ('result.md', report(result))):
        path = os.path.join(a.out, name)
        with open(path + '.part', 'w', encoding='utf-8') as file:
            file.write(text)
        os.replace(path + '.part', path)  # so that a kill leaves the last whole one
    failed, cut_off = ([s['name'] for s in stages if s['status'] == what] for what in ('failed', 'cut off'))
    verdict = 'failed: ' + ' '.join(failed) if failed else '%d of %d stages done, none failed' % (
        sum(s['status'] == 'ok' for s in stages), len(stages))
    if cut_off:
        verdict += ', cut off: ' + ' '.join(cut_off)
    print(os.path.join(a.out, 'result.md') + ': ' + verdict)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', nargs='?', help='results folder of tools/gpu_check.sh')
    parser.add_argument('--raw', help='what its stages left')
    parser.add_argument('--running', nargs=2, default=[], metavar=('STAGE', 'SECONDS'),
                        help='one that has not ended')
    parser.add_argument('--add', nargs='+', default=[], metavar='RESULT.json')
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
    return write_results(a)


if __name__ == '__main__':
    sys.exit(main())
