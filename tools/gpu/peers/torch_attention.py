#!/usr/bin/env python3
# PyTorch's attention kernels alone, one after the other: the peers of our own that selene-bench attention times.
"""Times F.scaled_dot_product_attention, forward and backward, by each of PyTorch's kernels, as lines of JSON.

FLOP/s are counted as selene-bench counts them: 4 B H N M D forward and 8 B H N M D backward, half of that when
causal; the scores that the backward pass computes again do not count.
"""
import argparse
import contextlib
import functools
import json
import sys
import time

import torch
import torch.nn.functional as F

TYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
FIELDS = ('batch', 'heads', 'queries', 'keys', 'dim', 'precision')


def backends():
    """Name -> what switches everything else off, for the kernels that this PyTorch has."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before 2.3: the default choice only
        return {'default': contextlib.nullcontext}
    names = {'flash': 'FLASH_ATTENTION', 'cudnn': 'CUDNN_ATTENTION', 'efficient': 'EFFICIENT_ATTENTION',
             'math': 'MATH'}
    return {name: functools.partial(sdpa_kernel, getattr(SDPBackend, backend))
            for name, backend in names.items() if hasattr(SDPBackend, backend)}


def least(run, seconds, repetitions):
    """Least milliseconds of `repetitions` launches in a row, so that launching does not count, within the time."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    best, started = float('inf'), time.monotonic()
    while best == float('inf') or time.monotonic() - started < seconds:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repetitions):
            run()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / repetitions)
    return best


def measure(case, context, arguments):
    B, H, N, M, D = (case[k] for k in FIELDS[:5])
    make = dict(device='cuda', dtype=TYPES[case['precision']])
    # [B, N, H, D] in memory, as a projection leaves it
    q = torch.randn(B, N, H, D, **make).transpose(1, 2).detach().requires_grad_()
    k, v = (torch.randn(B, M, H, D, **make).transpose(1, 2).detach().requires_grad_() for _ in range(2))

    def forward():
        return F.scaled_dot_product_attention(q, k, v, dropout_p=arguments.dropout, is_causal=arguments.causal)

    with context():
        y = forward()
        dy = torch.randn_like(y)
        forward_ms = least(forward, arguments.seconds, arguments.repetitions)
        backward_ms = least(lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True), arguments.seconds,
                            arguments.repetitions)
    products = 2.0 * B * H * N * M * D * (0.5 if arguments.causal else 1)
    return {'forward_ms': forward_ms, 'backward_ms': backward_ms, 'forward_flops': 2 * products / forward_ms * 1e3,
            'backward_flops': 4 * products / backward_ms * 1e3}


def parse_case(text):
    parts = text.split(':')
    if len(parts) != len(FIELDS) or parts[-1] not in TYPES or not all(p.isdigit() for p in parts[:-1]):
        raise argparse.ArgumentTypeError('wanted ' + ':'.join(FIELDS) + ' with precision ' + ', '.join(TYPES))
    return dict(zip(FIELDS, [int(p) for p in parts[:-1]] + parts[-1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog='Example: torch_attention.py --case 32:4:4096:4096:64:bf16')
    parser.add_argument('--case', type=parse_case, action='append', required=True, metavar=':'.join(FIELDS))
    parser.add_argument('--kernel', nargs='+', default=['flash', 'cudnn'],
                        help='of flash, cudnn, efficient, math, default')
    parser.add_argument('--causal', action='store_true')
    parser.add_argument('--dropout', type=float, default=0.0)
    parser.add_argument('--seconds', type=float, default=0.5, help='for each time (%(default)s)')
    parser.add_argument('--repetitions', type=int, default=5, help='launches in a row (%(default)s)')
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print('error: this PyTorch finds no CUDA device', file=sys.stderr)
        return 1
    known, done = backends(), 0
    for case in arguments.case:
        for name in [n for n in arguments.kernel if n in known] or ['default']:
            line = dict(case, peer='torch ' + torch.__version__, kernel=name, causal=arguments.causal,
                        dropout=arguments.dropout)
            try:
                line.update(measure(case, known.get(name, contextlib.nullcontext), arguments))
                done += 1
            except RuntimeError as error:  # this kernel does not do these sizes
                line['error'] = (str(error).splitlines() or [repr(error)])[0][:200]
            print(json.dumps(line), flush=True)
    return 0 if done else 1


if __name__ == '__main__':
    sys.exit(main())
