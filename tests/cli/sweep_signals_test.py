"""selene-sweep killed in the middle, asked to stop by any signal, once and again."""
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

from common import TIMEOUT, program, read_metrics, settings, wait_for_update
from sweep_case import ONE_CELL, LONG, SweepCase


class Signals(SweepCase):
    def test_killed_in_the_middle_it_goes_on(self):
        longer = settings({'train.updates': 200, 'train.checkpoint_every': 10, 'train.log_every': 1})
        process = self.start('table1', *ONE_CELL, *longer, out='killed')
        wait_for_update(process, self.metrics('killed'), 25)
        self.assertIsNone(process.poll())
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        self.assertFalse(os.path.exists(self.path('killed/table1.md')))
        self.assertIn('to go on with: listops luna-16', self.call('table1', *ONE_CELL, *longer, '--list', out='killed').out)
        self.call('table1', *ONE_CELL, *longer, out='killed')
        self.assertIn('resumed from', self.text('killed/listops/luna-16/seed-1/log.txt'))
        self.assertEqual([row['kind'] for row in read_metrics(self.metrics('killed'))].count('test'), 1)
        self.assertRegex(self.text('killed/table1.md'), r'\| Luna-16 \| 37\.43 / \d+\.\d\d† \(1 seed\)')

    def test_two_jobs_are_stopped_and_go_on(self):
        two = [*ONE_CELL, '--seeds', '2', '--jobs', '2']
        process = self.start('table1', *two, *settings({**LONG, 'train.validate_every': 100000}), out='two')
        for seed in (1, 2):  # both at once, as neither ends
            wait_for_update(process, self.metrics('two', seed=seed), 0)
        process.terminate()
        _, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, -signal.SIGTERM, err)
        self.assertIn('interrupted; the same command goes on from here', err)
        lasts = [max(row['update'] for row in read_metrics(self.metrics('two', seed=seed))) for seed in (1, 2)]
        shorter = settings({'train.updates': max(lasts) + 3, 'train.log_every': 1, 'train.validate_every': 100000})
        self.call('table1', *two, *shorter, out='two')
        for seed in (1, 2):
            self.assertIn('resumed from', self.text(f'two/listops/luna-16/seed-{seed}/log.txt'))
        self.assertRegex(self.text('two/table1.md'), r'\| Luna-16 \| 37\.43 / \d+\.\d\d† ± \d+\.\d\d \(2 seeds\)')

    def test_asked_to_stop_it_stops_with_a_checkpoint(self):
        for out, number, stop in (('ctrl-c', signal.SIGINT, os.killpg), ('hung-up', signal.SIGHUP, os.killpg),
                                  ('usr1', signal.SIGUSR1, os.kill)):
            with self.subTest(out):
                process = self.start('table1', *ONE_CELL, *settings(LONG), out=out)
                wait_for_update(process, self.metrics(out), 0)
                stop(process.pid, number)
                _, err = process.communicate(timeout=TIMEOUT)
                self.assertEqual(process.returncode, -number, err)
                self.assertIn('interrupted', err)
                self.assertTrue(os.path.exists(self.path(out, 'listops/luna-16/seed-1/checkpoints/last')))

    def test_a_signal_just_when_a_program_starts(self):
        for attempt in range(6):
            with self.subTest(attempt):
                out = f'early-{attempt}'
                process = self.start('table1', *ONE_CELL, *settings(LONG), out=out)
                try:
                    while not os.path.exists(self.path(out, 'listops/luna-16/seed-1.out')):
                        self.assertIsNone(process.poll())
                    time.sleep(attempt // 2 * 0.0005)
                    process.terminate()
                    _, err = process.communicate(timeout=10)
                    self.assertEqual(process.returncode, -signal.SIGTERM, err)
                    self.assertIn('interrupted', err)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)

    def test_different_signals_are_passed_on(self):
        """Programs lie beside selene-sweep, so a copy of it has one that tells its signals."""
        shutil.copy2(program('selene-sweep'), self.path('selene-sweep'))
        self.write('selene-train', f"""#!{sys.executable}
import signal, time
got = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: got.append(number))
print('ready', flush=True)
while len(got) < 2:
    time.sleep(0.01)
print(*map(int, got), flush=True)
""")
        os.chmod(self.path('selene-train'), 0o755)
        self.write('r.yaml', 'model: {dim: 16}\n')
        self.write('m.yaml', 'model: {layers: 1}\n')
        self.write('g.yaml', 'measure: training\nrecipes: {r: r.yaml}\nmodels: {m: m.yaml}\nseeds: 1\nout: o\n')
        for signals, got in (((signal.SIGINT, signal.SIGTERM), '15 2'), ((signal.SIGTERM, signal.SIGHUP), '15 1')):
            with self.subTest(signals=signals):
                process = subprocess.Popen(['./selene-sweep', 'g.yaml', '--device', 'cpu'], cwd=self.folder,
                                           stderr=subprocess.PIPE, text=True)
                output = self.path('o/r/m/seed-1.out')
                end = time.monotonic() + 30
                try:
                    while not os.path.exists(output) or self.text(output) != 'ready\n':
                        self.assertLess(time.monotonic(), end)
                        time.sleep(0.01)
                    for number in signals:
                        process.send_signal(number)
                        time.sleep(0.1)
                    process.communicate(timeout=10)
                finally:
                    process.kill()  # and with it its program
                self.assertEqual(process.returncode, -signals[0])
                self.assertEqual(self.text(output), f'ready\n{got}\n')
                os.remove(output)

    def test_a_second_signal_ends_it_at_once(self):
        process = self.start('table1', *ONE_CELL, *settings(LONG), out='twice')
        wait_for_update(process, self.metrics('twice'), 0)
        os.kill(process.pid, signal.SIGSTOP)  # so that both are there when it goes on
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.003)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, -signal.SIGTERM)
        end = time.monotonic() + 5
        with open(self.path('twice/listops/luna-16/seed-1.out'), 'rb') as output:
            while True:  # the program that it had started is gone too: it holds the lock of its output no more
                try:
                    fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.01)


if __name__ == '__main__':
    unittest.main()
