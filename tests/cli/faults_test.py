"""Every call of a run that changes or opens something in its folder fails once, or is the last one of the process: the
run goes on, with the same bits. And file systems that lack something: links, locks, renaming over a name."""
import concurrent.futures
import errno
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from common import SMALL, TIMEOUT, Case, complaint, program, read_metrics, read_tensors, run

LIBRARY = os.environ['SELENE_FAULTS']  # of tests/cli/fault_injection.cpp
EVERY = 10 ** 9
# Two updates, a checkpoint and a validation that finds the best one so far; then two more. The smallest model.
FIRST = {**SMALL, 'model.attention': 'full', 'model.luna.projection_length': 16, 'model.dim': 8, 'model.ffn_dim': 8, 'model.head_dim': 8, 'train.batch_size': 8,
         'schedule.name': 'fixed', 'schedule.init_lr': -1, 'optim.lr': 0.01, 'train.updates': 2, 'train.validate_every': 2,
         'train.best_metric': 'loss', 'train.keep': 1, 'train.threads': 1}
SECOND = {**FIRST, 'train.updates': 4}


def name(update):
    return f'update-{update:08}.safetensors'


class Faults(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for out, values in (('first', FIRST), ('second', FIRST), ('second', SECOND)):
            made = cls('train').train(out, values, '--device', 'cpu')
            assert made.returncode == 0, made.stderr

    def faulty(self, out, values, fault=0, call='', first=0, last=0, path=None, log=''):
        """Trains with the faults of tests/cli/fault_injection.cpp; fault: an errno, 0 for SIGKILL."""
        settings = {'LD_PRELOAD': LIBRARY, 'FAULT_PATH': path or f'{out}/',
                    'FAULT_CALL': call, 'FAULT_FIRST': first, 'FAULT_LAST': last,
                    'FAULT_ERROR': fault, 'FAULT_LOG': log}
        return subprocess.run([program('selene-train'), *self.command(out, values), '--device', 'cpu'], cwd=self.folder,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False,
                              env={**os.environ, **{key: str(value) for key, value in settings.items()}})

    def ends_like(self, out, wanted, update):
        """The folder is that of a run that nothing happened to."""
        tensors, metadata = read_tensors(self.path(out, 'checkpoints', name(update)))
        self.assertEqual(tensors, read_tensors(self.path(wanted, 'checkpoints', name(update)))[0])
        self.assertEqual(read_metrics(self.path(out, 'metrics.jsonl')), read_metrics(self.path(wanted, 'metrics.jsonl')))
        self.assertEqual(self.checkpoints(out), self.checkpoints(wanted))
        self.assertEqual(sorted(os.listdir(self.path(out))), sorted(os.listdir(self.path(wanted))))
        best = json.loads(metadata['state'])['best_update']
        self.assertEqual([self.linked(out, link) for link in ('best', 'last')], [name(best), name(update)])

    def linked(self, out, link):
        path = self.path(out, 'checkpoints', link)
        if os.path.islink(path):
            return os.readlink(path)
        with open(path, encoding='utf-8') as file:
            return file.read().strip()

    def begin(self, start, out):
        """A copy of a run, if any, with what a killed process left."""
        if start:
            shutil.copytree(self.path(start), self.path(out), symlinks=True)
            self.write(f'{out}/checkpoints/.{name(4)}.1-0.selene-tmp', 'half')

    def one_fault(self, start, values, update, number, fault):
        """The message of what went wrong, if anything."""
        wanted = 'first' if update == 2 else 'second'
        out = f'{wanted}-{number}-{fault}'
        self.begin(start, out)
        try:
            hit = self.faulty(out, values, fault, first=number, last=number)
            self.assertIn(hit.returncode, (0, 1) if fault else (-9,), hit.stderr)
            self.assertEqual(len([line for line in complaint(hit) if line.startswith('error: ')]),
                             int(hit.returncode == 1), hit.stderr)
            again = self.train(out, values, '--device', 'cpu')
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertNotIn('refused', again.stderr)
            if start:
                self.assertNotIn('started anew', again.stderr)
            self.ends_like(out, wanted, update)
        except AssertionError as error:
            return f'call {number}, fault {fault}: {error}'
        shutil.rmtree(self.path(out), ignore_errors=True)
        return None

    def every_call(self, start, values, update):
        log = self.path(f'calls-{update}')
        self.begin(start, 'counted')
        self.assertEqual(self.faulty('counted', values, log=log).returncode, 0)
        shutil.rmtree(self.path('counted'))
        with open(log, encoding='utf-8') as file:
            calls = file.read().split()
        self.assertLessEqual({'open', 'write', 'fsync', 'rename', 'symlink'}, set(calls))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = [pool.submit(self.one_fault, start, values, update, number, fault)
                     for number in range(1, len(calls) + 1) for fault in (0, errno.EIO)]
        wrong = [f'{calls[i // 2]}: {one.result()}' for i, one in enumerate(found) if one.result()]
        self.assertEqual(wrong, [], '\n'.join(wrong))

    def test_every_call_of_a_run_that_begins(self):
        self.every_call(None, FIRST, 2)

    def test_every_call_of_a_run_that_goes_on_to_a_better_checkpoint(self):
        self.every_call('first', SECOND, 4)

    def lacking(self, out, *wanted, **fault):
        shutil.copytree(self.path('first'), self.path(out), symlinks=True)
        with subprocess.Popen([program('selene-train'), '--version']) as gone:  # what it left
            self.write(f'{out}/checkpoints/.{name(4)}.{gone.pid}-0.selene-tmp', 'half')
        result = self.faulty(out, SECOND, first=1, last=EVERY, **fault)
        self.succeeds(result, 'finished update=4')
        for text in wanted:
            self.assertEqual(result.stderr.count(text), 1, result.stderr)
        return result

    def test_without_symbolic_links_small_files_name_the_checkpoints(self):
        self.lacking('unlinked', 'symbolic links cannot be made here (Operation not permitted)', call='symlink',
                     fault=errno.EPERM)
        self.ends_like('unlinked', 'second', 4)
        for link in ('best', 'last'):
            self.assertFalse(os.path.islink(self.path('unlinked/checkpoints', link)))
            self.succeeds(run('selene-evaluate', f'unlinked/checkpoints/{link}', cwd=self.folder), 'accuracy')
            self.succeeds(run('selene-inspect', f'unlinked/checkpoints/{link}', cwd=self.folder), name(4))
        longer = {**SECOND, 'train.updates': 6}
        self.succeeds(self.train('copied', longer, '--resume', 'unlinked/checkpoints/last'), '(update 4)')
        self.succeeds(self.train('unlinked', longer), '(update 4)', 'finished update=6')
        self.assertTrue(os.path.islink(self.path('unlinked/checkpoints/last')))

    def test_a_signal_between_fork_and_exec(self):
        for file, text in (('r.yaml', 'model: {dim: 16}\n'), ('m.yaml', 'model: {layers: 1}\n'),
                           ('g.yaml', 'measure: training\nrecipes: {r: r.yaml}\nmodels: {m: m.yaml}\nseeds: 1\nout: o\n'),
                           ('selene-train', '#!/bin/sh\nexec sleep 20\n')):
            with open(self.path(file), 'w', encoding='utf-8') as out:
                out.write(text)
        os.chmod(self.path('selene-train'), 0o755)
        shutil.copy2(program('selene-sweep'), self.path('selene-sweep'))  # programs lie beside it
        environment = {**os.environ, 'LD_PRELOAD': LIBRARY, 'FAULT_PATH': 'selene-train', 'FAULT_SLOW': '500'}
        begin = time.monotonic()
        process = subprocess.Popen(['./selene-sweep', 'g.yaml', '--device', 'cpu'], cwd=self.folder, env=environment,
                                   stderr=subprocess.PIPE, text=True)
        while not os.path.exists(self.path('o/r/m/seed-1.out')):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        time.sleep(0.1)
        process.terminate()
        _, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, -signal.SIGTERM, err)
        self.assertLess(time.monotonic() - begin, 15)  # or the program had its 20 s

    def test_without_locks(self):
        self.lacking('unlocked', call='flock', fault=errno.ENOLCK)
        self.ends_like('unlocked', 'second', 4)

    def test_links_that_cannot_be_replaced_stop_no_run(self):
        for link in ('best', 'last'):
            self.lacking(f'stuck-{link}', f'checkpoints/{link}: renaming failed', call='rename', fault=errno.EXDEV,
                         path=f'stuck-{link}/checkpoints/{link}')
            self.succeeds(self.train(f'stuck-{link}', SECOND), 'finished and tested')
            self.ends_like(f'stuck-{link}', 'second', 4)

    def test_old_checkpoints_that_cannot_be_removed_stop_no_run(self):
        self.lacking('kept', f'{name(2)}: old checkpoint cannot be removed', call='unlink', fault=errno.EPERM)
        self.assertIn(name(2), self.checkpoints('kept'))


if __name__ == '__main__':
    unittest.main()
