"""Bad input to the programs: one clear line, exit status 1 (2 for wrong usage), nothing half-written."""
import os
import shutil
import unittest

from common import SMALL, SOURCE, Case, complaint, read_tensors, run, settings

QUICKSTART = os.path.join(SOURCE, 'recipes/quickstart.yaml')
LATEST = 'update-00000004.safetensors'
HEADER = 'Source\tTarget\n'
EXAMPLE = '( ( ( [MAX 5 ) 7 ) ] )\t7\n'


class Recipes(Case):
    CASES = {  # what: (text of the recipe, what the message must hold)
        'unknown key': ('model:\n  layrs: 2\n', ['r.yaml:2:3', 'layrs', 'did you mean model.layers?']),
        'repeated key': ('train:\n  seed: 1\n  seed: 2\n', ['r.yaml:3:3', 'train.seed', 'twice']),
        'wrong type': ('train:\n  seed: many\n', ['r.yaml:2:9', 'train.seed', '"many"', 'integer']),
        'list for a number': ('train:\n  seed: [1]\n', ['r.yaml:2:', 'train.seed']),
        'below the range': ('train:\n  updates: 0\n', ['r.yaml:2:12', 'train.updates', '>= 1']),
        'above the range': ('model:\n  dropout: 1.0\n', ['r.yaml:2:12', 'model.dropout', '< 1']),
        'unknown choice': ('model:\n  attention: lunna\n', ['r.yaml:2:14', 'lunna', 'luna']),
        'not a number': ('optim:\n  lr: .nan\n', ['r.yaml:2:7', 'optim.lr']),
        'syntax': ('model: [\n  dim: 3\n', ['r.yaml:', 'YAML syntax']),
        'no mapping': ('- 1\n- 2\n', ['r.yaml:1:1']),
        'extends itself': ('extends: r.yaml\n', ['r.yaml:1:', 'circle']),
        'missing parent': ('extends: parent.yaml\n', ['r.yaml:1:', 'parent.yaml']),
        'does not fit together': ('model:\n  dim: 10\n  heads: 4\n', ['r.yaml:', 'model.heads']),
    }

    def test_recipes(self):
        for what, (text, wanted) in self.CASES.items():
            with self.subTest(what):
                self.write('r.yaml', text)
                self.refuses(run('selene-train', 'r.yaml', '--out', 'never', cwd=self.folder), *wanted)
                self.assertFalse(os.path.exists(self.path('never')))

    def test_two_recipes_extend_each_other(self):
        self.write('a.yaml', 'extends: b.yaml\n'), self.write('b.yaml', 'extends: a.yaml\n')
        self.refuses(run('selene-train', 'a.yaml', cwd=self.folder), 'a.yaml -> ', 'b.yaml -> ')

    def test_missing_recipe(self):
        self.refuses(run('selene-train', 'nowhere.yaml', cwd=self.folder), 'nowhere.yaml', 'No such file')

    def test_settings(self):
        for setting, wanted in {'train.sede=1': 'train.seed?', 'train.seed': 'key=value', 'train.seed=x': 'integer'}.items():
            with self.subTest(setting):
                self.refuses(run('selene-train', QUICKSTART, '--set', setting, cwd=self.folder), setting, wanted)


class Examples(Case):
    CASES = {  # what: (basic_train.tsv, what the message must hold beside the file's name)
        'empty': ('', []),
        'only the header': (HEADER, []),
        'other header': ('a\tb\n' + EXAMPLE, [':1']),
        'no tab': (HEADER + EXAMPLE + '( [MAX 5\n', [':3']),
        'empty line': (HEADER + EXAMPLE + '\n' + EXAMPLE, [':3']),
        'unknown token': (HEADER + EXAMPLE.replace('5', 'five'), [':2', 'five']),
        'label out of range': (HEADER + EXAMPLE + EXAMPLE.replace('\t7', '\t10'), [':3', '10']),
        'negative label': (HEADER + EXAMPLE.replace('\t7', '\t-1'), [':2', '-1']),
        'no label': (HEADER + EXAMPLE.replace('\t7', '\t'), [':2']),
    }

    def test_malformed_files(self):
        os.mkdir(self.path('broken'))
        for name in ('basic_val.tsv', 'basic_test.tsv'):
            shutil.copy(self.path('data', name), self.path('broken', name))
        for what, (text, wanted) in self.CASES.items():
            with self.subTest(what):
                self.write('broken/basic_train.tsv', text)
                result = self.train('never', {**SMALL, 'data.path': 'broken'})
                self.refuses(result, 'broken/basic_train.tsv' + (wanted[0] if wanted else ''), *wanted[1:])
                self.assertFalse(os.path.exists(self.path('never')))

    def test_missing_folder(self):
        self.refuses(self.train('never', {**SMALL, 'data.path': 'nowhere'}), 'nowhere', 'is not there in', 'selene-prepare listops')
        self.assertFalse(os.path.exists(self.path('never')))

    def test_longer_sequences_are_counted_and_trained_on(self):
        result = self.train('cut', {**SMALL, 'data.max_length': 12})
        self.succeeds(result, 'finished update=4')
        with open(self.path('data/basic_train.tsv'), encoding='utf-8') as file:
            lengths = [sum(word not in '()' for word in line.split('\t')[0].split()) for line in list(file)[1:]]
        longer = sum(length + 2 > 12 for length in lengths)  # CLS and EOS count
        self.assertGreater(longer, 0)
        told = [line for line in result.stderr.splitlines() if 'max_length' in line]
        self.assertIn(str(longer), ' '.join(told).split())

    def test_prepare_refuses_what_cannot_be_made(self):
        for words in (['--min-length', 40, '--max-length', 20], ['--train', 0], ['--max-args', 1]):
            with self.subTest(words[0]):
                result = run('selene-prepare', 'listops', '--out', 'unmade', *words, cwd=self.folder)
                self.refuses(result)
                self.assertFalse(os.path.exists(self.path('unmade')))
        for words in (['--from', 'data', '--seed', 2], ['--train', -1], ['--seed', -1], ['--seed', 2 ** 64], ['--train', 'many']):
            with self.subTest(words):
                result = run('selene-prepare', 'listops', '--out', 'unmade', *words, cwd=self.folder)
                self.assertEqual((result.returncode, result.stdout), (2, ''), result.stderr)
                self.assertFalse(os.path.exists(self.path('unmade')))

    def test_prepare_on_a_full_disk(self):
        result = run('selene-prepare', 'listops', '--out', 'full', '--train', 2000, '--valid', 10, '--test', 10,
                     '--min-length', 9, '--max-length', 30, cwd=self.folder, file_limit=20000)
        self.refuses(result, 'full', 'File too large')
        self.assertFalse(os.path.exists(self.path('full')) and os.listdir(self.path('full')))


class Folders(Case):
    def test_unwritable_run_folder(self):
        self.write('file', 'text')
        self.refuses(self.train('file/run', SMALL), 'file/run', 'Not a directory')
        self.refuses(self.train('file', SMALL), 'file')
        self.refuses(self.train('/proc/selene', SMALL), '/proc/selene')

    def test_a_file_in_the_place_of_a_run_folder(self):
        self.write('taken', 'text')
        self.refuses(self.train('taken', SMALL), 'taken: is a file, wanted a new folder')

    def test_a_folder_of_something_else(self):
        before = sorted(os.listdir(self.path('data')))
        self.refuses(self.train('data', SMALL), 'data', 'not the folder of a run')
        self.assertEqual(sorted(os.listdir(self.path('data'))), before)

    def test_full_disk_while_writing_a_checkpoint(self):
        self.succeeds(self.train('full', {**SMALL, 'train.updates': 2}))
        before = sorted(self.checkpoints('full'))
        self.refuses(self.train('full', SMALL, file_limit=32768), LATEST, 'File too large')
        self.assertEqual(sorted(self.checkpoints('full')), before)
        self.assertEqual(os.readlink(self.path('full/checkpoints/last')), 'update-00000002.safetensors')
        self.succeeds(self.train('full', SMALL), '(update 2)', 'finished update=4')

    def test_full_disk_at_the_first_checkpoint(self):
        self.refuses(self.train('first', SMALL, file_limit=32768), 'update-00000002.safetensors', 'File too large')
        self.assertEqual(self.checkpoints('first'), [])


class Checkpoints(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls('train').train('good', SMALL)
        assert made.returncode == 0, made.stderr
        with open(os.path.join(cls.folder, 'good/checkpoints', LATEST), 'rb') as file:
            cls.content = file.read()

    def resume(self, path, values=SMALL):
        return self.train('resumed', values, '--resume', path)

    def test_files_that_are_no_good_checkpoint(self):
        c = self.content
        cases = {'empty': (b'', []), 'random bytes': (os.urandom(5000), []), 'a recipe': (b'name: x\n' * 50, []),
                 'cut': (c[:-100], []), 'cut header': (c[:200], []), 'changed': (c[:-50] + b'x' + c[-49:], ['checksum']),
                 'other format': (c.replace(b'"format_version":"2"', b'"format_version":"9"'), ['version', '9']),
                 'huge header': (b'\xff' * 8 + c[8:], [])}
        self.assertEqual(c.count(b'"format_version":"2"'), 1)
        for what, (content, wanted) in cases.items():
            with self.subTest(what):
                self.write('bad.safetensors', content)
                self.refuses(self.resume('bad.safetensors'), 'bad.safetensors', *wanted)
                self.assertFalse(os.path.exists(self.path('resumed')))
                result = run('selene-inspect', 'bad.safetensors', cwd=self.folder)
                self.assertEqual((result.returncode, len(complaint(result))), (1, 1), result.stderr)

    def test_missing_checkpoint(self):
        self.refuses(self.resume('nowhere.safetensors'), 'nowhere.safetensors', 'No such file')
        self.assertFalse(os.path.exists(self.path('resumed')))

    def test_a_changed_recipe_is_refused_by_its_keys(self):
        changes = {'optim.lr': 0.5, 'train.seed': 9, 'model.dropout': 0.3, 'model.dim': 32, 'train.batch_size': 8}
        before = read_tensors(self.path('good/checkpoints', LATEST))
        for key, value in changes.items():
            with self.subTest(key):
                self.refuses(self.train('good', {**SMALL, 'train.updates': 6, key: value}), LATEST, key, str(value))
        self.assertEqual(read_tensors(self.path('good/checkpoints', LATEST)), before)

    def test_a_checkpoint_of_another_model(self):
        other = {**SMALL, 'model.attention': 'full', 'model.luna.projection_length': 16}
        self.refuses(self.resume(f'good/checkpoints/{LATEST}', other), LATEST, 'model.attention', 'full')

    def test_starting_anew_over_a_run_is_refused(self):
        self.refuses(self.train('good', SMALL, '--resume', 'none'), 'good', '--out')


class Usage(Case):
    def test_wrong_usage_exits_with_2(self):
        for words in (['selene-train'], ['selene-train', QUICKSTART, '--nonsense'], ['selene-prepare'],
                      ['selene-train', QUICKSTART, '--profile', 'x'], ['selene-prepare', 'nonsense'],
                      ['selene-prepare', 'listops'], ['selene-report'], ['selene-inspect']):
            with self.subTest(' '.join(words[:1] + words[1:][-2:])):
                result = run(*words, cwd=self.folder)
                self.assertEqual((result.returncode, result.stdout), (2, ''), result.stderr)
                self.assertTrue(complaint(result))

    def test_the_numbers_of_a_paper_are_in_the_sources(self):
        for words in (['table1', 'run'], ['table2', 'times.jsonl', '--numbers', 'none.yaml']):
            self.refuses(run('selene-report', '--paper', *words, cwd=self.folder),
                         "luna.yaml: is not there, wanted the paper's numbers" if words[0] == 'table1' else 'none.yaml: is not there',
                         '--numbers with recipes/paper/luna.yaml of the sources')

    def test_a_dry_run_writes_nothing(self):
        self.succeeds(self.train('dry', SMALL, '--dry-run'))
        self.assertFalse(os.path.exists(self.path('dry')))

    def test_cuda_without_a_module_says_why(self):
        result = self.train('cuda', SMALL, '--device', 'cuda')
        if result.returncode:
            self.refuses(result, 'libselene_cuda.so')
            self.assertFalse(os.path.exists(self.path('cuda')))
        self.refuses(run('selene-train', QUICKSTART, *settings({'data.path': 'data'}), '--device', 'gpu', cwd=self.folder),
                     'auto, cpu, cuda or the file of a module')


if __name__ == '__main__':
    unittest.main()
