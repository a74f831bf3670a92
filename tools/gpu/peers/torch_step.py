#!/usr/bin/env python3
# The training step of selene-bench in PyTorch, eager and compiled, which tools/gpu_check.sh sets beside ours.
# The models are those of Ma et al. 2021 (Luna) and Vaswani et al. 2017, post-norm, written anew from the papers.
"""Times a training step (forward, backward, AdamW) in PyTorch. One JSON object a line for every case and mode.

Practice taken: torch.autocast with parameters in fp32 for fp16 and bf16 (GradScaler for fp16), and for bf16 also
the whole model in bf16 ("weights": "bf16"), which saves the casts and the wide residual stream and has no fp32 copy;
fused AdamW, gradients set to None, F.scaled_dot_product_attention for every attention with whichever of flash,
cuDNN's and the memory-efficient kernel alone a few eager steps find fastest; the last layer works out the first
position alone, as ours does, since nothing reads the others; no padding mask (so that these may be taken); queries,
keys and values of the Transformer from one matrix product. Steps are queued without waiting, with the batch on the
device. Memory: torch.cuda.max_memory_allocated.
"""
import argparse
import contextlib
import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DROPOUT = 0.1
TYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
FIELDS = ('model', 'length', 'batch', 'layers', 'dim', 'ffn', 'heads', 'precision')


def attend(q, k, v, heads, training):
    """[B, n, d], [B, m, d], [B, m, d] -> [B, n, d]."""
    def split(x):
        return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), dropout_p=DROPOUT if training else 0.0)
    return y.transpose(1, 2).reshape(q.shape)


ATTENTIONS = ('flash', 'cudnn', 'efficient', 'math')


def prefer(kernel):
    """Leaves PyTorch this attention alone; False where it has no such choice."""
    cuda = torch.backends.cuda
    switches = {'flash': 'enable_flash_sdp', 'cudnn': 'enable_cudnn_sdp', 'efficient': 'enable_mem_efficient_sdp',
                'math': 'enable_math_sdp'}
    if not hasattr(cuda, switches[kernel]):  # cuDNN's came with 2.5
        return False
    for name, switch in switches.items():
        if hasattr(cuda, switch):
            getattr(cuda, switch)(name == kernel)
    return True


class FeedForward(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.drop_hidden, self.drop = nn.Dropout(DROPOUT), nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(x + self.drop(self.fc2(self.drop_hidden(F.gelu(self.fc1(x))))))


class TransformerLayer(nn.Module):
    def __init__(self, dim, ffn, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(DROPOUT)
        self.ffn = FeedForward(dim, ffn)

    def forward(self, x, first):
        if first:
            dim, weight, bias = x.shape[-1], self.qkv.weight, self.qkv.bias
            k, v = F.linear(x, weight[dim:], bias[dim:]).chunk(2, dim=-1)
            x = x[:, :1]
            q = F.linear(x, weight[:dim], bias[:dim])
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = self.norm(x + self.drop(self.out(attend(q, k, v, self.heads, self.training))))
        return self.ffn(x)


class LunaLayer(nn.Module):
    """Pack P over X, unpack X over the packed P; keys and values tied, as in selene-bench."""

    def __init__(self, dim, ffn, heads, reads_p):
        super().__init__()
        self.heads = heads
        self.pq, self.pc, self.q, self.c, self.out = (nn.Linear(dim, dim) for _ in range(5))
        self.norm_x, self.norm_p = nn.LayerNorm(dim), nn.LayerNorm(dim) if reads_p else None
        self.drop_x, self.drop_p = nn.Dropout(DROPOUT), nn.Dropout(DROPOUT)
        self.ffn = FeedForward(dim, ffn)

    def forward(self, x, p, first):
        context = self.pc(x)
        packed = attend(self.pq(p), context, context, self.heads, self.training)
        c = self.c(packed)
        if first:
            x = x[:, :1]
        y = self.out(attend(self.q(x), c, c, self.heads, self.training))
        if self.norm_p is not None:
            p = self.norm_p(p + self.drop_p(packed))
        return self.ffn(self.norm_x(x + self.drop_x(y))), p


class Classifier(nn.Module):
    """Token and position embeddings, layer norm, the layers, the first position, a hidden layer, 10 classes."""

    def __init__(self, case, symbols=260, classes=10):
        super().__init__()
        dim, layers = case['dim'], case['layers']
        self.tokens = nn.Embedding(symbols, dim)
        self.positions = nn.Parameter(torch.randn(case['length'], dim) / math.sqrt(dim))
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(DROPOUT)
        self.rows = int(case['model'].split('-')[1]) if case['model'].startswith('luna-') else 0
        if self.rows:
            self.p = nn.Parameter(torch.randn(self.rows, dim) / math.sqrt(dim))
            self.p_norm, self.p_drop = nn.LayerNorm(dim), nn.Dropout(DROPOUT)
            made = [LunaLayer(dim, case['ffn'], case['heads'], i + 1 < layers) for i in range(layers)]
        else:
            made = [TransformerLayer(dim, case['ffn'], case['heads']) for _ in range(layers)]
        self.layers = nn.ModuleList(made)
        self.hidden, self.output = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, classes, bias=False)

    def forward(self, tokens, labels):
        x = self.drop(self.norm(self.tokens(tokens) + self.positions))
        if self.rows:
            p = self.p_drop(self.p_norm(self.p).expand(tokens.shape[0], -1, -1))
            for layer in self.layers:
                x, p = layer(x, p, layer is self.layers[-1])
        else:
            for layer in self.layers:
                x = layer(x, layer is self.layers[-1])
        logits = self.output(torch.relu(self.hidden(x[:, 0])))
        return F.cross_entropy(logits.float(), labels)


class Step:
    def __init__(self, case, mode, weights):
        self.model = Classifier(case).to('cuda', TYPES[weights]).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
        self.dtype = TYPES[case['precision']]
        self.casts = weights != case['precision']
        scaler = torch.amp.GradScaler if hasattr(torch.amp, 'GradScaler') else torch.cuda.amp.GradScaler  # until 2.3
        self.scaler = scaler(enabled=case['precision'] == 'fp16')
        self.tokens = torch.randint(4, 260, (case['batch'], case['length']), device='cuda')
        self.labels = torch.randint(0, 10, (case['batch'],), device='cuda')
        self.graphs = mode == 'compile-graphs'
        self.loss = self.model
        if mode == 'compile':
            self.loss = torch.compile(self.model)
        elif self.graphs:
            self.loss = torch.compile(self.model, mode='reduce-overhead')

    def __call__(self):
        if self.graphs and hasattr(torch.compiler, 'cudagraph_mark_step_begin'):  # since 2.2
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast('cuda', dtype=self.dtype) if self.casts else contextlib.nullcontext():
            loss = self.loss(self.tokens, self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss


def timed(step, count):
    """Milliseconds of each of `count` steps in a row."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        loss = step()
        mark.record()
    torch.cuda.synchronize()
    if not math.isfinite(loss.item()):
        raise RuntimeError('the loss is not finite')
    return sorted(a.elapsed_time(b) for a, b in zip(marks, marks[1:]))


def clean_up():
    gc.collect()
    torch.cuda.empty_cache()


def fastest_attention(case):
    """The kernel with which a few eager steps take least time."""
    best = {}
    for kernel in ATTENTIONS if case['length'] <= 2048 else ATTENTIONS[:-1]:
        try:
            if prefer(kernel):
                step = Step(case, 'eager', 'fp32')
                timed(step, 3)
                best[kernel] = timed(step, 5)[0]
        except RuntimeError as error:  # no such kernel for these sizes, or not enough memory
            print('%s: %s' % (kernel, str(error).splitlines()[0]), file=sys.stderr)
        step = None
        clean_up()
    print('%s: attention, ms of an eager step: %s' % (case, best), file=sys.stderr)
    return min(best, key=best.get) if best else 'math'


def measure(case, mode, weights, arguments):
    """Least and median of the steps within the time allowed, at least 5 of them. Memory after the warm-up."""
    step = Step(case, mode, weights)
    started = time.monotonic()
    timed(step, arguments.warm_up)
    warm = time.monotonic() - started
    torch.cuda.reset_peak_memory_stats()
    estimate = timed(step, 3)[0]
    times = timed(step, max(5, min(arguments.steps, int(arguments.seconds * 1e3 / estimate))))
    reserved = torch.cuda.max_memory_reserved() / 2**20
    return {'step_ms': times[0], 'step_median_ms': times[len(times) // 2], 'steps': len(times), 'warm_up_s': warm,
            # A replayed graph allocates nothing: its memory is what was reserved for it.
            'peak_mib': reserved if step.graphs else torch.cuda.max_memory_allocated() / 2**20,
            'reserved_mib': reserved}


def parse_case(text):
    parts = text.split(':')
    if len(parts) != len(FIELDS):
        raise argparse.ArgumentTypeError('wanted ' + ':'.join(FIELDS))
    case = dict(zip(FIELDS, parts))
    if case['precision'] not in TYPES:
        raise argparse.ArgumentTypeError('precision is ' + case['precision'] + ', wanted ' + ', '.join(TYPES))
    rows = case['model'][5:] if case['model'].startswith('luna-') else ''
    if case['model'] != 'transformer' and not rows.isdigit():
        raise argparse.ArgumentTypeError('model is ' + case['model'] + ', wanted transformer or luna-L')
    try:
        return {k: v if k in ('model', 'precision') else int(v) for k, v in case.items()}
    except ValueError:
        raise argparse.ArgumentTypeError(text + ': sizes are whole numbers') from None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog='Example: torch_step.py --case luna-16:4096:32:4:256:1024:4:bf16')
    parser.add_argument('--case', type=parse_case, action='append', required=True, metavar=':'.join(FIELDS))
    parser.add_argument('--mode', nargs='+', default=['eager', 'compile', 'compile-graphs'],
                        choices=['eager', 'compile', 'compile-graphs'])
    parser.add_argument('--steps', type=int, default=50, help='timed steps at most (%(default)s)')
    parser.add_argument('--seconds', type=float, default=3.0, help='for the timed steps of one case (%(default)s)')
    parser.add_argument('--warm-up', type=int, default=5, help='steps before (%(default)s)')
    parser.add_argument('--tf32', action='store_true', help='fp32 matrix products in TF32')
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print('error: this PyTorch finds no CUDA device', file=sys.stderr)
        return 1
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    failed = False
    for case in arguments.case:
        kernel = fastest_attention(case)
        prefer(kernel)
        variants = ['fp32'] + ['bf16'] * (case['precision'] == 'bf16')
        for mode, weights in ((mode, weights) for mode in arguments.mode for weights in variants):
            line = dict(case, peer='torch ' + torch.__version__, mode=mode, weights=weights, attention=kernel)
            try:
                line.update(measure(case, mode, weights, arguments))
            except (RuntimeError, AssertionError) as error:  # out of memory among them; the others still count
                line['error'] = (str(error).splitlines() or [repr(error)])[0][:200]
                failed = True
            if mode != 'eager':
                torch.compiler.reset()
            clean_up()
            print(json.dumps(line), flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
