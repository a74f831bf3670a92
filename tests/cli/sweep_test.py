"""selene-sweep with tiny models: tables, a second call, cells that fail or have no data, bad grids."""
import os
import shutil
import subprocess
import time
import unittest

from common import SOURCE, TIMEOUT, program, read_metrics, run, settings, wait_for_update
from sweep_case import ONE_CELL, TINY, GRIDS, LONG, grid_file, SweepCase


class Sweep(SweepCase):
    def test_wrong_usage_is_told_in_one_line(self):
        for grid, arguments in (('table1', ['--scale', '0']), ('table1', ['--scale', '2']), ('table1', ['--seeds', '-1']),
                                ('table1', ['--recipes', 'texts']), ('table1', ['--models', 'luna']), ('table1', ['--seeds']),
                                ('table2', ['--lengths', '1K']), ('table3', ['--models', 'transformer']),
                                ('table1', ['--x', '1']), ('table1', ['--rounds', '2']), ('table2', ['--jobs', '2']),
                                ('table1', ['--jobs', '0']), ('table1', ['--set', 'train.seed=2']),
                                ('table2', ['--seeds', '2']), ('figure1', ['--seeds', '2']),
                                ('table2', ['--lengths', '8', '8'])):
            with self.subTest(grid=grid, arguments=arguments):
                done = run('selene-sweep', grid_file(grid), '--device', 'cpu', *arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ''), done.stderr)
                self.assertNotEqual(done.stderr, '')
        gpus = subprocess.run([program('selene-sweep'), grid_file('table1'), '--jobs', '3'], capture_output=True, text=True,
                              env={**os.environ, 'CUDA_VISIBLE_DEVICES': '4,7'}, timeout=TIMEOUT, check=False)
        self.assertEqual((gpus.returncode, gpus.stderr),
                         (2, 'error: --jobs is 3, wanted at most one for each of 2 GPUs\n'))
        for option, wanted in {'--recipes': 'listops, text, retrieval, image, pathfinder',
                               '--models': 'transformer, luna-16, luna-128, luna-256'}.items():
            done = run('selene-sweep', grid_file('table1'), option, 'luna')
            self.assertEqual(done.stderr, f"error: {option} is 'luna', wanted {wanted}\n")

    def test_bad_grids_name_the_place(self):
        self.write('r.yaml', 'model: {dim: 16}\n')
        self.write('m.yaml', 'model: {layers: 1}\n')
        good = {'measure': 'training', 'recipes': '{r: r.yaml}', 'models': '{m: m.yaml}', 'seeds': '1', 'out': 'o'}
        cases = {
            'g.yaml:4:8: seeds is an empty list': {'seeds': '[]'},
            'g.yaml:4:8: seeds has 1 twice': {'seeds': '[1, 2, 1]'},
            'g.yaml:4:8: seeds is "x", wanted a whole number from 1': {'seeds': 'x'},
            'g.yaml:6:7: set: train.seed is what seeds gives': {'set': '{train.seed: 2}'},
            'g.yaml:6:12: variants.a: train.seed is what seeds gives': {'variants': '{a: {train.seed: 2}}'},
            'g.yaml:3:9: e with p and e-p with n would be in one folder, e-p': {
                'models': '{e: m.yaml, e-p: r.yaml}', 'variants': '{n: {}, p: {model.dim: 8}}'},
            'g.yaml:5:10: lengths has 32 twice': {'measure': 'steps', 'seeds': None, 'lengths': '[32, 32]'},
            'g.yaml:2:10: recipes is empty, wanted at least one': {'recipes': '{}'},
            'g.yaml:2:14: recipes.r: none.yaml is not there': {'recipes': '{r: none.yaml}'},
            'g.yaml:3:13: models.m is an empty list': {'models': '{m: []}'},
            'g.yaml:3:21: models.m is given twice, first in line 3': {'models': '{m: m.yaml, m: r.yaml}'},
            'g.yaml:3:10: "../m" is no name for a folder': {'models': '{../m: m.yaml}'},
            'g.yaml:1:10: measure is "speed", wanted training, steps, nothing': {'measure': 'speed'},
            'g.yaml:6:12: variants.a: unknown key model.dmi (did you mean model.dim?)': {'variants': '{a: {model.dmi: 2}}'},
            'g.yaml: r m seed 1 and r n seed 1 are one recipe, wanted cells that differ': {'models': '{m: m.yaml, n: m.yaml}'},
            'g.yaml: r m seed 1 and r m with v seed 1 are one recipe': {'variants': '{u: {}, v: {model.dim: 16}}'},
            'g.yaml:6:11: "r x" is no pair, wanted a name of recipes and one of models': {'instead': '{r x: m.yaml}'},
            'g.yaml:6:8: write is "table9", wanted table1': {'write': 'table9'},
            'g.yaml:6:17: optim.lr is the text "1", wanted a number\n': {'set': '{optim.lr: "1"}'},
            'g.yaml:6:29: an item of schedule.milestones is not a plain value, wanted': {'set': '{schedule.milestones: ["1"]}'},
            'g.yaml:6:7: model.dim has no value, wanted an integer\n': {'set': '{model.dim: }'},
            'g.yaml:6:11: prepared without data, wanted the file that says how it is made\n': {'prepared': 'p'},
            'g.yaml:6:1: unknown key sedes, wanted measure, out, numbers, write, recipes, models, set, instead, variants, '
            'seeds, data, prepared\n': {'sedes': '1'},
            'g.yaml:1:1: has no seeds, wanted it with a value': {'seeds': ''},
            'g.yaml:1:1: has no measure, wanted a grid (docs/sweeps.md) with measure: training, steps, nothing': {'measure': None},
            'g.yaml:6:7: set: model is a section, wanted its keys by their whole names, such as model.attention: VALUE': {
                'set': '{model: {dim: 16}}'},
        }
        for wanted, change in cases.items():
            with self.subTest(wanted):
                changed = {**good, **change}
                if 'variants' in change and ':6:' in wanted:
                    wanted = wanted.replace(':6:12:', ':6:16:')
                self.write('g.yaml', ''.join(f'{key}: {value}\n' for key, value in changed.items() if value is not None))
                result = self.call('g.yaml', '--list', status=1)
                self.assertEqual(result.out, '')
                self.assertTrue(result.err.startswith('error: ' + wanted), result.err)
                self.assertEqual(result.err.count('\n'), 1, result.err)
        self.assertIn('none.yaml: cannot be opened', self.call('none.yaml', status=1).err)
        self.write('g.yaml', 'measure: training\nrecipes: {r: r.yaml}\nmodels: {m: m.yaml}\nseeds: 3\nout: o\n'
                   "set: {description: ''}\n")
        listed = self.call('g.yaml', '--list').out
        self.assertEqual([line.split(': ')[1] for line in listed.splitlines()], [f'r m seed {n}' for n in (1, 2, 3)])
        self.assertEqual(self.call('g.yaml', '--list', '--seeds', '3').out, listed)
        self.write('file', 'x')
        self.assertEqual(self.call('g.yaml', '--list', out='file', status=1).err,
                         'error: file: is a file, wanted a folder for runs and tables\n')
        self.write('g.yaml', 'measure: training\n  bad: [\n')
        self.assertIn('error: g.yaml:2:', self.call('g.yaml', status=1).err)

    def test_a_table_and_a_second_call_that_does_nothing(self):
        listed = self.call('table1', *ONE_CELL, '--list')
        self.assertRegex(listed.out, r'\Ato run: listops luna-16 seed 1: selene-train .* --set train\.updates=4 .*\n\Z')
        self.assertFalse(os.path.exists(self.path('out')))
        first = self.call('table1', *ONE_CELL)
        table = self.text('out/table1.md')
        self.assertRegex(table, r'\| Luna-16 \| 37\.43 / \d+\.\d\d† \(1 seed\) \| 65\.74 / – \|')
        for wanted in ('Scale 0.0001: ', 'say nothing about the method',
                       f'selene-train {SOURCE}/recipes/lra/release/listops.yaml {SOURCE}/recipes/models/luna-16.yaml ',
                       '--set train.updates=4 ', 'Measured on ', 'device CPU'):
            self.assertIn(wanted, table)
        self.assertIn('| Luna-16 | 37.43 / ', first.out)
        self.assertNotIn('selene-train', first.out)
        self.assertIn('say nothing about the method', first.err)
        files = ['out/table1.md', 'out/listops/luna-16/seed-1/metrics.jsonl', 'out/listops/luna-16/seed-1.json']
        before = [os.stat(self.path(f)).st_mtime_ns for f in files]
        begin = time.monotonic()
        second = self.call('table1', *ONE_CELL)
        self.assertLess(time.monotonic() - begin, 20)  # some tenths of a second, but for sanitizers and busy machines
        self.assertIn('nothing to do: all 1 cells were done', second.err)
        self.assertEqual([os.stat(self.path(f)).st_mtime_ns for f in files], before)
        self.assertEqual(second.out, first.out)
        self.assertEqual(self.call('table1', *ONE_CELL, '--list').out, 'done: listops luna-16 seed 1\n')

    def test_a_cell_that_fails_does_not_stop_the_others(self):
        bad = self.call('table3', *ONE_CELL, '--set', 'data.path=nowhere', out='failed', status=1)
        self.assertIn('[1/2] listops luna-16 seed 1: failed: ', bad.err)
        self.assertIn('[2/2] listops luna-16 with p seed 1: failed: ', bad.err)
        self.assertIn('2 of 2 cells failed or have no data', bad.err)
        self.assertIn('| Luna-16 | P | 38.06 / failed |', self.text('failed/table3.md'))
        self.assertIn('* ListOps, Luna-16 with P, seed 1: failed: ', self.text('failed/table3.md'))
        good = self.call('table3', *ONE_CELL, out='failed')
        self.assertIn('[2/2] listops luna-16 with p seed 1: ', good.err)
        self.assertRegex(self.text('failed/table3.md'), r'\| Luna-16 \| P \| 38\.06 / \d+\.\d\d† \(1 seed\)')

    def test_a_cell_whose_program_fails_is_told(self):
        os.makedirs(self.path('bad/listops/luna-16'))
        self.write('bad/listops/luna-16/seed-1', 'no folder')
        bad = self.call('table1', *ONE_CELL, '--jobs', '2', '--seeds', '2', out='bad', status=1)
        self.assertIn('[1/2] listops luna-16 seed 1: failed: bad/listops/luna-16/seed-1: is a file', bad.err)
        self.assertRegex(bad.err, r'\[2/2\] listops luna-16 seed 2: accuracy \d+\.\d\d %')
        self.assertIn('1 of 2 cells failed', bad.err)

    def test_what_lies_in_the_place_of_a_folder_or_of_notes_ends_its_cell_alone(self):
        os.makedirs(self.path('place/listops/luna-128/seed-1.json/x'))
        self.write('place/listops/luna-16', 'no folder')
        bad = self.call('table1', *ONE_CELL, '--models', 'luna-16', 'luna-128', '--seeds', '2', out='place', status=1)
        for cell in ('[1/4] listops luna-16 seed 1', '[2/4] listops luna-128 seed 1', '[3/4] listops luna-16 seed 2'):
            self.assertIn(cell + ': failed: ', bad.err)
        self.assertRegex(bad.err, r'\[4/4\] listops luna-128 seed 2: accuracy \d+\.\d\d %')
        self.assertIn('3 of 4 cells failed', bad.err)
        self.assertRegex(bad.out, r'\| Luna-128 \| 38\.01 / \d+\.\d\d† \(1 seed\)')

    def test_without_data_the_folder_is_named(self):
        result = self.call('table1', '--recipes', 'retrieval', '--models', 'luna-16', out='none', status=1)
        self.assertIn('raw/tsv_data', result.err)
        self.assertIn('| Luna-16 | 37.43 / – | 65.74 / – | 79.38 / no data |', result.out)
        listed = self.call('table1', '--recipes', 'retrieval', '--models', 'luna-16', '--list', out='none', status=1)
        self.assertIn('cannot run: retrieval luna-16 seed 1: no data at raw/tsv_data', listed.out)

    def test_prepared_data_without_its_source_is_of_the_wanted_size(self):
        for words in (['stand-in', 'text', '--out', 'gone', '--train', 20, '--test', 10],
                      ['text', '--from', 'gone', '--out', 'data/text', '--train', 10]):
            self.assertEqual(run('selene-prepare', *words, cwd=self.folder).returncode, 0)
        result = self.call('table1', '--recipes', 'text', '--models', 'luna-16', out='smaller', status=1)
        self.assertIn('data/text was not made with "train": 0', result.err)
        self.assertFalse(os.path.exists(self.path('smaller/text/luna-16/seed-1')))

    def test_a_stand_in_takes_the_place_of_missing_data(self):
        result = self.call('table1', '--scale', '0.0001', '--recipes', 'image', '--models', 'luna-16', '--device', 'cpu',
                           *settings({**TINY, 'data.max_length': 1024}), out='made-up')
        self.assertIn('image: no data at raw/cifar-10-batches-bin; a synthetic stand-in takes its place', result.err)
        self.assertRegex(result.out, r'46\.39 / \d+\.\d\d\\\*† \(1 seed\)')
        self.assertIn('synthetic stand-in in the official form', result.out)

    def test_a_mistaken_call_takes_nothing_from_a_finished_run(self):
        first = self.call('table1', *ONE_CELL, out='kept')
        before = self.text('kept/listops/luna-16/seed-1/metrics.jsonl')
        listed = self.call('table1', *ONE_CELL, '--set', 'model.luna.tie_kv=true', '--list', out='kept', status=1)
        self.assertIn('cannot run: listops luna-16 seed 1: the folder has the run of another recipe', listed.out)
        mistaken = self.call('table1', *ONE_CELL, '--set', 'model.luna.tie_kv=true', out='kept', status=1)
        self.assertIn('the recipe has changed', mistaken.err)
        self.assertIn('| Luna-16 | 37.43 / failed |', mistaken.out)  # a number would be another recipe's
        self.assertRegex(mistaken.out, r'\* ListOps, Luna-16, seed 1: failed: .* the recipe has changed .*tie_kv')
        self.assertEqual(self.call('table1', *ONE_CELL, out='kept').out, first.out)
        self.assertEqual(self.text('kept/listops/luna-16/seed-1/metrics.jsonl'), before)

    def test_what_the_command_line_breaks_is_no_failure_of_cells(self):
        self.call('table1', *ONE_CELL, out='whole')
        files = ['whole/table1.md', 'whole/listops/luna-16/seed-1.json']
        before = [self.text(file) for file in files]
        shutil.rmtree(self.path('data/listops'))
        for setting, why in (('train.updatez=3', 'unknown key train.updatez'),
                             ('schedule.name=milestone', 'milestones is empty')):
            wrong = self.call('table1', *ONE_CELL, '--set', setting, out='whole', status=1)
            self.assertIn(why, wrong.err.splitlines()[-1])
            self.assertEqual(wrong.out, '')
            self.assertFalse(os.path.exists(self.path('data/listops')))
        self.assertEqual([self.text(file) for file in files], before)
        grid = ('measure: training\nout: o\nseeds: 1\nrecipes: {r: r.yaml}\nmodels: {m: m.yaml}\n'
                'variants: {p: {model.pooling: p}, q: {model.dim: 8}}\n')
        self.write('r.yaml', 'data: {path: nowhere}\n')
        self.write('m.yaml', 'model: {attention: full}\n')
        broken = self.call(self.write('g.yaml', grid), '--set', 'train.threads=1', status=1)  # what the grid breaks is
        self.assertRegex(broken.err, r'r m with p seed 1: failed: .*\n.*r m with q seed 1: failed: nowhere')

    def test_what_is_missing_of_a_finished_run_is_told_or_made_again(self):
        self.call('table1', *ONE_CELL, '--seeds', '2', out='part')
        recipe = self.path('part/listops/luna-16/seed-1/recipe.yaml')
        whole = self.text(recipe)
        for damage in (lambda: os.remove(recipe), lambda: self.write(recipe, 'x: y\n')):
            damage()
            self.assertIn('seed 1: accuracy', self.call('table1', *ONE_CELL, out='part').err)
            self.assertEqual(self.text(recipe), whole)
        table = self.text(grid_file('table1')).split('write:')[0].replace('../', SOURCE + '/recipes/')
        grid = self.write('headlines.yaml', table.replace('lra_data', os.path.join(GRIDS, 'lra_data')))
        shutil.rmtree(self.path('part/listops/luna-16/seed-2'))
        rest = self.call(grid, *ONE_CELL, out='part')
        self.assertIn('listops/luna-16/seed-1', rest.out)
        self.assertRegex(rest.out, r'\* listops/luna-16/seed-2: .*no such folder')

    def test_runs_of_another_task_are_in_no_table_of_accuracies(self):
        self.write('book.txt', 'A line of text, and another one.\n' * 60)
        self.write('words.yaml', 'words: {prepare: [characters, book.txt]}\n')
        self.write('tiny.yaml', f'extends: {SOURCE}/recipes/characters.yaml\n'
                   'model: {dim: 8, layers: 1, heads: 1, ffn_dim: 8}\ndata: {max_length: 16}\ntrain: {updates: 2, batch_size: 4}\n')
        self.write('none.yaml', '{}\n')
        text = ('measure: training\nout: words\nprepared: p\ndata: words.yaml\nrecipes: {words: tiny.yaml}\n'
                'models: {m: none.yaml}\nseeds: 1\n')
        grid = self.write('words-grid.yaml', text + f'numbers: {SOURCE}/recipes/paper/luna.yaml\nwrite: [table1]\n')
        found = self.call(grid, '--scale', '0.5', out='words', status=1)
        self.assertIn('words/words/m/seed-1: is a run of language_model, wanted classification', found.err)
        self.assertFalse(os.path.exists(self.path('words/table1.md')))
        shutil.copytree(self.path('words'), self.path('vanished'))
        shutil.rmtree(self.path('vanished/words/m/seed-1'))  # its notes alone do not say of which task it was
        tables = self.write('tables.yaml', f'measure: nothing\nout: o\nnumbers: {SOURCE}/recipes/paper/luna.yaml\nwrite: [table1, table3]\n')
        self.assertIn("vanished/words/m/seed-1: is a run of words, wanted one of the tables' tasks: listops, text,",
                      self.call(tables, out='vanished', status=1).err)
        self.assertFalse(os.path.exists(self.path('vanished/table1.md')))
        for name in ('from', 'train', 'valid', 'test'):
            self.write('words.yaml', f'words: {{prepare: [characters, book.txt], {name}: 9}}\n')
            self.assertRegex(self.call(grid, '--list', status=1).err,
                             rf'words\.yaml:1:\d+: words\.{name} is for kinds with labels, wanted none for characters\n')
        self.write('words.yaml', 'words: {prepare: [characters, book.txt]}\n')
        self.assertIn('bits_per_character', self.call(self.write('plain.yaml', text), '--scale', '0.5', out='words').out)

    def test_keys_that_may_change_on_resume(self):
        self.call('table1', *ONE_CELL, out='free')
        free = settings({'train.keep': 1, 'train.threads': 1, 'train.log_every': 3, 'description': 'other',
                         'train.updates': 3, 'data.prefetch': 2, 'train.patience': 5, 'train.validate_every': 2,
                         'train.preempt_exit_code': 3, 'data.path': './data/../data/listops'})
        self.assertEqual(self.call('table1', *ONE_CELL, *free, '--list', out='free').out, 'done: listops luna-16 seed 1\n')
        self.assertIn('nothing to do: all 1 cells were done', self.call('table1', *ONE_CELL, *free, out='free').err)
        shutil.copytree(self.path('data/listops'), self.path('moved'))  # only the training can say that it is the same
        moved = self.call('table1', *ONE_CELL, '--set', 'data.path=moved', out='free')
        self.assertRegex(moved.err, r'\[1/1\] listops luna-16 seed 1: accuracy \d+\.\d\d %')
        stamp = os.stat(self.path('moved/dataset.json'))
        made = ('selene-prepare', 'listops', '--train', 256, '--valid', 100, '--test', 200, '--seed', 9, '--out', 'moved',
                '--force')
        self.assertEqual(run(*made, cwd=self.folder).returncode, 0)  # other data in its place, whatever their times
        os.utime(self.path('moved/dataset.json'), ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        other = self.call('table1', *ONE_CELL, '--set', 'data.path=moved', out='free', status=1)
        self.assertIn('other examples', other.err)
        self.assertIn('accuracy', self.call('table1', *ONE_CELL, out='free').err)
        more = [*ONE_CELL, *settings({'train.updates': 6})]
        self.assertIn('to go on with: ', self.call('table1', *more, '--list', out='free').out)
        self.call('table1', *more, out='free')
        self.assertEqual(read_metrics(self.metrics('free'))[-1]['update'], 6)
        process = self.start('table1', *ONE_CELL, *settings(LONG), out='free')
        wait_for_update(process, self.metrics('free'), 7)
        process.terminate()
        process.communicate(timeout=TIMEOUT)
        self.assertIn('"status":"unfinished","why":"did not come to its end"', self.text('free/listops/luna-16/seed-1.json'))
        patient = [*ONE_CELL, *settings({'train.updates': 100, 'train.validate_every': 1, 'train.patience': 2})]
        self.call('table1', *patient, out='patient')
        self.assertLess(read_metrics(self.metrics('patient'))[-1]['update'], 100)
        self.assertEqual(self.call('table1', *patient, '--list', out='patient').out, 'done: listops luna-16 seed 1\n')
        longer = self.call('table1', *patient, '--set', 'train.patience=99', '--list', out='patient')
        self.assertIn('to go on with: ', longer.out)

    def test_a_grid_of_ones_own(self):
        data = ('selene-prepare', 'listops', '--train', 100, '--valid', 10, '--test', 10, '--min-length', 9,
                '--max-length', 30, '--out', 'own-data')
        self.assertEqual(run(*data, cwd=self.folder).returncode, 0)
        self.write('task.yaml', 'model: {layers: 1, dim: 16, heads: 2, ffn_dim: 16}\n'
                   'data: {path: own-data, max_length: 66}\ntrain: {updates: 2, batch_size: 8}\n')
        self.write('wide.yaml', 'model: {dim: 32}\n')
        self.write('narrow.yaml', 'model: {dim: 8}\n')
        self.write('own.yaml', 'measure: training\nrecipes: {task: task.yaml}\n'
                   'models: {wide: wide.yaml, narrow: [wide.yaml, narrow.yaml]}\n'
                   'variants: {plain: {}, fast: {optim.lr: 0.01}}\nseeds: [3]\nset: {train.log_every: 1}\nout: own\n')
        first = self.call('own.yaml', '--jobs', '2', out='own')
        for name in ('task/wide/seed-3', 'task/wide-fast/seed-3', 'task/narrow/seed-3', 'task/narrow-fast/seed-3'):
            self.assertIn(name, first.out)
        self.assertIn('lr: 0.01', self.text('own/task/wide-fast/seed-3/recipe.yaml'))
        self.assertIn('dim: 8', self.text('own/task/narrow/seed-3/recipe.yaml'))
        self.assertIn('nothing to do: all 4 cells were done', self.call('own.yaml', out='own').err)
        full = run('selene-sweep', 'own.yaml', '--models', 'wide', '--out', 'full', '--device', 'cpu', cwd=self.folder,
                   file_limit=os.path.getsize(self.path('own/task/wide-fast/seed-3.json')) + 50)
        self.assertEqual(full.returncode, 1)
        self.assertIn('[1/2] task wide seed 3: failed: full/task/wide/seed-3.out: cannot be written: File too large',
                      full.stderr)
        self.write('tables.yaml', 'measure: nothing\nout: own\n')
        self.assertIn('task/wide/seed-3', self.call('tables.yaml', out='own').out)
        self.assertEqual(self.call('tables.yaml', out='empty').out, 'no runs in empty\n')

    def test_times_and_the_figure(self):
        some = ['--lengths', '8', '--models', 'transformer', 'luna-16', '--rounds', '1', '--device', 'cpu', *settings(TINY)]
        short = [*some, '--steps', '1']
        first = self.call('table2', *short, out='times')
        self.assertRegex(first.out, r'\| Luna-16 \| – / \d+\.\d\d \| – / \d+\.\d\d \|\n')
        second = self.call('table2', *short, out='times')
        self.assertIn('nothing to do: all 2 cells were measured', second.err)
        self.assertEqual(second.out, first.out)
        for other in ([*some, '--steps', '2'], [*short, '--scale', '0.5']):
            refused = self.call('table2', *other, out='times', status=1)
            self.assertIn('another --scale or --steps', refused.err)
        changed = self.call('table2', *short, '--set', 'model.layers=1', out='times', status=1)
        self.assertRegex(changed.err, r'another recipe of transformer 8 fp32 \(model\.layers: \d -> 1\)')
        for listed in ([], ['--list']):
            typo = self.call('table2', *short, '--set', 'model.dimm=3', *listed, out='times', status=1)
            self.assertEqual((typo.out, typo.err),
                             ('', 'error: --set model.dimm=3: unknown key model.dimm (did you mean model.dim?)\n'))
        cells = self.path('times/table2/cpu/cells.jsonl')
        with open(cells, 'r+', encoding='utf-8') as file:  # as a full disk leaves it
            file.truncate(os.path.getsize(cells) - 40)
        self.assertEqual(self.call('table2', *short, '--list', out='times').out.count('to run: '), 1)
        again = self.call('table2', *short, out='times')
        self.assertEqual(again.err.count(' ms ('), 1)
        lines = self.text(cells).splitlines(keepends=True)
        self.assertEqual(len(lines), 2)
        full = run('selene-sweep', grid_file('table2'), *short, '--out', 'full-times', cwd=self.folder,
                   file_limit=os.path.getsize(cells) * 3 // 4)
        self.assertEqual((full.returncode, full.stdout), (1, ''))
        self.assertRegex(full.stderr, r'error: full-times/table2/cpu/cells\.jsonl: writing failed after \d+ bytes: File too large\n')
        self.assertEqual(sorted(os.listdir(self.path('full-times/table2/cpu'))), ['bench.out', 'cells.jsonl'])
        self.assertEqual(self.call('table2', *short, out='full-times').err.count(' ms ('), 1)
        for bad, why in (('x', 'JSON:1:1: "x", wanted JSON'), ('{}', 'has no "timed_steps"')):
            self.write(cells, f'{lines[0]}{bad}\n{lines[1]}')
            self.assertEqual(self.call('table2', *short, '--list', out='times', status=1).err,
                             f'error: times/table2/cpu/cells.jsonl:2: {why}; wanted a line of selene-sweep\n')
        self.write(cells, ''.join(lines))
        scaled = self.call('table2', *short, '--scale', '0.5', out='scaled')
        self.assertIn('Scale 0.5: a step has at most 16,384 tokens and a process times 1 steps', scaled.out)
        refused = self.call('figure1', '--device', 'cpu', out='times', status=1)
        self.assertIn('error: times at 8 tokens: the paper has none there', refused.err)
        os.remove(self.path('times/table2/cpu/cells.jsonl'))
        self.assertIn('error: nothing of ours', self.call('figure1', '--device', 'cpu', out='times', status=1).err)


if __name__ == '__main__':
    unittest.main()
