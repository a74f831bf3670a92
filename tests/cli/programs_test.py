"""Every program: help, version, wrong usage; the chain from data to report; the installed tree."""
import glob
import json
import os
import shutil
import stat
import subprocess
import unittest

from common import SMALL, SOURCE, TIMEOUT, TOOLS, Case, complaint, run, settings

BUILD = os.path.dirname(TOOLS)


def programs(folder):
    return sorted(os.path.basename(path) for path in glob.glob(os.path.join(folder, 'selene-*'))
                  if os.path.isfile(path) and os.stat(path).st_mode & stat.S_IXUSR)


class Programs(Case):
    def test_there_are_some(self):
        wanted = {'selene-train', 'selene-evaluate', 'selene-prepare', 'selene-inspect', 'selene-bench', 'selene-report',
                  'selene-sweep'}
        self.assertEqual(wanted - set(programs(TOOLS)), set())

    def test_help_has_an_example_and_version_a_number(self):
        for name in programs(TOOLS):
            with self.subTest(name):
                result = run(name, '--help')
                self.assertEqual((result.returncode, result.stderr), (0, ''))
                self.assertRegex(result.stdout, f'Example: .*{name} ')
                result = run(name, '--version')
                self.assertEqual((result.returncode, result.stderr), (0, ''))
                self.assertRegex(result.stdout, r'^\S* ?\d+\.\d+\.\d+\n$')

    def test_wrong_usage_exits_with_2_and_says_something(self):
        for name in programs(TOOLS):
            with self.subTest(name):
                result = run(name, '--no-such-option')
                self.assertEqual((result.returncode, result.stdout), (2, ''), result.stderr)
                self.assertTrue(complaint(result))

    def test_a_recipe_of_several_files(self):
        self.write('task.yaml', 'model: {layers: 1, dim: 16, heads: 2, ffn_dim: 16}\ndata: {path: data, max_length: 66}\n'
                   'train: {updates: 2, batch_size: 8, log_every: 1}\n')
        self.write('wide.yaml', 'model:\n  dim: 32\n')
        self.succeeds(run('selene-train', 'task.yaml', 'wide.yaml', '--print-recipe', cwd=self.folder), 'name: task-wide  # task.yaml, wide.yaml\n',
                      '  dim: 32  # wide.yaml:2:8\n', '  heads: 2  # task.yaml:1:36\n', '  tie_kv: false  # default\n')
        for _ in range(2):  # the second call resumes
            self.succeeds(run('selene-train', 'task.yaml', 'wide.yaml', cwd=self.folder), 'finished update=2 ')
        self.refuses(run('selene-train', 'task.yaml', '--out', 'runs/task-wide', cwd=self.folder),
                     'the recipe has changed since (model.dim: 32 -> 16)')
        self.refuses(run('selene-train', 'task.yaml', './task.yaml', cwd=self.folder), './task.yaml: is given twice')

    def test_from_data_to_report(self):
        self.succeeds(self.train('runs/small', SMALL), 'finished update=4')
        for target in ('runs/small/checkpoints/best', 'data'):
            self.succeeds(run('selene-inspect', target, cwd=self.folder))
        self.succeeds(run('selene-report', 'runs/small', cwd=self.folder), 'runs/small/report.html')
        with open(self.path('runs/small/report.html'), encoding='utf-8') as file:
            page = file.read()
        self.assertIn('<svg', page)
        self.assertNotIn('<script', page)

    def test_evaluate_is_what_validation_said(self):
        self.succeeds(self.train('evaluated', SMALL))
        for name in ('basic_train.tsv', 'basic_val.tsv', 'basic_test.tsv'):
            os.makedirs(self.path('val'), exist_ok=True)
            source = 'basic_train.tsv' if name == 'basic_train.tsv' else 'basic_val.tsv'
            shutil.copy(self.path('data', source), self.path('val', name))
        result = run('selene-evaluate', 'evaluated/checkpoints/last', 'val', '--json', cwd=self.folder)
        self.succeeds(result)
        said = json.loads(result.stdout)
        with open(self.path('evaluated/metrics.jsonl'), encoding='utf-8') as file:
            valid = [row for row in map(json.loads, file) if row['kind'] == 'valid'][-1]
        self.assertEqual(said['accuracy'], valid['accuracy'])

    def test_the_same_data_twice(self):
        words = ['listops', '--train', 50, '--valid', 5, '--test', 5, '--min-length', 9, '--max-length', 30]
        for out, threads in (('one', 1), ('two', 2)):
            self.succeeds(run('selene-prepare', *words, '--out', out, '--threads', threads, cwd=self.folder))
        for name in sorted(os.listdir(self.path('one'))):
            with open(self.path('one', name), 'rb') as one, open(self.path('two', name), 'rb') as two:
                self.assertEqual(one.read(), two.read(), name)
        self.succeeds(run('selene-prepare', *words, '--out', 'one', cwd=self.folder), 'already there')


class Evaluate(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trained = cls('evaluate').train('run', SMALL)
        assert trained.returncode == 0, trained.stderr

    def evaluate(self, *words, stdin=None):
        return subprocess.run([os.path.join(TOOLS, 'selene-evaluate'), 'run', *map(str, words)], cwd=self.folder, input=stdin,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def evaluate_json(self, *words, stdin=None):
        result = self.evaluate(*words, '--json', stdin=stdin)
        self.succeeds(result)
        return json.loads(result.stdout)

    def test_the_test_row_at_the_end_of_a_run_is_what_evaluate_says(self):
        with open(self.path('run/metrics.jsonl'), encoding='utf-8') as file:
            rows = [row for row in map(json.loads, file) if row['kind'] == 'test']
        self.assertEqual([row['accuracy'] for row in rows], [self.evaluate_json()['accuracy']])

    def test_as_many_examples_as_asked_for(self):
        for n in (1, 3, 4, 7):
            said = self.evaluate_json('data', '--examples', n, '--predictions', f'{n}.tsv')
            with open(self.path(f'{n}.tsv'), encoding='utf-8') as file:
                self.assertEqual((said['examples'], len(file.readlines())), (n, n + 1))

    def test_expressions_and_tsv_from_stdin_and_with_a_byte_order_mark(self):
        tsv = 'Source\tTarget\n( ( ( [MAX 5 ) 7 ) ] )\t7\n'
        for text in ('[MAX 2 9 ]\n', '\ufeff[MAX 2 9 ]\n', tsv, '\ufeff' + tsv):
            with self.subTest(text):
                self.assertEqual(self.evaluate_json('-', stdin=text)['examples'], 1)
                self.assertEqual(self.evaluate_json(self.write('given', text))['examples'], 1)

    def test_what_is_evaluated_is_not_overwritten(self):
        name = self.write('mine.txt', '[MAX 2 9 ]\n')
        self.refuses(self.evaluate(name, '--predictions', name), 'mine.txt', 'another name')
        with open(self.path(name), encoding='utf-8') as file:
            self.assertEqual(file.read(), '[MAX 2 9 ]\n')
        os.mkfifo(self.path('pipe'))
        self.refuses(self.evaluate('data', '--predictions', 'pipe'), 'pipe')
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path('pipe')).st_mode))

    def test_too_many_threads(self):
        self.assertEqual(self.evaluate('--threads', 100000).returncode, 2)


class Bench(Case):
    @staticmethod
    def recipes(model):
        return [os.path.join(SOURCE, 'recipes', name) for name in ('bench.yaml', f'models/{model}.yaml')]

    def test_one_object_a_line_with_what_is_promised(self):
        small = settings({'model.dim': 16, 'model.ffn_dim': 16, 'model.heads': 2, 'model.layers': 1})
        for model, label, more in (('luna-16', 'luna-4', settings({'model.luna.projection_length': 4})),
                                   ('transformer', 'transformer', [])):
            result = run('selene-bench', 'step', *self.recipes(model), *small, *more, '--length', 16, 24, '--steps', 2,
                         '--precision', 'fp32', 'bf16', '--json')
            self.succeeds(result)
            rows = [json.loads(line) for line in result.stdout.splitlines()]
            self.assertEqual([(row['model'], row['dtype'], row['length'], row['batch'], row['dim']) for row in rows],
                             [(label, dtype, length, 4, 16) for dtype in ('fp32', 'bf16') for length in (16, 24)])
            for row in rows:
                for key in ('floor_ms', 'step_ms', 'floor_ratio', 'flops', 'slab_mib', 'rss_mib'):
                    self.assertGreater(row[key], 0)

    def test_what_is_not_asked_for_is_the_recipe_s(self):
        words = settings({'model.dim': 16, 'model.ffn_dim': 16, 'model.heads': 2, 'model.layers': 1, 'train.batch_size': 3,
                          'data.max_length': 12, 'train.precision': 'bf16'})
        result = run('selene-bench', 'kernels', *self.recipes('transformer'), *words, '--steps', 1, '--json')
        self.succeeds(result)
        row = json.loads(result.stdout.splitlines()[0])
        self.assertEqual((row['model'], row['batch'], row['length']), ('transformer', 3, 12))
        self.assertIn('"dtype":"bf16"', result.stdout)
        self.assertEqual(row['fallbacks'], [])

    def test_bytes_are_those_of_a_real_step(self):
        words = [*self.recipes('luna-16'), *settings({'model.dim': 16, 'model.ffn_dim': 32, 'model.layers': 2}), '--length', 20,
                 '--precision', 'bf16', '--json']

        def rows(*more):
            result = run('selene-bench', 'bytes', *words, *more)
            self.succeeds(result)
            found = {(row['operation'], row['dtype']): row for row in map(json.loads, result.stdout.splitlines())}
            for what in ('bytes', 'launches', 'far_bytes'):
                self.assertEqual(sum(row[what] for row in found.values()), 2 * found['all', ''][what])
            return found
        found = rows()
        step = json.loads(run('selene-bench', 'step', *words, '--steps', 1).stdout)
        sums = found['Matmul, sums for biases', 'bf16']['bytes']  # passes that a floor could do without
        self.assertGreater(sums, 0)
        self.assertEqual(found['all', '']['bytes'] - sums, step['bytes'])
        self.assertEqual(found['all', '']['far_bytes'], 0)
        self.assertEqual(found['all', '']['slab_mib'], step['slab_mib'])
        self.assertGreater(rows('--set', 'train.recompute=feed_forward')['all', '']['bytes'], found['all', '']['bytes'])
        long = rows('--set', 'data.max_length=400000', '--length', 400000)['all', '']  # no machine needs the memory
        self.assertGreater(long['far_bytes'], long['bytes'] / 2)

    def test_wrong_names_and_numbers(self):
        for words in (['--length', 0], ['--length', 99999999999], ['--precision', 'fp8'], ['--threads', 100000]):
            with self.subTest(words):
                self.assertEqual(run('selene-bench', 'step', *self.recipes('transformer'), *words).returncode, 2)
        self.assertEqual(run('selene-bench', 'step', '--length', 16).returncode, 2)
        self.refuses(run('selene-bench', 'step', 'none.yaml'), 'none.yaml: cannot be opened')
        self.refuses(run('selene-bench', 'step', *self.recipes('transformer'), '--set', 'model.dim=15'), 'model.dim is 15')


class Install(Case):
    def test_installed_programs_run(self):
        root = self.path('root')
        subprocess.run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', root], check=True,
                       capture_output=True, timeout=TIMEOUT)
        folder = os.path.dirname(next(iter(glob.glob(f'{root}/**/selene-train', recursive=True))))
        self.assertEqual(programs(folder), programs(TOOLS))
        for name in programs(folder):
            subprocess.run([os.path.join(folder, name), '--version'], check=True, capture_output=True, timeout=TIMEOUT)
        recipe = next(iter(glob.glob(f'{root}/**/selene/recipes/quickstart.yaml', recursive=True)))
        result = subprocess.run([os.path.join(folder, 'selene-train'), *self.command('installed', SMALL)[1:], recipe],
                                cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.succeeds(result, 'finished update=4')


if __name__ == '__main__':
    unittest.main()
