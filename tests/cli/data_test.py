"""The tasks of the Long Range Arena from official files to a trained model: preparing, looking, training, evaluating;
files that are damaged; preparing that is interrupted. The files are stand-ins in the official layouts."""
import bz2
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from common import SMALL, TIMEOUT, Case, complaint, program, run

LENGTHS = {'text': 200, 'retrieval': 100, 'image': 1026, 'pathfinder': 1026}
CIFAR_RECORD = 3073


class Prepared(Case):
    """Raw files of every task in raw/."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for kind, sizes in (('text', (40, 12)), ('image', (50, 12)), ('retrieval', (24, 12))):
            words = ['--train', sizes[0], '--valid', 12, '--test', sizes[1]]
            made = run('selene-prepare', 'stand-in', kind, '--out', f'raw/{kind}', *words, cwd=cls.folder)
            assert made.returncode == 0, made.stderr
        made = run('selene-prepare', 'pathfinder-images', '--out', 'raw/pathfinder', '--count', 20, '--per-batch', 7,
                   '--level', 'easy', cwd=cls.folder)
        assert made.returncode == 0, made.stderr

    def raw(self, kind):
        return f'raw/{kind}' if kind != 'pathfinder' else f'raw/{kind}/pathfinder32/curv_baseline'

    def prepare(self, kind, out, *words, raw=None):
        return run('selene-prepare', kind, '--from', raw or self.raw(kind), '--out', out, *words, cwd=self.folder)


class Tasks(Prepared):
    def recipe(self, kind):
        # Sizes at which pairs of unequal lengths once needed more memory than was planned.
        wider = {'model.dim': 32, 'model.ffn_dim': 32, 'model.head_dim': 32, 'model.luna.projection_length': 16}
        return {**SMALL, **(wider if kind == 'retrieval' else {}), 'data.kind': kind, 'data.path': f'prepared/{kind}', 'data.max_length': LENGTHS[kind],
                'model.towers': 2 if kind == 'retrieval' else 1}

    def test_from_official_files_to_an_accuracy(self):
        for kind in LENGTHS:
            with self.subTest(kind):
                self.succeeds(self.prepare(kind, f'prepared/{kind}'), 'made')
                self.succeeds(self.prepare(kind, f'prepared/{kind}'), 'already there')
                self.succeeds(run('selene-inspect', f'prepared/{kind}', cwd=self.folder), 'example 0: ', 'checksum verified')
                self.succeeds(self.train(f'runs/{kind}', self.recipe(kind)), 'finished update=4')
                result = run('selene-evaluate', f'runs/{kind}', '--json', '--split', 'valid', cwd=self.folder)
                self.succeeds(result)
                said = json.loads(result.stdout)
                self.assertEqual(sum(map(sum, said['confusion'])), said['examples'])
                right = sum(row[i] for i, row in enumerate(said['confusion']))
                self.assertEqual(right, round(said['accuracy'] * said['examples']))
                self.assertEqual(right, sum(bucket['correct'] for bucket in said['by_length']))
                self.succeeds(run('selene-evaluate', f'runs/{kind}', '--confusion', cwd=self.folder), 'label \\ answer')

    def evaluate(self, kind, *words, stdin=None):
        if not os.path.exists(self.path('runs', kind)):
            self.succeeds(self.prepare(kind, f'prepared/{kind}'))
            self.succeeds(self.train(f'runs/{kind}', self.recipe(kind)))
        return subprocess.run([program('selene-evaluate'), f'runs/{kind}', *words], cwd=self.folder, input=stdin,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def test_examples_of_ones_own(self):
        result = self.evaluate('text', '-', stdin='A fine film.\nAn awful film.\n')
        self.succeeds(result)
        self.assertEqual(len(result.stdout.splitlines()), 2)
        self.assertRegex(result.stdout.splitlines()[0], r'^(positive|negative)  [01]\.\d{4}  A fine film\.$')
        self.succeeds(self.evaluate('text', '-', stdin='positive\tA fine film.\n'), '1 examples', 'accuracy')
        self.succeeds(self.evaluate('retrieval', '-', stdin='one text\tanother text\n'), 'one text | another text')
        for first, second in (('a text', 'another'), ('abcdef', 'abcdefg'), ('x', 'y' * 90)):
            self.succeeds(self.evaluate('retrieval', '-', stdin=f'{first}\t{second}\n'), f'{first} | {second[:40]}')
        self.refuses(self.evaluate('retrieval', '-', stdin='one text\n'), 'stdin:1', '1 columns')
        self.refuses(self.evaluate('text', '-', stdin=''), 'stdin', 'no example')
        self.refuses(self.evaluate('text', self.write('lone.txt', b'one\rtwo\r')), 'lone.txt: its lines end in CR alone')
        self.refuses(self.evaluate('text', self.write('inner.txt', b'A fine film.\nBest\rWorst\r\n')), 'inner.txt:2: a CR within')
        for text in ('one\r\r\n', 'BZh is a film', '<html> in a review', '<!DOCTYPE html>'):
            self.succeeds(self.evaluate('text', self.write('one.txt', text)), f'  {text.rstrip()}\n')
        self.refuses(self.evaluate('text', self.write('packed', bz2.compress(b'one'))), 'packed: is compressed by bzip2')
        self.refuses(self.evaluate('text', self.write('wide.txt', 'one\n'.encode('utf-16'))), 'wide.txt: is UTF-16 text')
        self.refuses(self.evaluate('text', '-', stdin='fine\nPositive\tA fine film.\n'), 'stdin:2', "'Positive'", 'negative')
        self.refuses(self.evaluate('text', 'runs/text/checkpoints/best'), 'runs/text/checkpoints/best', 'byte')
        self.succeeds(self.evaluate('retrieval', '-', stdin='1\ta\tb\tone\ttwo\n'), '1 examples')
        said = json.loads(self.evaluate('text', '-', '--json', stdin='one\ntwo\nthree\n').stdout)
        self.assertEqual((said['examples'], len(said['answers'])), (3, 3))
        picture = f'{self.raw("pathfinder")}/imgs/0/sample_0.png'
        self.succeeds(self.evaluate('pathfinder', picture), 'image 32 x 32')
        self.succeeds(self.evaluate('image', picture), 'image 32 x 32')
        self.succeeds(run('selene-inspect', 'prepared/image', '--examples', 9, '--png', 'sheet.png', cwd=self.folder))
        self.refuses(self.evaluate('image', 'sheet.png'), 'sheet.png', '32 x 32')
        kept = run('selene-inspect', 'prepared/image', '--png', 'prepared/image/test.safetensors', cwd=self.folder)
        self.assertIn('--png wants another', complaint(kept)[0])
        self.succeeds(run('selene-inspect', 'prepared/image/test.safetensors', cwd=self.folder), 'verified')
        self.refuses(self.evaluate('image', self.write('no.png', 'x')), 'no.png')

    def test_pairs_of_all_lengths_fit_the_planned_memory(self):
        lines = [f'{i % 2}.0\ta\tb\t{"x" * (1 + i * 37 % 97)}\t{"y" * (1 + i * 11 % 89)}\n' for i in range(120)]
        os.makedirs(self.path('raw/pairs'), exist_ok=True)
        for part in ('train', 'eval', 'test'):
            self.write(f'raw/pairs/new_aan_pairs.{part}.tsv', ''.join(lines))
        self.succeeds(self.prepare('retrieval', 'prepared/pairs', raw='raw/pairs'))
        for pooling in ('cls', 'mean', 'p'):
            with self.subTest(pooling):
                values = {**self.recipe('retrieval'), 'data.path': 'prepared/pairs', 'train.batch_size': 2,
                          'model.pooling': pooling, 'train.updates': 40, 'train.checkpoint_every': 40,
                          'train.validate_every': 40}
                self.succeeds(self.train(f'runs/pairs-{pooling}', values), 'finished update=40')

    def test_results_that_cannot_be_written_are_a_failure(self):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            result = subprocess.run([program('selene-inspect'), 'data'], cwd=self.folder, stdout=full, text=True,
                                    stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn('standard output cannot be written', result.stderr)

    def test_a_finished_run_is_known_without_its_data(self):
        self.evaluate('text')
        os.rename(self.path('prepared/text'), self.path('prepared/away'))
        try:
            result = self.train('runs/text', self.recipe('text'))
            self.succeeds(result, 'finished update=4', 'nothing to train')
            changed = self.train('runs/text', {**self.recipe('text'), 'optim.lr': 0.5})
            self.refuses(changed, 'prepared/text')
        finally:
            os.rename(self.path('prepared/away'), self.path('prepared/text'))


class Sources(Prepared):
    """What people give for --from in the place of the right folder."""

    def given(self, kind, *names):
        """A folder with these files, given for the official one."""
        shutil.rmtree(self.path('given'), ignore_errors=True)
        for name in names:
            os.makedirs(os.path.dirname(self.path('given', name)), exist_ok=True)
            self.write(f'given/{name}', 'x')
        return self.prepare(kind, 'unmade', raw='given')

    def test_other_forms_and_other_data(self):
        binary = 'cifar-10-binary.tar.gz'
        for kind, name, wanted in (('image', 'data_batch_1', ("CIFAR-10's Python version", binary)),
                                   ('image', 'data_batch_1.mat', ('Matlab version', binary)),
                                   ('image', 'train.bin', ('CIFAR-100', binary)), ('image', 'meta', ('CIFAR-100', binary)),
                                   ('image', 'cat.png', ('has no data_batch_1.bin', binary)),
                                   ('text', 'IMDB Dataset.csv', ('one table', 'aclImdb_v1.tar.gz')),
                                   ('text', 'unsup/1_0.txt', ('has no train/neg', 'aclImdb_v1.tar.gz')),
                                   ('retrieval', 'aan.csv', ('new_aan_pairs.train.tsv', 'tsv_data')),
                                   ('listops', 'train_d20s.tsv', ('basic_train.tsv', 'listops-1000')),
                                   ('pathfinder', 'imgs/0/sample_0.png', ('has no metadata', 'curv_contour_length_14'))):
            with self.subTest(f'{kind}: {name}'):
                self.refuses(self.given(kind, name), 'given: ', *wanted)
                self.assertFalse(os.path.exists(self.path('unmade')))

    def test_a_level_too_high_or_too_low_and_archives(self):
        os.makedirs(self.path('deep'), exist_ok=True)
        for kind, below in (('text', 'train'), ('image', 'sub'), ('retrieval', 'sub'), ('pathfinder', 'imgs')):
            with self.subTest(kind):
                right = self.path('deep', kind)
                shutil.copytree(self.path(self.raw(kind)), right)
                self.refuses(self.prepare(kind, 'unmade', raw='deep'), 'deep: has no', f'deep/{kind} has; give that')
                os.makedirs(self.path(right, below), exist_ok=True)
                self.refuses(self.prepare(kind, 'unmade', raw=f'deep/{kind}/{below}'), f'deep/{kind} has; give that')
                shutil.rmtree(right)
                self.refuses(self.prepare(kind, 'unmade', raw=self.write('all.tar.gz', 'x')), 'is a file', 'unpacked')
                self.refuses(self.prepare(kind, 'unmade', raw='nowhere'), 'nowhere: is not there, wanted the folder')

    def test_another_form_below_the_folder(self):
        self.refuses(self.given('image', 'cifar-10-batches-py/data_batch_1'), "given/cifar-10-batches-py is CIFAR-10's Python version",
                     'cifar-10-binary.tar.gz')
        self.refuses(self.given('text', 'a/b/imdb.npz'), 'given/a/b is the reviews as word numbers', 'aclImdb_v1.tar.gz')

    def test_texts_of_other_tools(self):
        os.makedirs(self.path('texts'))
        good = 'Source\tTarget\n[MAX 2 9 ]\t9\n'
        for part in ('val', 'test'):
            self.write(f'texts/basic_{part}.tsv', good)
        for text in (good.encode('utf-8-sig'), '\n' + good + '\r\n\n', good.replace('\n', ' \r\n'), good.rstrip()):
            self.write('texts/basic_train.tsv', text)
            self.succeeds(self.prepare('listops', 'from-texts', '--force', raw='texts'), '1 train')
        for text, wanted in ((good.encode('utf-16'), 'is UTF-16 text'), (good.encode('utf-16-le'), 'UTF-16'),
                             (b'\x1f\x8b\x08', 'compressed by gzip'), (good.replace('\n', '\r'), 'CR alone'),
                             ('\n\n' + good + '[MAX 2 9 ]\t8\n', 'basic_train.tsv:5: label 8')):
            self.write('texts/basic_train.tsv', text)
            self.refuses(self.prepare('listops', 'unmade', raw='texts'), 'basic_train.tsv', wanted)


class Damaged(Prepared):
    """Each case changes a copy of good raw files; nothing may be left of what was being made."""

    def copy(self, kind):
        shutil.rmtree(self.path('bad'), ignore_errors=True)
        shutil.copytree(self.path(self.raw(kind)), self.path('bad'))

    def refused(self, kind, *wanted):
        self.refuses(self.prepare(kind, 'unmade', raw='bad'), *wanted)
        self.assertFalse([name for name in os.listdir(self.folder) if name.startswith('unmade')])

    def test_image_batches(self):
        self.copy('image')
        with open(self.path('bad/data_batch_3.bin'), 'r+b') as file:
            file.truncate(5 * CIFAR_RECORD + 100)
        self.refused('image', 'data_batch_3.bin', str(5 * CIFAR_RECORD + 100))
        os.remove(self.path('bad/data_batch_3.bin'))
        self.refused('image', 'data_batch_3.bin')
        os.mkfifo(self.path('bad/data_batch_3.bin'))
        self.refused('image', 'data_batch_3.bin', 'pipe')

    def test_reviews(self):
        self.copy('text')
        for name in ('train/pos/900_9', 'test/neg/901_1'):
            self.write(f'bad/{name}.txt', ' \n')
        result = self.prepare('text', 'blank', raw='bad')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(complaint(result), ['warning: bad: left out 2 reviews without text'])
        self.write('bad/train/pos/notes.txt', 'x')
        self.refused('text', 'notes.txt')
        os.remove(self.path('bad/train/pos/notes.txt'))
        os.mkfifo(self.path('bad/train/pos/999_9.txt'))
        self.refused('text', '999_9.txt', 'no file')
        shutil.rmtree(self.path('bad/train/pos'))
        self.refused('text', 'train/pos')

    def test_more_examples_than_there_are(self):
        for kind, split, there in (('text', 'train', 40), ('image', 'valid', 5), ('retrieval', 'test', 12),
                                   ('pathfinder', 'train', 16)):
            with self.subTest(kind):
                self.copy(kind)
                result = self.prepare(kind, 'unmade', f'--{split}', there + 1, raw='bad')
                self.refuses(result, f'{there + 1} examples are wanted for {split}, there are {there}')
                self.assertFalse(os.path.exists(self.path('unmade')))

    def test_expressions(self):
        os.makedirs(self.path('bad'), exist_ok=True)
        for part, label in (('train', 9), ('val', 8), ('test', 9)):
            self.write(f'bad/basic_{part}.tsv', f'Source\tTarget\n[MAX 2 9 ]\t{label}\n')
        self.refused('listops', 'basic_val.tsv:2', 'label 8', 'is 9')
        self.write('bad/basic_val.tsv', 'Source\tTarget\n[MAX 2 9 ]\t9\n')
        self.refuses(self.prepare('listops', 'unmade', '--test', 2, raw='bad'), '2 examples are wanted for test, there are 1')
        self.succeeds(self.prepare('listops', 'all', raw='bad'), 'made')

    def test_another_split_in_the_place_of_one_and_a_file_that_is_gone(self):
        self.succeeds(self.prepare('text', 'mixed'), '40 train, 12 valid, 12 test examples')
        shutil.copy(self.path('mixed/train.safetensors'), self.path('mixed/valid.safetensors'))
        values = {**SMALL, 'data.kind': 'text', 'data.path': 'mixed', 'data.max_length': 100}
        self.refuses(self.train('never', values), 'mixed/valid.safetensors', 'holds the split train, wanted valid')
        self.refuses(self.prepare('text', 'mixed'), 'not all of it')
        os.remove(self.path('mixed/valid.safetensors'))
        gone = run('selene-inspect', 'mixed', cwd=self.folder)
        self.assertEqual((gone.returncode, len(complaint(gone))), (1, 1))
        self.assertIn('mixed/valid.safetensors: is not there', complaint(gone)[0])
        self.succeeds(self.prepare('text', 'mixed', '--force'), 'made')
        self.succeeds(self.prepare('text', 'mixed', '--force'), 'made')
        self.succeeds(self.prepare('text', 'mixed'), 'already there')

    def test_a_word_that_is_no_subcommand_is_named(self):
        self.assertIn('txt', run('selene-prepare', 'txt').stderr)
        self.assertEqual(run('selene-prepare', 'txt').returncode, 2)
        self.assertEqual(run('selene-prepare').returncode, 2)

    def test_pairs(self):
        self.copy('retrieval')
        path = self.path('bad/new_aan_pairs.eval.tsv')
        with open(path, encoding='utf-8') as file:
            lines = file.readlines()
        self.write('bad/new_aan_pairs.eval.tsv', ''.join(lines[:2] + ['0.0\t1\t2\tonly one text\n'] + lines[2:]))
        self.refused('retrieval', 'new_aan_pairs.eval.tsv:3', '4 columns', '5')

    def test_pathfinder_files(self):
        self.copy('pathfinder')
        open(self.path('bad/imgs/0/sample_2.png'), 'wb').close()
        with open(self.path('bad/metadata/1.npy'), encoding='utf-8') as file:
            lines = file.readlines()
        self.write('bad/metadata/1.npy', ''.join(lines[:5]))
        result = self.prepare('pathfinder', 'skipped', raw='bad')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(complaint(result), ['warning: bad: left out 1 images of 0 bytes and 2 that no line of the metadata names'])
        self.write('bad/metadata/1.npy', ''.join(lines + lines[3:4]))
        self.refused('pathfinder', '1.npy:8', 'a second time')
        self.write('bad/metadata/1.npy', ''.join(lines))
        with open(self.path('skipped/dataset.json'), encoding='utf-8') as file:
            self.assertIn('1', [str(value) for key, value in json.load(file).items() if 'empty' in key])
        os.remove(self.path('bad/imgs/0/sample_3.png'))
        self.refused('pathfinder', '0.npy:4', 'sample_3.png')
        self.copy('pathfinder')
        self.write('bad/metadata/1.npy', '')
        self.refused('pathfinder', '1.npy', 'empty')
        os.remove(self.path('bad/metadata/1.npy'))
        self.refused('pathfinder', '1.npy', 'imgs/1')

    def test_an_interrupted_one_is_never_taken_for_a_whole_one(self):
        for number in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(number.name):
                with subprocess.Popen([program('selene-prepare'), 'pathfinder', '--out', 'broken', '--count', '200000'],
                                      cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                    end = time.monotonic() + TIMEOUT
                    while not os.path.exists(self.path('broken/.selene-partial')):
                        self.assertLess(time.monotonic(), end)
                        time.sleep(0.01)
                    process.send_signal(number)
                    self.assertNotEqual(process.wait(TIMEOUT), 0)
                self.assertEqual(os.path.exists(self.path('broken')), number == signal.SIGKILL)
        values = {**SMALL, 'data.kind': 'pathfinder', 'data.path': 'broken', 'data.max_length': 1026}
        self.refuses(self.train('never', values), 'broken: is not whole', 'selene-prepare')
        self.assertEqual(run('selene-inspect', 'broken', cwd=self.folder).returncode, 1)
        self.succeeds(run('selene-prepare', 'pathfinder', '--out', 'broken', '--count', 20, cwd=self.folder), 'made')
        self.assertEqual(len(os.listdir(self.path('broken'))), 4)


if __name__ == '__main__':
    unittest.main()
