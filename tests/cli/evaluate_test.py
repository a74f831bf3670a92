"""What selene-evaluate and selene-train make of data of another task, side or making, and of checkpoints whose metadata
is not what a training writes; outputs that would go over an input."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import time
import unittest

from common import SMALL, TIMEOUT, Case, complaint, program, run

MASK = (1 << 64) - 1
P = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)


def xxh64(data):
    def turn(x, n):
        return (x << n | x >> (64 - n)) & MASK

    def step(lane, word):
        return turn((lane + word * P[1]) & MASK, 31) * P[0] & MASK
    at, h = 0, P[4]
    if len(data) >= 32:
        lanes = [(P[0] + P[1]) & MASK, P[1], 0, -P[0] & MASK]
        for at in range(0, len(data) - 31, 32):
            lanes = [step(lane, word) for lane, word in zip(lanes, struct.unpack_from('<4Q', data, at))]
        at = len(data) // 32 * 32
        h = sum(turn(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ step(0, lane)) * P[0] + P[3]) & MASK
    h = (h + len(data)) & MASK
    for at in range(at, len(data) - 7, 8):
        h = (turn(h ^ step(0, struct.unpack_from('<Q', data, at)[0]), 27) * P[0] + P[3]) & MASK
    at = len(data) // 8 * 8
    if len(data) - at >= 4:
        h = (turn(h ^ struct.unpack_from('<I', data, at)[0] * P[0] & MASK, 23) * P[1] + P[2]) & MASK
        at += 4
    for byte in data[at:]:
        h = turn(h ^ byte * P[4] & MASK, 11) * P[0] & MASK
    for shift, factor in ((33, P[1]), (29, P[2]), (32, 1)):
        h = (h ^ h >> shift) * factor & MASK
    return h


def forge(source, target, nan=False, more=(), **changes):
    """A copy of a checkpoint with other metadata, whose checksum is right; each change maps the old text to the new.
    nan: every number of its tensors is NaN. more: names of empty tensors besides."""
    with open(source, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        header, tensors = json.loads(file.read(length)), file.read()
    if nan:
        tensors = b'\0\0\xc0\x7f' * (len(tensors) // 4)
    for key, change in changes.items():
        header['__metadata__'][key] = change(header['__metadata__'][key])
    header.update({name: {'dtype': 'F32', 'shape': [0], 'data_offsets': [len(tensors)] * 2} for name in more})
    header['__metadata__']['checksum'] = '0' * 16
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    whole = len(text).to_bytes(8, 'little') + text + tensors
    digits = f'{xxh64(whole):016x}'.encode()
    with open(target, 'wb') as file:
        file.write(whole.replace(b'"checksum":"' + b'0' * 16, b'"checksum":"' + digits, 1))


class Evaluate(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls('train')
        for size in (32, 64):
            made = run('selene-prepare', 'pathfinder', '--out', f'p{size}', '--count', 20, '--size', size, cwd=cls.folder)
            assert made.returncode == 0, made.stderr
        images = {'data.kind': 'pathfinder', 'data.path': 'p32', 'data.max_length': 2001}
        for out, values in (('lists', {}), ('images', images), ('mean', {'model.pooling': 'mean'}),
                            ('sines', {'model.positions': 'sinusoidal'})):
            result = case.train(out, {**SMALL, 'train.updates': 2, **values})
            assert result.returncode == 0, result.stderr

    def evaluate(self, *words, stdin=None, cwd=None):
        return subprocess.run([program('selene-evaluate'), *words, '--threads', '1'], cwd=cwd or self.folder, input=stdin,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def test_data_of_another_task_or_side(self):
        for data in ('p32/test.safetensors', 'p32'):
            self.refuses(self.evaluate('lists', data), 'p32/test.safetensors: is data of kind pathfinder', 'listops')
        for data in ('p64/test.safetensors', 'p64'):
            self.refuses(self.evaluate('images', data), 'p64/test.safetensors', '64 x 64', 'trained on 32 x 32')
        self.succeeds(self.evaluate('images', 'p32/valid.safetensors'), 'accuracy')
        for size in (32, 64):
            self.succeeds(run('selene-inspect', f'p{size}', '--examples', 1, '--png', f'{size}.png', cwd=self.folder))
        self.succeeds(self.evaluate('images', '32.png'), 'image 32 x 32')
        self.refuses(self.evaluate('images', '64.png'), '64.png: 64 x 64 pixels', '32 x 32')

    def test_a_model_of_nan_gives_no_answer(self):
        forge(self.path('images/checkpoints/last'), self.path('broken'), nan=True)
        self.succeeds(run('selene-inspect', 'p32', '--examples', 1, '--png', 'one.png', cwd=self.folder))
        self.refuses(self.evaluate('broken', 'one.png', '--predictions', 'never'), 'broken', 'NaN')
        self.assertFalse(os.path.exists(self.path('never')))

    def test_splits_of_different_making(self):
        shutil.copytree(self.path('p32'), self.path('mixed'))
        values = {**SMALL, 'data.kind': 'pathfinder', 'data.path': 'mixed', 'data.max_length': 5000}
        shutil.copy(self.path('p64/valid.safetensors'), self.path('mixed/valid.safetensors'))
        self.refuses(self.train('never', values), 'mixed/valid.safetensors', '4096 pixels', '1024')
        self.succeeds(run('selene-prepare', 'pathfinder', '--out', 'other', '--count', 30, cwd=self.folder))
        shutil.copy(self.path('other/valid.safetensors'), self.path('mixed/valid.safetensors'))
        self.succeeds(self.train('never', values, '--dry-run'), 'valid.safetensors: was made with other options', '"count":30')
        self.assertFalse(os.path.exists(self.path('never')))

    def test_another_test_set_at_the_same_path(self):
        shutil.copytree(self.path('data'), self.path('swapped'))
        self.succeeds(self.train('swap', {**SMALL, 'data.path': 'swapped'}))
        whole = self.evaluate('swap')
        self.assertNotIn('other examples', whole.stderr)
        self.assertRegex(whole.stdout, r'\naccuracy +0\.\d{4}\nloss +\d\.\d{4} nats\n')
        self.assertNotIn('other examples', self.evaluate('swap', '--examples', '10').stderr)
        made = run('selene-prepare', 'listops', '--out', 'swapped', '--train', 400, '--valid', 40, '--test', 40, '--min-length', 9,
                   '--max-length', 30, '--seed', 8, '--force', '--tsv', cwd=self.folder)
        self.succeeds(made)
        self.assertIn('other examples than the test set of the run', self.evaluate('swap').stderr)

    def test_from_another_folder(self):
        os.mkdir(self.path('elsewhere'))
        place = self.path('elsewhere')
        self.refuses(self.evaluate('../images', cwd=place), "p32: the folder of the recipe's data is not there", os.path.realpath(place))
        self.succeeds(self.evaluate('../images', '../p32', cwd=place), 'accuracy')

    def test_the_first_examples_alone_are_looked_at(self):
        with open(self.path('lines'), 'w', encoding='utf-8') as file:
            file.write('[MAX 2 9 ]\n' * 3 + '[MAX ' + '2 ' * 40 + ']\n')
        self.assertIn('lines: 1 of 4 examples are longer', self.evaluate('lists', 'lines').stderr)
        result = self.evaluate('lists', 'lines', '--examples', '3')
        self.assertNotIn('longer', result.stderr)
        self.assertEqual(len([line for line in result.stdout.splitlines() if 'MAX' in line]), 3)

    def test_padding_that_counts_is_told(self):
        two = '[MAX 2 9 ]\n[MIN 4 7 [MAX 1 2 3 ] ]\n'
        self.assertIn('model.pooling is mean: padding counts', self.evaluate('mean', '-', stdin=two).stderr)
        self.assertNotIn('padding', self.evaluate('mean', '-', stdin=two.splitlines()[0]).stderr)
        self.assertNotIn('padding', self.evaluate('lists', '-', stdin=two).stderr)

    def test_metadata_that_no_training_writes(self):
        source = self.path('lists/checkpoints/last')
        forge(source, self.path('same'))
        self.succeeds(self.evaluate('same', 'data'), 'accuracy')
        for classes in ('many', '10abc', '', ' 10', '9' * 30, '-1', '2'):
            with self.subTest(classes):
                forge(source, self.path('forged'), classes=lambda _, text=classes: text)
                self.refuses(self.evaluate('forged', 'data'), 'forged: is of ', 'classes, wanted the 10')
        forge(source, self.path('forged'), update=lambda text: text + '\0')
        self.refuses(self.evaluate('forged', 'data'), 'forged: __metadata__ "update" is ', 'without a byte of 0')
        forge(source, self.path('forged'), vocabulary=lambda text: text.replace('"[MIN"', '"[MINI"'))
        self.refuses(self.evaluate('forged', 'data'), 'forged: its vocabulary is not that of')

    def test_a_state_that_no_training_writes(self):
        source, values = self.path('lists/checkpoints/last'), {**SMALL, 'train.updates': 9}
        forge(source, self.path('forged'))
        self.succeeds(self.train('alike', values, '--resume', 'forged'), 'resumed from forged')
        forge(source, self.path('forged'), state=lambda text: text.replace('"update":', '"update":1', 1))
        self.refuses(self.train('other', values, '--resume', 'forged'), 'forged: its state is of update 1', ', wanted ')
        forge(source, self.path('forged'), more=['optimizer.third.x'])
        self.refuses(self.train('more', values, '--resume', 'forged'), 'forged: tensor optimizer.third.x is of no parameter')

    def test_lengths_that_no_machine_has_memory_for(self):
        def long(text):
            return text.replace('max_length: 32', 'max_length: 16777216')
        start = time.monotonic()
        forge(self.path('lists/checkpoints/last'), self.path('forged'), recipe=long)  # its positions are learned
        self.refuses(self.evaluate('forged', 'data'), 'forged: tensor', 'embed_positions.weight', 'wants f32[16777218, 16]')
        forge(self.path('sines/checkpoints/last'), self.path('forged'), recipe=long)
        self.succeeds(self.evaluate('forged', 'data'), 'accuracy')  # the table has the rows that the data needs
        self.succeeds(self.train('long', {**SMALL, 'model.positions': 'sinusoidal', 'data.max_length': 1 << 24}, '--dry-run'))
        self.assertLess(time.monotonic() - start, 20)


class Outputs(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls('train').train('run', {**SMALL, 'train.updates': 2})
        assert made.returncode == 0, made.stderr
        made = run('selene-prepare', 'pathfinder', '--out', 'images', '--count', 20, cwd=cls.folder)
        assert made.returncode == 0, made.stderr

    def bytes_below(self, *folders):
        return {path: pathlib.Path(path).read_bytes() for folder in folders for place, _, names in os.walk(self.path(folder))
                for path in (os.path.join(place, name) for name in names)}

    def test_no_output_is_an_input(self):
        os.link(self.path('data/test.safetensors'), self.path('hard.safetensors'))
        os.symlink('run/metrics.jsonl', self.path('soft'))
        os.symlink('images/train.safetensors', self.path('soft.png'))
        before = self.bytes_below('run', 'data', 'images')
        evaluate = ('selene-evaluate', 'run', '--device', 'cpu', '--predictions')
        newest = 'run/checkpoints/update-00000002.safetensors'
        for words in ((*evaluate, 'run/checkpoints/best'), (*evaluate, newest), (*evaluate, 'hard.safetensors'), (*evaluate, 'soft'),
                      (*evaluate, 'data/train.safetensors'), (*evaluate, 'data/dataset.json'), (*evaluate, 'run/recipe.yaml'),
                      ('selene-evaluate', newest, 'hard.safetensors', '--predictions', 'data/test.safetensors'),
                      ('selene-inspect', 'images', '--png', 'soft.png'),
                      ('selene-inspect', 'images/train.safetensors', '--png', 'soft.png'),
                      ('selene-report', 'run', '--out', 'soft'), ('selene-report', 'run', '--out', newest),
                      ('selene-report', 'run', '--out', 'run/recipe.yaml')):
            with self.subTest(words):
                result = run(*words, cwd=self.folder)
                self.assertEqual((result.returncode, len(complaint(result))), (1, 1), result.stderr)
                self.assertIn('which is read; give another name', result.stderr)
                self.assertEqual(self.bytes_below('run', 'data', 'images'), before)
        self.succeeds(run(*evaluate, 'run/answers.tsv', cwd=self.folder))
        self.succeeds(run(*evaluate, 'run/answers.tsv', cwd=self.folder))

    def test_a_folder_that_is_read_is_not_made(self):
        before = self.bytes_below('data')
        os.mkdir(self.path('data/sub'))
        for out, source in (('data', 'data'), ('.', 'data'), ('data', 'data/sub')):
            result = run('selene-prepare', 'listops', '--from', source, '--out', out, '--force', cwd=self.folder)
            self.refuses(result, 'holds the files that are to be read')
        self.assertEqual(self.bytes_below('data'), before)
        os.rmdir(self.path('data/sub'))


if __name__ == '__main__':
    unittest.main()
