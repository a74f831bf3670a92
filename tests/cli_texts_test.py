"""Texts that others wrote: only regular files are opened, nothing is read for ever, one clear line says what is wrong."""
import os
import unittest

from cli_common import Case, run


class RegularFiles(Case):
    """A pipe without a writer would be waited for, a device has no end."""

    EACH = [('pipe', 'is a device or pipe'), ('folder', 'is a folder'), ('/dev/zero', 'is a device or pipe')]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.mkfifo(os.path.join(cls.folder, 'pipe'))
        os.mkdir(os.path.join(cls.folder, 'folder'))

    def put(self, what, name):
        path = self.path(name)
        if os.path.lexists(path):
            os.remove(path)
        os.symlink(self.path(what), path)

    def test_recipes_and_their_parents(self):
        self.write('child.yaml', 'extends: parent.yaml\n')
        for what, wanted in self.EACH:
            with self.subTest(what):
                self.refuses(run('selene-train', what, cwd=self.folder), wanted, 'wanted a recipe')
                self.put(what, 'parent.yaml')
                self.refuses(run('selene-train', 'child.yaml', cwd=self.folder), 'child.yaml:1:10: parent.yaml: ' + wanted)

    def test_runs(self):
        os.mkdir(self.path('run'))
        for what, wanted in self.EACH:
            if what == 'folder':
                continue  # is no run
            with self.subTest(what):
                self.put(what, 'run/metrics.jsonl')
                self.refuses(run('selene-report', 'run', cwd=self.folder), 'metrics.jsonl: ' + wanted)
                self.put('/dev/null', 'run/metrics.jsonl')

    def test_data(self):
        os.mkdir(self.path('set'))
        for what, wanted in self.EACH:
            with self.subTest(what):
                self.put(what, 'set/dataset.json')
                self.refuses(run('selene-inspect', 'set', cwd=self.folder), 'dataset.json: ' + wanted)
                self.refuses(run('selene-prepare', 'listops', '--out', 'set', '--train', 2, cwd=self.folder),
                             'dataset.json: ' + wanted)


if __name__ == '__main__':
    unittest.main()
