"""Choosing a device, and training on one: the programs with the shim of the CUDA kernels, with modules that must be refused,
and with none. SELENE_SIMT_MODULE and SELENE_FAULTY_MODULES name the built files."""
import json
import math
import os
import re
import shutil
import tempfile
import unittest

from common import SMALL, SOURCE, Case, complaint, program, read_metrics, read_tensors, run, settings

SHIM = os.environ['SELENE_SIMT_MODULE']
OTHER_ABI, NO_DEVICE, NO_ENTRY = os.environ['SELENE_FAULTY_MODULES'].split(':')
LAST = 'update-00000004.safetensors'
TINY = {**SMALL, 'data.max_length': 20, 'train.log_every': 1}


class Choice(Case):
    """--device auto says why it takes the CPU, --device cuda stops with that reason."""

    def beside(self, module):
        """selene-train in a folder of its own, with `module` (None: nothing) under the name of the CUDA module."""
        folder = tempfile.mkdtemp(dir=self.folder)
        shutil.copy(program('selene-train'), folder)
        if module:
            os.symlink(module, os.path.join(folder, 'libselene_cuda.so'))
        return os.path.join(folder, 'selene-train')

    def test_whatever_is_wrong_with_the_module(self):
        text = self.path('text.so')
        self.write('text.so', 'this is not a library')
        for number, (module, reason) in enumerate([
                (None, 'libselene_cuda.so: cannot open shared object file'), (text, 'libselene_cuda.so: file too short'),
                (OTHER_ABI, 'built for ABI'), (NO_DEVICE, 'no device of this kind in the machine'),
                (NO_ENTRY, 'has no entry selene_module')]):
            with self.subTest(reason):
                train = self.beside(module)
                automatic = run(train, *self.command(f'auto{number}', TINY, '--device', 'auto'), cwd=self.folder)
                self.succeeds(automatic, 'finished update=4')
                self.assertRegex(automatic.stderr, r'device: CPU, .*\(.*' + re.escape(reason) + r'.*\)')
                asked = run(train, *self.command(f'cuda{number}', TINY, '--device', 'cuda'), cwd=self.folder)
                self.refuses(asked, reason)
                self.assertFalse(os.path.exists(self.path(f'cuda{number}')))

    def test_files_that_are_no_whole_library(self):
        with open(SHIM, 'rb') as file:
            self.write('half.so', file.read(100000))
        os.mkfifo(self.path('fifo.so'))
        for name, reason in (('half.so', 'it is cut off'), ('fifo.so', 'is not a file'), ('none.so', 'none.so')):
            with self.subTest(name):  # found in this folder without a ./ before it
                self.refuses(self.train('file', TINY, '--device', name), 'no backend module', name, reason)
        self.assertFalse(os.path.exists(self.path('file')))

    def test_the_cpu_does_not_look_for_a_module(self):
        train = self.beside(OTHER_ABI)
        result = run(train, *self.command('cpu', TINY, '--device', 'cpu'), cwd=self.folder)
        self.succeeds(result, 'finished update=4')
        self.assertNotIn('ABI', result.stderr)

    def test_a_precision_that_the_device_has_not(self):
        self.refuses(self.train('half', {**TINY, 'train.precision': 'fp16'}, '--device', 'cpu'), 'train.precision is fp16',
                     'needs a GPU')
        os.environ['SELENE_DEVICE_CAPABILITY'] = '70'
        try:
            self.refuses(self.train('half', {**TINY, 'train.precision': 'bf16'}, '--device', SHIM),
                         'compute capability 8.0', 'has 7.0')
        finally:
            del os.environ['SELENE_DEVICE_CAPABILITY']
        self.assertFalse(os.path.exists(self.path('half')))

    def test_slower_kernels_are_told_once(self):
        line = 'AttentionFwd f16 runs slower kernels, for example '
        result = self.train('slow', {**TINY, 'train.precision': 'fp16'}, '--device', SHIM)  # a head has 8 channels
        self.succeeds(result, line, 'head size 8, the tensor-core kernels take 16, 32, 64 and 128')
        self.assertEqual(result.stderr.count(line), 1)
        fast = self.train('fast', {**TINY, 'train.precision': 'fp16', 'model.dim': 32}, '--device', SHIM)
        self.succeeds(fast)
        self.assertNotIn('slower kernels', fast.stderr)


class Bench(Case):
    recipes = [os.path.join(SOURCE, 'recipes', name) for name in ('bench.yaml', 'models/transformer.yaml')]

    def test_check_compares_every_result_and_says_what_is_allowed(self):
        result = run('selene-bench', 'check', '--device', SHIM, '--precision', 'bf16', 'fp32', '--json')
        self.succeeds(result)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        found = {(row['what'], row['result'], row['dtype']) for row in rows}
        linear = [('linear', name) for name in ('y', 'dx', 'dw', 'db')]
        attention = [('attention', name) for name in ('o', 'dq', 'dk', 'dv')]
        self.assertEqual(found, {(*x, 'bf16') for x in linear + attention} | {(*x, 'f32') for x in linear})
        for row in rows:
            self.assertEqual(row['verdict'], 'near')
            self.assertLessEqual(row['distance'], row['allowed'])
            self.assertLess(row['allowed'], 0.02)
            # Other kernels: the same ones would give the same numbers.
            if row['what'] == 'attention':
                self.assertGreater(row['distance'], 0)

    def test_check_wants_a_device(self):
        self.refuses(run('selene-bench', 'check'), 'wanted a device')

    def test_plans_want_a_matrix_library(self):
        small = settings({'model.dim': 16, 'model.ffn_dim': 16, 'model.heads': 2, 'model.layers': 1})
        self.refuses(run('selene-bench', 'matmul', '--plans', *self.recipes, *small, '--length', 16, '--device', SHIM),
                     'this device has no matrix library')

    def test_a_time_of_slower_kernels_says_so(self):
        for shape, slower in (('1x2x20x20x24', True), ('1x2x20x20x16', False)):
            result = run('selene-bench', 'attention', '--shape', shape, '--precision', 'fp16', '--steps', 1, '--json',
                         '--device', SHIM)
            self.assertEqual(result.returncode, 0, result.stderr)  # which says that there is no cuDNN
            rows = [json.loads(line) for line in result.stdout.splitlines()]
            own = [row['fallbacks'] for row in rows if row['kernel'] == 'own']
            if not slower:
                self.assertEqual(own, [[], []])
                continue
            self.assertEqual([[f['operation'] for f in fallbacks] for fallbacks in own], [['AttentionFwd'], ['AttentionBwd']])
            self.assertEqual(own[0][0]['shape'], shape)
            self.assertIn('head size 24', own[0][0]['reason'])


class Memory(Case):
    """Nothing is started that cannot finish."""

    def test_a_run_that_does_not_fit(self):
        for device in ('cpu', SHIM):
            with self.subTest(device):
                values = {**TINY, 'model.layers': 20, 'model.ffn_dim': 65536, 'train.batch_size': 400}
                result = self.train('big', values, '--device', device)
                self.refuses(result, 'the run needs', 'MiB of memory')
                fits = int(re.search(r'train.batch_size (\d+) would fit', result.stderr)[1])
                self.assertLess(fits, 400)
                self.assertRegex(result.stderr, r'memory: the largest tensors of a step are .*, 19 x feed_forward hidden .* MiB')
                self.assertRegex(result.stderr, rf'memory: the (machine|container|device) has \d+ MiB left; at \d+ tokens train.batch_size '
                                                rf'can be {fits} at most')
                self.assertFalse(os.path.exists(self.path('big')))
                if device == 'cpu':  # what a device has free changes from run to run
                    self.succeeds(self.train('big', {**values, 'train.batch_size': fits}, '--device', 'cpu', '--dry-run'))

    def test_not_even_one_example(self):
        values = {**TINY, 'model.dim': 16384, 'model.heads': 128, 'model.ffn_dim': 65536, 'model.layers': 200}
        self.refuses(self.train('huge', values, '--device', SHIM), 'not even one example fits')


class Training(Case):
    def train_here(self, out, values, *more):
        result = self.train(out, {**TINY, **values}, '--device', SHIM, *more)
        self.succeeds(result, 'device: the host through the shim', 'finished update=')
        return result

    def tensors(self, out):
        return read_tensors(self.path(out, 'checkpoints', LAST))[0]

    def test_the_losses_are_those_of_the_cpu(self):
        self.train_here('shim', {})
        self.succeeds(self.train('cpu', TINY, '--device', 'cpu'))
        rows = zip(read_metrics(self.path('shim/metrics.jsonl')), read_metrics(self.path('cpu/metrics.jsonl')), strict=True)
        for shim, cpu in rows:
            self.assertEqual((shim['kind'], shim['update']), (cpu['kind'], cpu['update']))
            self.assertLessEqual(abs(shim['loss'] - cpu['loss']), 1e-4)

    def test_graphs_two_runs_and_resuming_give_the_same_bits(self):
        for precision in ('fp32', 'fp16', 'bf16'):
            with self.subTest(precision):
                values = {'train.precision': precision}
                self.train_here(f'a-{precision}', values)
                self.train_here(f'b-{precision}', values, '--no-graph')
                self.train_here(f'c-{precision}', {**values, 'train.updates': 2})
                self.assertIn('resumed from', self.train_here(f'c-{precision}', values).stderr)
                straight = self.tensors(f'a-{precision}')
                self.assertGreater(len(straight), 10)
                for other in (f'b-{precision}', f'c-{precision}'):
                    got = self.tensors(other)
                    self.assertEqual([name for name in straight if got[name] != straight[name]], [])

    def test_fp16_overflow_skips_and_halves(self):
        self.train_here('overflow', {'train.precision': 'fp16', 'train.fp16_init_scale': 1e30})
        rows = [row for row in read_metrics(self.path('overflow/metrics.jsonl')) if row['kind'] == 'train']
        self.assertEqual([row['skipped'] for row in rows], [1, 2, 3, 4])
        for row, expected in zip(rows, (5e29, 2.5e29, 1.25e29, 6.25e28), strict=True):
            self.assertAlmostEqual(row['loss_scale'] / expected, 1, places=6)

    def test_fp16_at_the_floor_stops_and_names_the_parameter(self):
        values = {**TINY, 'train.precision': 'fp16', 'train.fp16_init_scale': 1e30, 'train.fp16_min_scale': 2e29}
        result = self.train('floor', values, '--device', SHIM)
        self.refuses(result, 'update 3: the gradient of ', ' is not finite at the smallest loss scale')
        name = re.search('the gradient of ([^ ]+)', complaint(result)[0])[1]
        self.succeeds(self.train('names', TINY))
        self.assertIn(name, list(self.tensors('names')))

    def test_a_model_that_diverged_is_no_result(self):
        for precision, updates in (('fp16', 4), ('fp32', 2)):  # fp32: the last update is the one that diverges
            with self.subTest(precision):
                values = {**TINY, 'train.precision': precision, 'optim.lr': 1e30, 'schedule.warmup': 1,
                          'train.updates': updates, 'train.checkpoint_every': 1}
                result = self.train(f'lost-{precision}', values, '--device', SHIM)
                self.refuses(result, f'update {updates}: ', 'is not finite')
                for name in self.checkpoints(f'lost-{precision}'):
                    if name.startswith('update-'):
                        tensors = read_tensors(self.path(f'lost-{precision}', 'checkpoints', name))[0]
                        for _, (_, _, content) in tensors.items():
                            self.assertTrue(all(math.isfinite(x) for x in memoryview(content).cast('f')), name)
                self.assertFalse(os.path.lexists(self.path(f'lost-{precision}', 'checkpoints/best')))

    def test_a_head_size_that_no_kernel_takes(self):
        result = self.train('heads', {**TINY, 'model.dim': 160, 'model.heads': 1}, '--device', SHIM)
        self.refuses(result, 'model.attention luna has heads of 160 channels, a GPU takes 1 to 128')
        self.assertFalse(os.path.exists(self.path('heads')))

    def test_evaluating_gives_the_same_predictions(self):
        self.succeeds(self.train('model', TINY))
        for device, out in (('cpu', 'a.tsv'), (SHIM, 'b.tsv')):
            result = run('selene-evaluate', 'model', 'data', '--device', device, '--predictions', out, '--json',
                         cwd=self.folder)
            self.succeeds(result)
            json.loads(result.stdout)
        lines = []
        for out in ('a.tsv', 'b.tsv'):
            with open(self.path(out), encoding='utf-8') as file:
                lines.append([line.split('\t')[:3] for line in file])
        self.assertEqual(lines[0], lines[1])
        self.assertEqual(len(lines[0]), 41)


if __name__ == '__main__':
    unittest.main()
