"""The character language model as users meet it: prepared text, training that is killed and goes on, measures by name."""
import json
import os
import signal
import subprocess
import unittest

from common import SOURCE, Case, program, read_metrics, read_tensors, run, sanitized, settings, wait_for_update

TEXT = ''.join(f'{i} green bottles stood on the wall, and é if {i % 7} should fall\n' for i in range(400))
SMALL = {'data.path': 'data', 'data.max_length': 32, 'model.layers': 1, 'model.dim': 32, 'model.ffn_dim': 64, 'model.heads': 2,
         'model.dropout': 0.1, 'train.updates': 40, 'train.log_every': 1, 'train.validate_every': 20, 'train.checkpoint_every': 10,
         'train.batch_size': 8, 'train.threads': 2, 'train.validate_examples': 20}


class Characters(Case):
    @classmethod
    def setUpClass(cls):
        super(Case, cls).setUpClass()
        with open(os.path.join(cls.folder, 'book.txt'), 'w', encoding='utf-8') as file:
            file.write(TEXT)
        made = run('selene-prepare', 'characters', 'book.txt', '--out', 'data', cwd=cls.folder)
        assert made.returncode == 0, made.stderr

    def command(self, out, values, *more):
        return [os.path.join(SOURCE, 'recipes/characters.yaml'), '--out', out, *settings({**SMALL, **values}), *more]

    def test_killed_and_resumed_it_ends_in_the_same_bits(self):
        whole = self.train('whole', {})
        self.assertEqual(whole.returncode, 0, whole.stderr)
        for kind in (signal.SIGKILL, signal.SIGTERM):
            with subprocess.Popen([program('selene-train'), *self.command('broken', {})], cwd=self.folder,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                wait_for_update(process, self.path('broken/metrics.jsonl'), 12)
                process.send_signal(kind)
        result = self.train('broken', {})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('resumed from', result.stderr)
        name = 'checkpoints/update-00000040.safetensors'
        self.assertEqual(read_tensors(self.path('broken', name))[0], read_tensors(self.path('whole', name))[0])
        self.assertEqual(read_metrics(self.path('broken/metrics.jsonl')), read_metrics(self.path('whole/metrics.jsonl')))
        rows = read_metrics(self.path('whole/metrics.jsonl'))
        bits = [row['bits_per_character'] for row in rows if row['kind'] == 'valid']
        self.assertLess(bits[-1], bits[0])
        self.assertEqual(rows[-1]['kind'], 'test')
        self.assertIn('perplexity', rows[-1])
        eager = self.train('eager', {}, '--no-graph')
        self.assertEqual(eager.returncode, 0, eager.stderr)
        self.assertEqual(read_tensors(self.path('eager', name))[0], read_tensors(self.path('whole', name))[0])

    def test_programs_take_its_measures_by_name(self):
        self.succeeds(self.train('run', {'train.updates': 10}))
        found = json.loads(run('selene-evaluate', 'run', '--json', cwd=self.folder).stdout)
        self.assertAlmostEqual(found['bits_per_character'] * 0.6931471805599453, found['loss'])
        rows = read_metrics(self.path('run/metrics.jsonl'))
        self.assertAlmostEqual(found['bits_per_character'], rows[-1]['bits_per_character'])
        self.succeeds(run('selene-evaluate', 'run', 'book.txt', '--examples', 3, cwd=self.folder), '3 examples', 'perplexity')
        self.refuses(run('selene-evaluate', 'run', '--confusion', cwd=self.folder), 'language_model', '--confusion')
        self.refuses(run('selene-evaluate', 'run', '--predictions', 'p', cwd=self.folder), 'language_model', '--predictions')
        self.succeeds(run('selene-inspect', 'run', '--show', 'characters', cwd=self.folder), '233')
        self.succeeds(run('selene-inspect', 'data', '--examples', 1, cwd=self.folder), 'green bottles', 'characters')
        self.succeeds(run('selene-report', 'run', '--out', 'page.html', cwd=self.folder))
        with open(self.path('page.html'), encoding='utf-8') as page:
            self.assertIn('bits_per_character', page.read())

    def test_what_does_not_go_together_is_refused(self):
        self.refuses(self.train('never', {'train.best_metric': 'f1'}), 'train.best_metric is', 'bits_per_character')
        self.refuses(self.train('never', {'data.kind': 'listops'}), 'data.kind is listops, wanted characters')
        self.refuses(self.train('never', {'model.attention': 'luna'}), '--set model.attention=luna: ', 'a causal form')
        self.refuses(self.train('never', {'task': 'classification', 'train.best_metric': 'loss'}), 'data.kind is characters')
        run('selene-prepare', 'listops', '--out', 'lists', '--train', 20, '--valid', 5, '--test', 5, cwd=self.folder)
        self.refuses(self.train('never', {'data.path': 'lists'}), 'is data of kind listops')
        self.assertFalse(os.path.exists(self.path('never')))

    def test_texts_that_cannot_be_prepared(self):
        for name, content, words in (('none', b'', ['none: is empty']), ('latin', b'caf\xe9 ', ['latin: byte 4', 'UTF-8']),
                                     ('short', b'abc', ['short: with --test-share 0.05 no characters are left for test']),
                                     ('zip', b'\x1f\x8b\x08\0', ['zip: is compressed'])):
            self.write(name, content)
            self.refuses(run('selene-prepare', 'characters', name, '--out', 'new', cwd=self.folder), *words)
        self.assertFalse(os.path.exists(self.path('new')))
        self.write('other', 'other letters: ñ')
        self.succeeds(run('selene-prepare', 'characters', 'book.txt', '--valid', 'other', '--test', 'other', '--out', 'given',
                          cwd=self.folder), 'made')
        self.succeeds(run('selene-prepare', 'characters', './book.txt', '--valid', 'other', '--test', 'other', '--out', 'given',
                          cwd=self.folder), 'already there')  # the contents decide, not their names
        self.write('twelve', 'abcdefghijkl')
        halves = ('--valid-share', 0.5, '--test-share', 0.5)
        self.refuses(run('selene-prepare', 'characters', 'twelve', *halves, '--out', 'new', cwd=self.folder),
                     'with --valid-share 0.5 no characters are left for train')
        wrong = run('selene-prepare', 'characters', 'twelve', '--valid-share', 'nan', '--out', 'new', cwd=self.folder)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("--valid-share: 'nan', wanted a number from 0.000001 to 0.5", wrong.stderr)

    def test_descriptions_of_another_format_and_of_none(self):
        self.succeeds(run('selene-prepare', 'characters', 'book.txt', '--out', 'again', cwd=self.folder))
        with open(self.path('again/dataset.json'), encoding='utf-8') as file:
            text = file.read()
        prepare = ('selene-prepare', 'characters', 'book.txt', '--out', 'again')
        self.write('again/dataset.json', text.replace('"format": 3', '"format": 2'))
        self.refuses(run(*prepare, cwd=self.folder), 'data set of format 2, wanted 3; --force makes it anew')
        self.succeeds(run(*prepare, '--force', cwd=self.folder), 'made')
        for broken in ('', '{"kind": 7'):
            self.write('again/dataset.json', broken)
            self.refuses(run(*prepare, '--force', cwd=self.folder), 'again/dataset.json', 'remove again, or give another folder')

    def test_a_dry_run_needs_no_memory_that_the_run_does_not(self):
        if sanitized('selene-train'):
            self.skipTest('AddressSanitizer takes more address space')
        # The scores of 8 heads over 20,000 tokens, which the floor is measured with, would be 13 GB.
        self.write('long.txt', TEXT * 3)
        self.succeeds(run('selene-prepare', 'characters', 'long.txt', '--out', 'long', cwd=self.folder))
        words = [*self.command('never', {'data.path': 'long', 'data.max_length': 20000, 'model.heads': 8, 'train.batch_size': 1}),
                 '--dry-run']
        self.succeeds(run('selene-train', *words, cwd=self.folder, space_limit=4 << 30), 'of matrix products')

    def test_characters_that_the_model_does_not_know_are_counted(self):
        self.write('snow', 'green ☃☃ wall')
        self.succeeds(run('selene-prepare', 'characters', 'book.txt', '--valid', 'snow', '--test', 'book.txt', '--out', 'known',
                          cwd=self.folder))
        told = '2 of its 13 characters are not in the training text'
        self.succeeds(self.train('unseen', {'train.updates': 5, 'data.path': 'known'}), 'valid.safetensors: ' + told)
        self.succeeds(run('selene-evaluate', 'unseen', 'snow', cwd=self.folder), 'snow: ' + told)
        self.assertNotIn('training text', run('selene-evaluate', 'unseen', cwd=self.folder).stderr)

    def test_a_run_of_another_text_is_told_by_its_examples(self):
        self.succeeds(self.train('told', {'train.updates': 5}))
        self.write('digits', '0123456789' * 60)
        self.succeeds(run('selene-prepare', 'characters', 'digits', '--out', 'numbers', cwd=self.folder))
        os.rename(self.path('data'), self.path('data-before'))
        os.rename(self.path('numbers'), self.path('data'))
        try:
            for updates in (5, 9):
                self.refuses(self.train('told', {'train.updates': updates}), 'was trained on other examples than data/train')
        finally:
            os.rename(self.path('data'), self.path('numbers'))
            os.rename(self.path('data-before'), self.path('data'))


if __name__ == '__main__':
    unittest.main()
