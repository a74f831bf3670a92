"""Files that programs read and write at the same time as others: data that is changed in place under a training; outputs
that would go over an input."""
import os
import subprocess
import unittest

from common import MODEL, SMALL, TIMEOUT, Case, FolderCase, program, run, wait_for_update


class ChangedData(Case):
    def train_and_change(self, out, values, path, change):
        """The result of a training under which `change` does something to the open file."""
        with subprocess.Popen([program('selene-train'), *self.command(out, values)], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_for_update(process, self.path(out, 'metrics.jsonl'), 2)
            with open(path, 'r+b') as file:
                change(file)
            written = process.communicate(timeout=TIMEOUT)
            return subprocess.CompletedProcess(process.args, process.returncode, *written)

    def test_data_changed_in_place_under_a_training(self):
        values = {**MODEL, 'train.updates': 100000, 'train.checkpoint_every': 100000, 'train.validate_every': 100000}
        path = self.path('data/train.safetensors')
        with open(path, 'rb') as file:
            good = file.read()
        changes = {'cut': lambda file: file.truncate(4096), 'labels': lambda file: (file.seek(len(good) // 4), file.write(b'\xff' * 4000))}
        for what, change in changes.items():
            with self.subTest(what):
                result = self.train_and_change(what, values, path, change)
                with open(path, 'wb') as file:
                    file.write(good)
                self.refuses(result, 'data/train.safetensors', 'was changed while it was in use')
                self.assertTrue([name for name in self.checkpoints(what) if name.startswith('update-')])

    def test_a_validation_set_that_is_cut(self):
        path = self.path('data/valid.safetensors')
        with open(path, 'rb') as file:
            good = file.read()
        values = {**MODEL, 'train.updates': 100000, 'train.checkpoint_every': 100000, 'train.validate_every': 40}
        result = self.train_and_change('valid', values, path, lambda file: file.truncate(100))
        with open(path, 'wb') as file:
            file.write(good)
        self.refuses(result, 'data/valid.safetensors', 'was changed while it was in use')
        self.assertTrue([name for name in self.checkpoints('valid') if name.startswith('update-')])

    def test_the_same_content_once_more_does_no_harm(self):
        path = self.path('data/train.safetensors')
        result = self.train_and_change('same', {**MODEL, 'train.updates': 30}, path, lambda file: os.utime(path))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('finished update=30', result.stdout)


class Places(Case):
    def test_a_page_replaces_no_recipe_and_keeps_its_rights(self):
        self.succeeds(self.train('run', SMALL))
        self.write('mine.yaml', 'name: x\n')
        self.refuses(run('selene-report', 'run', '--out', 'mine.yaml', cwd=self.folder), 'mine.yaml', 'no name for a page')
        self.write('page.html', 'old')
        os.chmod(self.path('page.html'), 0o600)
        self.succeeds(run('selene-report', 'run', '--out', 'page.html', cwd=self.folder))
        self.assertEqual(os.stat(self.path('page.html')).st_mode & 0o777, 0o600)

    def test_messages_name_the_folder_that_was_given(self):
        result = run('selene-prepare', 'listops', '--out', 'small', '--train', 2000, '--valid', 10, '--test', 10,
                     '--min-length', 9, '--max-length', 30, cwd=self.folder, file_limit=20000)
        self.refuses(result, 'error: small/train.safetensors: ')
        self.assertNotIn('partial', result.stderr)

    def test_data_read_from_other_files_is_not_there_already(self):
        words = ['selene-prepare', 'listops', '--from', 'data', '--out', 'again']
        self.succeeds(run(*words, cwd=self.folder), 'again: made')
        os.makedirs(self.path('data/.ipynb_checkpoints'))
        self.write('data/.ipynb_checkpoints/basic_train-checkpoint.tsv', 'x')
        self.succeeds(run(*words, cwd=self.folder), 'already there')
        with open(self.path('data/basic_train.tsv'), 'a', encoding='utf-8') as file:
            file.write('( ( ( [MAX 5 ) 7 ) ] )\t7\n')
        self.refuses(run(*words, cwd=self.folder), 'again: ', 'from other files', '--force')
        self.succeeds(run(*words, '--force', cwd=self.folder), '401 train')

    def test_empty_arguments_are_wrong_usage(self):
        for words in (['selene-inspect', ''], ['selene-report', ''], ['selene-prepare', 'listops', '--out', ''], ['selene-train', ''], ['selene-train', 'x.yaml', '--out', ''], ['selene-train', 'x.yaml', '--resume', ''],
                      ['selene-evaluate', ''], ['selene-evaluate', 'x', '']):
            with self.subTest(words):
                self.assertEqual(run(*words, cwd=self.folder).returncode, 2)


class EmptyFolders(FolderCase):
    KINDS = {'listops': ['--train', 20, '--valid', 5, '--test', 5, '--min-length', 9, '--max-length', 30],
             'pathfinder': ['--count', 20], 'pathfinder-images': ['--count', 12], 'stand-in': ['text', '--train', 4, '--test', 4]}

    def test_every_kind_fills_the_working_folder_from_inside(self):
        for kind, words in self.KINDS.items():
            with self.subTest(kind):
                os.makedirs(self.path('parent', kind))
                os.chmod(self.path('parent'), 0o555)
                for more, wanted in (([], 'made'), ([], 'already there'), (['--force'], 'made')):
                    result = run('selene-prepare', kind, '--out', '.', *words, *more, cwd=self.path('parent', kind))
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertIn(wanted, result.stdout)
                self.assertEqual(os.listdir(self.path('parent')), [kind])
                os.chmod(self.path('parent'), 0o755)
                os.rename(self.path('parent', kind), self.path(kind))


if __name__ == '__main__':
    unittest.main()
