"""Signals: every loop of every program looks at them, nothing half-made stays, what was ignored on purpose stays so."""
import os
import signal
import subprocess
import time
import unittest

from common import MODEL, TIMEOUT, Case, program, read_metrics, run, wait_for_update

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


class Signals(Case):
    """Validation and test sets that take long beside an update."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = run('selene-prepare', 'listops', '--out', 'long', '--train', 200, '--valid', 20000, '--test', 20000,
                   '--min-length', 20, '--max-length', 60, '--seed', 3, cwd=cls.folder)
        assert made.returncode == 0, made.stderr

    def start(self, name, *arguments, **keywords):
        return subprocess.Popen([program(name), *map(str, arguments)], cwd=self.folder, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)

    def stop(self, process, number):
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
        return out, err, process.returncode

    def kinds(self, metrics):
        return [row['kind'] for row in read_metrics(metrics)] if os.path.exists(metrics) else []

    def test_a_signal_in_a_validation_does_not_wait_for_its_end(self):
        values = {**MODEL, 'data.path': 'long', 'train.updates': 1000, 'train.validate_every': 2, 'train.checkpoint_every': 1000}
        for number in STOPS:
            with self.subTest(number.name):
                run_folder = f'valid-{number.name}'
                with self.start('selene-train', *self.command(run_folder, values)) as process:
                    wait_for_update(process, self.path(run_folder, 'metrics.jsonl'), 1)
                    out, err, status = self.stop(process, number)
                self.assertEqual(status, 0, err)
                self.assertIn('interrupted update=2 ', out)
                self.assertNotIn('kind=valid', err)
                self.assertIn('update-00000002.safetensors', self.checkpoints(run_folder))

    def test_the_same_signal_again_ends_at_once_another_does_not(self):
        values = {**MODEL, 'data.path': 'long', 'train.updates': 100, 'train.batch_size': 200, 'model.dim': 256}
        for again, status in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, 0)):
            with self.subTest(again.name):
                folder = f'again-{again.name}'
                with self.start('selene-train', *self.command(folder, values)) as process:
                    wait_for_update(process, self.path(folder, 'metrics.jsonl'), 1)
                    process.send_signal(signal.SIGTERM)
                    while process.poll() is None:
                        time.sleep(0.005)
                        process.send_signal(again)
                    _, err = process.communicate(timeout=TIMEOUT)
                    found = process.returncode
                self.assertEqual(found, status, err)

    def test_a_signal_in_the_final_test_says_that_the_test_is_missing(self):
        values = {**MODEL, 'data.path': 'long', 'train.updates': 2, 'train.validate_every': 2,
                  'train.validate_examples': 20, 'train.preempt_exit_code': 85}
        metrics = self.path('tested', 'metrics.jsonl')
        with self.start('selene-train', *self.command('tested', values)) as process:
            end = time.monotonic() + TIMEOUT
            while time.monotonic() < end and process.poll() is None and 'valid' not in self.kinds(metrics):
                time.sleep(0.002)
            out, err, status = self.stop(process, signal.SIGTERM)
        self.assertEqual(status, 85, err)
        self.assertIn('interrupted update=2', out)
        self.assertIn('final test is missing; the same command', err)
        self.succeeds(self.train('tested', {**values, 'train.threads': 1}), 'finished update=2')
        self.assertEqual(self.kinds(metrics).count('test'), 1)

    def test_an_ignored_signal_stays_ignored(self):
        def ignore():
            for number in STOPS:
                signal.signal(number, signal.SIG_IGN)
        values = {**MODEL, 'data.path': 'data', 'train.updates': 200}
        with self.start('selene-train', *self.command('ignored', values), preexec_fn=ignore) as process:
            wait_for_update(process, self.path('ignored/metrics.jsonl'), 1)
            for number in STOPS:
                process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn('finished update=200', out)

    def test_an_interrupted_evaluation_leaves_nothing(self):
        self.succeeds(self.train('evaluated', {**MODEL, 'train.updates': 2, 'train.validate_every': 2}))
        for number in STOPS:
            with self.subTest(number.name):
                os.makedirs(self.path('out'), exist_ok=True)
                with self.start('selene-evaluate', 'evaluated', 'long', '--predictions', 'out/p.tsv', '--threads', 1) as process:
                    end = time.monotonic() + TIMEOUT
                    while not os.listdir(self.path('out')) and time.monotonic() < end and process.poll() is None:
                        time.sleep(0.002)
                    process.send_signal(number)  # as timeout(1) does: to the process, and to its group
                    _, err, status = self.stop(process, number)
                self.assertEqual(status, -number, err)
                self.assertIn(f'error: interrupted by {number.name}; nothing was kept', err)
                self.assertEqual(os.listdir(self.path('out')), [])

    def test_interrupted_preparing_leaves_nothing(self):
        kinds = {'listops': ['--train', 10 ** 7, '--min-length', 9, '--max-length', 30], 'pathfinder': ['--count', 200000],
                 'pathfinder-images': ['--count', 200000], 'stand-in': ['text', '--train', 10 ** 6]}
        for kind, arguments in kinds.items():
            with self.subTest(kind):
                before = sorted(os.listdir(self.folder))
                with self.start('selene-prepare', kind, *arguments, '--out', f'made-{kind}') as process:
                    time.sleep(0.5)
                    _, err, status = self.stop(process, signal.SIGHUP)
                self.assertEqual(status, -signal.SIGHUP, err)
                self.assertEqual(sorted(os.listdir(self.folder)), before)


if __name__ == '__main__':
    unittest.main()
