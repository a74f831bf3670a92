"""Every program: help, version, wrong usage; the chain from data to report; the installed tree."""
import glob
import json
import os
import shutil
import stat
import subprocess
import unittest

from cli_common import SMALL, TIMEOUT, TOOLS, Case, complaint, run

BUILD = os.path.dirname(TOOLS)


def programs(folder):
    return sorted(os.path.basename(path) for path in glob.glob(os.path.join(folder, 'selene-*'))
                  if os.path.isfile(path) and os.stat(path).st_mode & stat.S_IXUSR)


class Programs(Case):
    def test_there_are_some(self):
        wanted = {'selene-train', 'selene-evaluate', 'selene-prepare', 'selene-inspect', 'selene-bench', 'selene-report'}
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
