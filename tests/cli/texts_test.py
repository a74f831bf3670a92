"""Texts that others wrote: only regular files are opened, nothing is read for ever, one clear line says what is wrong."""
import json
import os
import unittest

from common import SMALL, SOURCE, Case, complaint, run, settings

QUICKSTART = os.path.join(SOURCE, 'recipes/quickstart.yaml')


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


class Numbers(Case):
    """No text becomes another number than the one that a person reads."""

    def test_settings(self):
        milestones = ['--set', 'schedule.name=milestone', '--set']
        for value in ('[100 200]', '100 200', '[1 000]', '[+-5]', '[5abc]'):
            with self.subTest(value):
                self.refuses(run('selene-train', QUICKSTART, *milestones, f'schedule.milestones={value}', '--print-recipe'),
                             'schedule.milestones', 'wanted an integer')

    def test_counts(self):
        for value in ('0x10', '010', '1e3', '1_000', '+5', '99999999999999999999', '5 ', ''):
            for command in (['selene-evaluate', 'none', '--threads'], ['selene-inspect', 'none', '--examples'],
                            ['selene-prepare', 'listops', '--out', 'none', '--train'], ['selene-train', QUICKSTART, '--profile']):
                with self.subTest((command[0], value)):
                    result = run(*command, value)
                    self.assertEqual((result.returncode, result.stdout), (2, ''), result.stderr)
                    self.assertIn('wanted a whole number from', result.stderr)


class Names(Case):
    """Files and folders have any name; what is printed of it is safe, and JSON stays JSON."""
    LATIN1, ESCAPES = 'caf\udce9', 'a\x1b[31m\nb'

    def test_recipe_files(self):
        for name in ('my recipe.yaml', 'luna (1).yaml', 'größe.yaml', self.LATIN1 + '.yaml', self.ESCAPES + '.yaml'):
            with self.subTest(repr(name)), open(QUICKSTART, encoding='utf-8') as file:
                text = ''.join(line for line in file if not line.startswith('name:'))
                self.write(name, text)
                few = settings({**SMALL, 'data.path': 'data', 'train.updates': 2})
                self.refuses(run('selene-train', name, *few, cwd=self.folder), "the recipe's file", '--out', '--set name=')
                out = 'run of ' + name
                self.succeeds(run('selene-train', name, *few, '--out', out, cwd=self.folder))
                self.succeeds(run('selene-train', name, *few, '--out', out, cwd=self.folder))
                for command in (['selene-evaluate', out, 'data', '--json'], ['selene-inspect', out, '--json']):
                    said = run(*command, cwd=self.folder)
                    self.assertEqual(said.returncode, 0, said.stderr)
                    json.loads(said.stdout)
                self.succeeds(run('selene-report', out, cwd=self.folder))

    def makes(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn('\x1b', result.stdout + result.stderr)

    def test_folders_of_data(self):
        for name in (self.LATIN1, self.ESCAPES):
            with self.subTest(repr(name)):
                out = self.path(name)
                self.makes(run('selene-prepare', 'listops', '--out', out, '--from', 'data', '--train', 2, cwd=self.folder))
                raw = self.path('raw ' + name)
                self.makes(run('selene-prepare', 'stand-in', 'image', '--out', raw, '--train', 20, '--test', 2))
                image = self.path('image ' + name)
                for _ in range(2):  # made, then found to be the same
                    self.makes(run('selene-prepare', 'image', '--from', raw, '--out', image))
                with open(os.path.join(image, 'dataset.json'), 'rb') as file:
                    json.load(file)
                self.makes(run('selene-inspect', image))

    def test_what_is_wrong_with_them(self):
        for name in (self.LATIN1, self.ESCAPES, 'a\x9bb', 'a\u202eb'):
            for program in ('selene-train', 'selene-evaluate', 'selene-inspect', 'selene-report'):
                with self.subTest((program, repr(name))):
                    result = run(program, 'no ' + name, cwd=self.folder)
                    self.refuses(result)
                    for hidden in '\x1b\x9b\u202e\ufffd':
                        self.assertNotIn(hidden, result.stderr)


class Hostile(Case):
    """What others wrote is refused in one line, quickly, and without a library's words."""

    def refuses_texts(self, name, texts, *command):
        for what, text in texts.items():
            with self.subTest((command[0], what)):
                self.write(name, text)
                result = run(*command, cwd=self.folder)
                self.refuses(result)
                self.assertNotIn('exception', result.stderr)
                self.assertLess(len(result.stderr), 1000)

    DESCRIPTION = '{"kind": "listops", "options": {}, "files": %s}'
    DESCRIPTIONS = {'null': 'null', 'empty': '', 'list': '[]', 'deep': '[' * 200000, 'deep objects': '{"a":' * 200000,
                    'twice': '{"kind": "listops", "kind": "text", "options": {}}', 'kind': '{"kind": 7, "options": {}}',
                    'no list': DESCRIPTION % '{}', 'a number': DESCRIPTION % '[1]', 'above': DESCRIPTION % '["../data"]',
                    'absolute': DESCRIPTION % '["/etc/passwd"]', 'a path': DESCRIPTION % '["a/b"]',
                    'cut': '{"kind": "listops"', 'not UTF-8': b'{"kind": "\xff\x1b"}'}

    def test_descriptions_of_data(self):
        os.mkdir(self.path('set'))
        for command in (['selene-inspect', 'set'], ['selene-inspect', 'set', '--json'],
                        ['selene-prepare', 'listops', '--out', 'set', '--from', 'data', '--force']):
            self.refuses_texts('set/dataset.json', self.DESCRIPTIONS, *command)
        self.write('set/dataset.json', self.DESCRIPTION % '["a\\u0000b"]')
        self.refuses(run('selene-inspect', 'set', cwd=self.folder), 'set/dataset.json: its files name', 'u0000b')

    def test_many_keys_take_no_longer(self):
        os.mkdir(self.path('large'))
        keys = ','.join(f'"key{i}":{i}' for i in range(200000))
        self.write('large/dataset.json', '{"kind":"listops","options":{%s},"files":[],%s}' % (keys, keys))
        self.assertEqual(run('selene-inspect', 'large', '--json', cwd=self.folder).returncode, 0)
        os.mkdir(self.path('wide'))
        self.write('wide/metrics.jsonl', '{"kind":"train","update":1,%s}\n' % keys)
        self.refuses(run('selene-report', 'wide', '--text', cwd=self.folder), 'metrics.jsonl:1: ', 'the first 100')

    def test_rows_and_recipes_of_a_run(self):
        os.mkdir(self.path('run'))
        rows = ['[' * 200000, '{"kind":"train","update":3.7}', '{"kind":"train","update":1,"a":1,"a":2}',
                '{"kind":"\\u001b[2J","update":2,"\\u009b":1}', '{"kind":"train","update":3,"loss":2}']
        self.write('run/metrics.jsonl', '\n'.join(rows) + '\n')
        bomb = 'a: &a [x, x]\n' + ''.join(f'{b}: &{b} [*{a}, *{a}, *{a}]\n' for a, b in zip('abcdefghijkl', 'bcdefghijklm'))
        for text in (bomb, '[' * 60000, '- ' * 20000, 'a: ' + '{a: ' * 15000, 'x' * 100000, 'a: \x1b[31m\n'):
            self.write('run/recipe.yaml', text)
            result = run('selene-report', 'run', '--text', cwd=self.folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            lines = complaint(result)
            self.assertEqual(len(lines), 4, result.stderr)
            self.assertIn('recipe.yaml', lines[-1])
            self.assertNotIn('\x1b', result.stderr + result.stdout)


if __name__ == '__main__':
    unittest.main()
