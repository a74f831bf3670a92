"""Stopped runs: killed, asked to stop, with a damaged checkpoint. However a run came to its end, the bits are the same."""
import os
import shutil
import signal
import subprocess
import time
import unittest

from common import MODEL, TIMEOUT, Case, program, read_metrics, read_tensors, run

LAST = 'update-00000040.safetensors'
NEWER, OLDER = LAST, 'update-00000020.safetensors'


class Resume(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        straight = cls('train').train('straight', MODEL)
        assert straight.returncode == 0, straight.stderr

    def same_end(self, out):
        """Parameters, optimiser and metrics of runs/out are those of the run that was never stopped."""
        want, _ = read_tensors(self.path('straight/checkpoints', LAST))
        got, _ = read_tensors(self.path(out, 'checkpoints', LAST))
        self.assertGreater(sum(name.startswith('optimizer.') for name in want), 10)
        self.assertEqual(list(got), list(want))
        self.assertEqual([name for name in want if got[name] != want[name]], [])
        self.assertEqual(read_metrics(self.path(out, 'metrics.jsonl')), read_metrics(self.path('straight/metrics.jsonl')))

    def test_a_run_repeats_itself(self):
        self.succeeds(self.train('again', MODEL), 'finished update=40')
        self.same_end('again')

    def test_another_seed_gives_other_bits(self):  # or the comparison above would show nothing
        self.succeeds(self.train('other', {**MODEL, 'train.seed': 2}))
        with self.assertRaises(AssertionError):
            self.same_end('other')

    def test_killed_in_update_23_and_resumed_with_another_number_of_threads(self):
        self.succeeds(self.train('killed', {**MODEL, 'train.updates': 20}), 'finished update=20')
        process = self.train_until('killed', MODEL, 21, signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL, process.err)
        self.assertGreater(read_metrics(self.path('killed/metrics.jsonl'))[-1]['update'], 21)
        self.assertNotIn(LAST, self.checkpoints('killed'))
        leftover = self.write('killed/checkpoints/.update-00000030.safetensors.1-0.selene-tmp', 'half a check')
        self.succeeds(self.train('killed', {**MODEL, 'train.threads': 1}), 'resumed from', '(update 20)')
        self.same_end('killed')
        self.assertFalse(os.path.exists(self.path(leftover)))

    def test_killed_before_the_first_checkpoint(self):
        process = self.train_until('early', MODEL, 3, signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL, process.err)
        self.assertNotIn(OLDER, self.checkpoints('early'))
        self.succeeds(self.train('early', MODEL), 'started anew')
        self.same_end('early')

    def test_a_finished_run_is_left_as_it_is(self):
        shutil.copytree(self.path('straight'), self.path('finished'), symlinks=True)
        before = os.stat(self.path('finished/checkpoints', LAST)).st_mtime_ns
        self.succeeds(self.train('finished', MODEL), 'finished update=40')
        self.assertEqual(os.stat(self.path('finished/checkpoints', LAST)).st_mtime_ns, before)
        self.same_end('finished')

    def test_a_finished_run_keeps_its_recipe_and_says_so(self):
        self.succeeds(self.train('short', {**MODEL, 'train.updates': 20}))
        with open(self.path('short/recipe.yaml'), encoding='utf-8') as file:
            before = file.read()
        result = self.train('short', {**MODEL, 'train.updates': 10})
        self.succeeds(result, 'finished update=20')
        self.assertIn('nothing to train', result.stderr)
        with open(self.path('short/recipe.yaml'), encoding='utf-8') as file:
            self.assertEqual(file.read(), before)

    def test_a_test_of_a_shorter_run_does_not_finish_a_longer_one(self):
        self.succeeds(self.train('stretched', {**MODEL, 'train.updates': 20}), 'finished update=20')
        with open(self.path('stretched/recipe.yaml'), encoding='utf-8') as file:  # as a kill soon after a longer start leaves it
            recipe = file.read().replace('updates: 20', 'updates: 40')
        self.write('stretched/recipe.yaml', recipe)
        self.assertIn('updates: 40', recipe)
        self.succeeds(self.train('stretched', MODEL), 'finished update=40')
        self.same_end('stretched')

    def test_a_named_checkpoint_into_another_folder(self):
        self.succeeds(self.train('first', {**MODEL, 'train.updates': 20}))
        self.succeeds(self.train('second', MODEL, '--resume', self.path('first/checkpoints/last')), 'finished update=40')
        self.assertIn('best', self.checkpoints('second'))

    def test_other_examples_at_the_same_place_are_noticed(self):
        def prepare(seed):
            self.succeeds(run('selene-prepare', 'listops', '--out', 'changing', '--train', 400, '--valid', 40, '--test', 40,
                              '--min-length', 9, '--max-length', 30, '--seed', seed, '--force', cwd=self.folder), 'made')
        values = {**MODEL, 'data.path': 'changing', 'train.updates': 20}
        prepare(7)
        self.succeeds(self.train('changed', values), 'finished update=20')
        self.succeeds(self.train('changed', values), 'nothing to train')
        prepare(8)
        for updates in (20, 40):  # a finished run too would give its old numbers as those of the new examples
            self.refuses(self.train('changed', {**values, 'train.updates': updates}), LAST.replace('40', '20'), 'other examples')
        prepare(7)
        self.succeeds(self.train('changed', {**values, 'train.updates': 40}), '(update 20)')
        self.same_end('changed')

    def test_two_at_once_in_one_folder(self):
        slow = {**MODEL, 'train.updates': 4000}
        with subprocess.Popen([program('selene-train'), *self.command('shared', slow)], cwd=self.folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
            try:
                end = time.monotonic() + TIMEOUT
                while not os.path.exists(self.path('shared/metrics.jsonl')) and time.monotonic() < end:
                    time.sleep(0.01)
                self.refuses(self.train('shared', slow), 'another selene-train')
                self.assertIsNone(first.poll())
            finally:
                first.kill()

    def test_profiling_is_not_finishing(self):
        self.succeeds(self.train('profiled', MODEL, '--profile', 3), 'stopped update=3')
        self.succeeds(self.train('profiled', MODEL), 'finished update=40')
        self.same_end('profiled')

    def test_sigterm_finishes_the_step_and_exits_with_the_code_of_the_recipe(self):
        values = {**MODEL, 'train.preempt_exit_code': 85}
        process = self.train_until('preempted', values, 4, signal.SIGTERM)
        self.assertEqual(process.returncode, 85, process.err)
        update = int(process.out.split('interrupted update=')[1].split()[0])
        self.assertIn(f'update-{update:08}.safetensors', self.checkpoints('preempted'))
        self.assertEqual(read_metrics(self.path('preempted/metrics.jsonl'))[-1]['update'], update)
        self.assertIn('go on', process.err)
        self.succeeds(self.train('preempted', MODEL), f'(update {update})')
        self.same_end('preempted')

    def test_sigint_exits_with_0_by_default(self):
        process = self.train_until('interrupted', MODEL, 4, signal.SIGINT)
        self.assertEqual(process.returncode, 0, process.err)
        self.assertIn('interrupted update=', process.out)

    def damaged(self, out, damage):
        """A copy of the straight run whose newest checkpoint's bytes went through `damage`, resumed."""
        shutil.copytree(self.path('straight'), self.path(out), symlinks=True)
        with open(self.path(out, 'checkpoints', NEWER), 'rb') as file:
            content = file.read()
        with open(self.path(out, 'checkpoints', NEWER), 'wb') as file:
            file.write(damage(content))
        return self.train(out, MODEL)

    def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_taken(self):
        def flip(content, at):
            return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]

        damages = {'empty': lambda c: b'', 'cut in the length': lambda c: c[:5], 'cut in the header': lambda c: c[:100],
                   'cut in a tensor': lambda c: c[:len(c) // 2], 'without its last byte': lambda c: c[:-1],
                   'one byte more': lambda c: c + b'\0', 'a bit of a tensor': lambda c: flip(c, len(c) - 10),
                   'random bytes': lambda c: os.urandom(len(c))}
        for number, (what, damage) in enumerate(damages.items()):
            with self.subTest(what):
                result = self.damaged(f'damaged-{number}', damage)
                self.succeeds(result, f'checkpoint refused: damaged-{number}/checkpoints/{NEWER}', '(update 20)')
                self.same_end(f'damaged-{number}')

    def test_a_named_checkpoint_is_taken(self):
        shutil.copytree(self.path('straight'), self.path('named'), symlinks=True)
        self.succeeds(self.train('named', MODEL, '--resume', f'named/checkpoints/{OLDER}'), '(update 20)')
        self.same_end('named')

    def test_a_run_may_get_longer(self):
        shutil.copytree(self.path('straight'), self.path('longer'), symlinks=True)
        self.succeeds(self.train('longer', {**MODEL, 'train.updates': 42, 'train.log_every': 2}), 'finished update=42')


if __name__ == '__main__':
    unittest.main()
