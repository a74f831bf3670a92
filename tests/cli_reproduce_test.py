"""tools/reproduce.sh with a tiny model: tables, a second call, a killed one, cells that fail or have no data, wrong usage."""
import os
import signal
import subprocess
import time
import unittest

from cli_common import SOURCE, TIMEOUT, TOOLS, FolderCase, read_metrics, run, settings, wait_for_update

SCRIPT = os.path.join(SOURCE, 'tools/reproduce.sh')
TINY = {'model.dim': 16, 'model.heads': 2, 'model.ffn_dim': 16, 'model.head_dim': 16, 'data.max_length': 130}
ONE_CELL = ['--scale', '0.0001', '--tasks', 'listops', '--models', 'luna-16', '--device', 'cpu', *settings(TINY)]


class Reproduce(FolderCase):
    def text(self, *parts):
        with open(self.path(*parts), encoding='utf-8') as file:
            return file.read()

    def start(self, *arguments, out='out'):
        """A process in a group of its own, so that a signal can end it with all that it started."""
        return subprocess.Popen([SCRIPT, *arguments, '--out', out, '--data', 'data', '--raw', 'raw'], cwd=self.folder,
                                env={**os.environ, 'SELENE_TOOLS': TOOLS}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def call(self, *arguments, out='out', status=0):
        process = self.start(*arguments, out=out)
        process.out, process.err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, status, process.out + process.err)
        return process

    def test_wrong_usage_is_told_in_one_line(self):
        for arguments in ([], ['table4'], ['table1', '--scale', '0'], ['table1', '--scale', '2'], ['table1', '--seeds'],
                          ['table1', '--seeds', '-1'], ['table1', '--tasks', 'texts'], ['table1', '--models', 'luna'],
                          ['table2', '--lengths', '1K'], ['table3', '--models', 'transformer'], ['table1', '--x', '1']):
            with self.subTest(arguments):
                done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False)
                self.assertEqual((done.returncode, done.stdout), (2, ''), done.stderr)
                self.assertRegex(done.stderr, r'\Aerror: tools/reproduce\.sh: .+\n\Z')

    def test_a_table_and_a_second_call_that_does_nothing(self):
        first = self.call('table1', *ONE_CELL)
        table = self.text('out/table1.md')
        self.assertRegex(table, r'\| Luna-16 \| 37\.43 / \d+\.\d\d† \(1 seed\) \| 65\.74 / – \|')
        for wanted in ('Scale 0.0001: ', 'say nothing about the method',
                       'selene-train recipes/lra/release/listops.yaml recipes/models/luna-16.yaml ',
                       '--set train.updates=4 ', 'Measured on ', 'device CPU'):
            self.assertIn(wanted, table)
        self.assertIn('| Luna-16 | 37.43 / ', first.out)
        self.assertIn('say nothing about the method', first.err)
        files = ['out/table1.md', 'out/listops/luna-16/seed-1/metrics.jsonl', 'out/listops/luna-16/seed-1.json']
        before = [os.stat(self.path(f)).st_mtime_ns for f in files]
        begin = time.monotonic()
        second = self.call('table1', *ONE_CELL)
        self.assertLess(time.monotonic() - begin, 20)  # some tenths of a second, but for sanitizers and busy machines
        self.assertIn('nothing to do: all 1 cells were done', second.err)
        self.assertEqual([os.stat(self.path(f)).st_mtime_ns for f in files], before)
        self.assertEqual(second.out, first.out)

    def test_killed_in_the_middle_it_goes_on(self):
        longer = settings({'train.updates': 600, 'train.checkpoint_every': 10, 'train.log_every': 1})
        process = self.start('table1', *ONE_CELL, *longer, out='killed')
        metrics = self.path('killed/listops/luna-16/seed-1/metrics.jsonl')
        wait_for_update(process, metrics, 25)
        self.assertIsNone(process.poll())
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        self.assertFalse(os.path.exists(self.path('killed/table1.md')))
        self.call('table1', *ONE_CELL, *longer, out='killed')
        self.assertIn('resumed from', self.text('killed/listops/luna-16/seed-1/log.txt'))
        self.assertEqual([row['kind'] for row in read_metrics(metrics)].count('test'), 1)
        self.assertRegex(self.text('killed/table1.md'), r'\| Luna-16 \| 37\.43 / \d+\.\d\d† \(1 seed\)')

    def test_asked_to_stop_it_stops_with_a_checkpoint(self):
        longer = settings({'train.updates': 100000, 'train.log_every': 1})
        for out, stop in {'stopped': lambda process: process.terminate(),
                          'ctrl-c': lambda process: os.killpg(process.pid, signal.SIGINT),
                          'hung-up': lambda process: os.killpg(process.pid, signal.SIGHUP)}.items():
            with self.subTest(out):
                process = self.start('table1', *ONE_CELL, *longer, out=out)
                wait_for_update(process, self.path(out, 'listops/luna-16/seed-1/metrics.jsonl'), 0)
                stop(process)
                _, err = process.communicate(timeout=TIMEOUT)
                self.assertEqual(process.returncode, 130, err)
                self.assertIn('interrupted', err)
                self.assertTrue(os.path.exists(self.path(out, 'listops/luna-16/seed-1/checkpoints/last')))

    def test_a_cell_that_fails_does_not_stop_the_others(self):
        bad = self.call('table3', *ONE_CELL, *settings({'train.threads': 1, 'model.luna.projection_length': 16}),
                        '--set', 'schedule.name=milestone', out='failed', status=1)
        self.assertIn('[1/2] listops luna-16 seed 1: failed: ', bad.err)
        self.assertIn('[2/2] listops luna-16 with P seed 1: failed: ', bad.err)
        self.assertIn('| Luna-16 | P | 38.06 / failed |', self.text('failed/table3.md'))
        self.assertIn('* ListOps, Luna-16 with P, seed 1: failed: ', self.text('failed/table3.md'))

    def test_without_data_the_folder_is_named(self):
        result = self.call('table1', '--tasks', 'retrieval', '--models', 'luna-16', out='none', status=1)
        self.assertIn(self.path('raw/tsv_data'), result.err)
        self.assertIn('| Luna-16 | 37.43 / – | 65.74 / – | 79.38 / no data |', result.out)

    def test_prepared_data_without_its_source_is_of_the_wanted_size(self):
        for words in (['stand-in', 'text', '--out', 'gone', '--train', 20, '--test', 10],
                      ['text', '--from', 'gone', '--out', 'data/text', '--train', 10]):
            self.assertEqual(run('selene-prepare', *words, cwd=self.folder).returncode, 0)
        result = self.call('table1', '--tasks', 'text', '--models', 'luna-16', out='smaller', status=1)
        self.assertIn('data/text was not made with "train": 0', result.err)
        self.assertFalse(os.path.exists(self.path('smaller/text/luna-16/seed-1')))

    def test_a_mistaken_call_takes_nothing_from_a_finished_run(self):
        first = self.call('table1', *ONE_CELL, out='kept')
        mistaken = self.call('table1', *ONE_CELL, '--set', 'model.luna.tie_kv=true', out='kept', status=1)
        self.assertIn('the recipe has changed', mistaken.err)
        self.assertEqual(mistaken.out, first.out)

    def test_times_and_the_figure(self):
        short = ['table2', '--lengths', '8', '--models', 'transformer luna-16', '--rounds', '1', '--steps', '1',
                 '--device', 'cpu']
        first = self.call(*short, out='times')
        self.assertRegex(first.out, r'\| Luna-16 \| – / \d+\.\d\d \| – / \d+\.\d\d \|\n')
        second = self.call(*short, out='times')
        self.assertIn('nothing to do: all 2 cells were measured', second.err)
        self.assertEqual(second.out, first.out)
        for other in (['--steps', '2'], ['--scale', '0.5']):
            refused = self.call(*short, *other, out='times', status=1)
            self.assertIn('another --scale or --steps', refused.err)
        scaled = self.call(*short, '--scale', '0.5', out='scaled')
        self.assertIn('Scale 0.5: a step has at most 16,384 tokens and a process times 1 steps', scaled.out)
        refused = self.call('figure1', '--device', 'cpu', out='times', status=1)
        self.assertIn('error: times at 8 tokens: the paper has none there', refused.err)
        os.remove(self.path('times/table2/cpu/cells.jsonl'))
        self.assertIn('error: nothing of ours', self.call('figure1', '--device', 'cpu', out='times', status=1).err)


if __name__ == '__main__':
    unittest.main()
