"""Which checkpoint a run goes on from, keeps and tests: its own record says it, links and missing files change nothing."""
import json
import os
import shutil
import signal
import subprocess
import unittest

from common import MODEL, SMALL, TIMEOUT, Case, program, read_metrics, read_tensors, run, wait_for_update

# Nothing is learnt: the first validation is the best one for good.
STILL = {**SMALL, 'optim.lr': 0, 'schedule.init_lr': 0, 'train.validate_every': 2}
LONGER = {**STILL, 'train.updates': 8, 'train.keep': 1}


def name(update):
    return f'update-{update:08}.safetensors'


class Best(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls('train').train('made', STILL)
        assert made.returncode == 0, made.stderr

    def copy(self, out):
        shutil.copytree(self.path('made'), self.path(out), symlinks=True)
        return lambda *names: [self.path(out, 'checkpoints', one) for one in names]

    def best_tested(self, out):
        return [row['best_update'] for row in read_metrics(self.path(out, 'metrics.jsonl')) if row['kind'] == 'test']

    def links(self, out):
        return {link: os.readlink(self.path(out, 'checkpoints', link)) for link in ('best', 'last')}

    def test_without_links_the_best_one_is_kept_and_tested(self):
        for path in self.copy('unlinked')('best', 'last'):
            os.remove(path)
        for given, update in (('unlinked', 2), ('unlinked/checkpoints/best', 2), ('unlinked/checkpoints/last', 4)):
            self.assertEqual(run('selene-evaluate', given, cwd=self.folder).stderr, '')
            self.succeeds(run('selene-evaluate', given, cwd=self.folder), 'accuracy')
            self.succeeds(run('selene-inspect', f'unlinked/checkpoints/{["best", "last"][update // 4]}', cwd=self.folder), name(update))
        shown = json.loads(run('selene-inspect', 'unlinked', '--json', cwd=self.folder).stdout)['checkpoints']
        self.assertEqual([(c['update'], c['last'], c['best']) for c in shown], [(4, True, False), (2, False, True)])
        self.succeeds(run('selene-report', 'unlinked', cwd=self.folder))
        with open(self.path('unlinked/report.html'), encoding='utf-8') as file:
            self.assertIn(f'{name(4)} (last)\n{name(2)} (best)\n', file.read())
        self.succeeds(self.train('unlinked', LONGER), 'finished update=8')
        self.assertEqual(self.checkpoints('unlinked'), ['best', 'last', name(2), name(8)])
        self.assertEqual((self.best_tested('unlinked'), self.links('unlinked')), ([2], {'best': name(2), 'last': name(8)}))

    def test_links_that_lie_are_put_right_by_any_start(self):
        best, last, old = self.copy('lying')('best', 'last', name(2))
        for link in (best, last):
            os.remove(link)
        os.symlink(name(4), best)
        shutil.copyfile(old, last)  # as a copy without links leaves it
        leftover = self.write('lying/checkpoints/.best.1-0.selene-tmp', 'half')
        self.succeeds(self.train('lying', STILL), 'finished and tested')
        self.assertEqual(self.links('lying'), {'best': name(2), 'last': name(4)})
        self.assertFalse(os.path.exists(self.path(leftover)))

    def test_the_newest_takes_the_place_of_a_lost_best_one(self):
        def cut(path):
            os.truncate(path, 100)

        def folder(path):
            os.remove(path)
            os.mkdir(path)

        for number, damage in enumerate((os.remove, cut, folder)):
            with self.subTest(number):
                out = f'lost-{number}'
                damage(self.copy(out)(name(2))[0])
                # Twice before the next validation: said once, and the one that took the place is kept.
                seldom = {**STILL, 'train.validate_every': 100, 'train.keep': 1}
                shutil.copytree(self.path(out), self.path(f'{out}-twice'), symlinks=True)
                for updates, told in ((8, 1), (12, 0)):
                    result = self.train(f'{out}-twice', {**seldom, 'train.updates': 10 ** 6}, '--profile', 4)
                    self.assertEqual(result.stderr.count('takes its place'), told, result.stderr)
                    self.assertEqual(self.links(f'{out}-twice'), {'best': name(4), 'last': name(updates)})
                self.succeeds(self.train(f'{out}-twice', {**seldom, 'train.updates': 14}), 'finished update=14')
                self.assertEqual(self.best_tested(f'{out}-twice'), [14])
                shutil.copytree(self.path(out), self.path(f'{out}-named'), symlinks=True)
                self.succeeds(self.train(f'{out}-named', {**STILL, 'train.updates': 6}, '--resume', f'{out}-named/checkpoints/last'),
                              'update 4 takes its place')
                self.assertEqual(self.best_tested(f'{out}-named'), [6])
                evaluated = run('selene-evaluate', out, cwd=self.folder)
                self.succeeds(evaluated, name(2), f'{name(4)}, the newest one, takes its place')
                result = self.train(out, {**STILL, 'train.updates': 8})
                self.succeeds(result, 'finished update=8')
                self.assertEqual(result.stderr.count('takes its place'), 1, result.stderr)
                self.assertEqual((self.best_tested(out), self.links(out)), ([6], {'best': name(6), 'last': name(8)}))
                self.succeeds(self.train(out, {**STILL, 'train.updates': 8}), 'finished')

    def test_lost_when_only_the_test_is_missing(self):
        os.remove(self.copy('untested')(name(2))[0])
        with open(self.path('untested/metrics.jsonl'), 'r+', encoding='utf-8') as file:
            rows = [line for line in file if '"test"' not in line]
            file.seek(0)
            file.truncate()
            file.writelines(rows)
        self.succeeds(self.train('untested', STILL), 'update 4 takes its place', 'finished update=4')
        self.assertEqual((self.best_tested('untested'), self.links('untested')), ([4], {'best': name(4), 'last': name(4)}))

    def test_folders_in_the_place_of_links(self):
        for link in self.copy('folders')('best', 'last'):
            os.remove(link)
            os.mkdir(link)
        result = self.train('folders', LONGER)
        self.succeeds(result, 'finished update=8', 'checkpoints/best: is a folder', 'checkpoints/last: is a folder')
        self.assertEqual(result.stderr.count('last: is a folder'), 1)
        self.assertEqual(self.best_tested('folders'), [2])

    def test_before_the_first_validation(self):
        values = {**SMALL, 'train.updates': 10 ** 8, 'train.validate_every': 10 ** 8, 'train.checkpoint_every': 10 ** 8}
        process = self.train_until('early', values, 1, signal.SIGINT)
        self.assertEqual(process.returncode, 0, process.err)
        for given in ('early', 'early/checkpoints', 'early/checkpoints/best'):
            self.succeeds(run('selene-evaluate', given, cwd=self.folder), 'no best checkpoint before the first validation',
                          'the newest one, takes its place', 'accuracy')

    def test_how_to_go_on_from_a_named_one(self):
        values = {**STILL, 'train.updates': 10 ** 8}
        with subprocess.Popen([program('selene-train'), *self.command('forked', values, '--resume', 'made')], cwd=self.folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            wait_for_update(process, self.path('forked/metrics.jsonl'), 4)
            process.send_signal(signal.SIGTERM)
            self.assertIn('go on with the same command without --resume', process.communicate(timeout=TIMEOUT)[1])

    def test_where_none_can_be_taken_the_run_does_not_start_anew(self):
        self.copy('foreign')
        for one in (name(2), name(4)):
            with open(self.path('foreign/checkpoints', one), 'rb') as file:
                content = file.read()
            self.write(f'foreign/checkpoints/{one}', content.replace(b'"format_version":"2"', b'"format_version":"9"'))
        before = read_metrics(self.path('foreign/metrics.jsonl'))
        self.refuses(self.train('foreign', LONGER), 'foreign/checkpoints', 'none of its 2 checkpoints', 'version 9')
        self.assertEqual(read_metrics(self.path('foreign/metrics.jsonl')), before)

    def test_back_to_an_older_one_the_newer_is_set_aside(self):
        self.copy('back')
        values = {**STILL, 'train.updates': 3, 'train.validate_every': 1}
        self.succeeds(self.train('back', values, '--resume', f'back/checkpoints/{name(2)}'), 'finished update=3')
        self.assertIn(name(4) + '.aside', self.checkpoints('back'))
        self.succeeds(self.train('back', {**values, 'train.updates': 5}), '(update 3)', 'finished update=5')
        rows = [row['update'] for row in read_metrics(self.path('back/metrics.jsonl')) if row['kind'] == 'train']
        self.assertEqual(rows, [1, 2, 3, 4, 5])

    def test_a_copy_of_the_links_alone_is_a_run(self):
        os.makedirs(self.path('few/checkpoints'))
        for link in ('last', 'best'):  # read through the links, as many tools copy
            shutil.copyfile(self.path('made/checkpoints', link), self.path('few/checkpoints', link))
        shutil.copyfile(self.path('made/metrics.jsonl'), self.path('few/metrics.jsonl'))
        self.succeeds(run('selene-evaluate', 'few', cwd=self.folder), '40 examples')
        self.succeeds(self.train('few', {**STILL, 'train.updates': 6}), '(update 4)', 'finished update=6')
        self.assertEqual(self.best_tested('few'), [2])

    def test_a_folder_that_is_moved_or_removed_under_a_run(self):
        values = {**STILL, 'train.updates': 10 ** 6, 'train.checkpoint_every': 10 ** 6, 'train.validate_every': 10 ** 6}
        for end in ('moved', 'removed'):
            with self.subTest(end):
                with subprocess.Popen([program('selene-train'), *self.command('before', values)], cwd=self.folder, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    wait_for_update(process, self.path('before/metrics.jsonl'), 1)
                    if end == 'moved':
                        os.rename(self.path('before'), self.path('after'))
                    else:
                        shutil.rmtree(self.path('before'))
                    process.send_signal(signal.SIGTERM)
                    out, err = process.communicate(timeout=TIMEOUT)
                if end == 'moved':
                    self.assertEqual(process.returncode, 0, err)
                    self.assertIn('after/checkpoints/update-', out)
                    self.assertIn('last', self.checkpoints('after'))
                else:
                    self.assertEqual(process.returncode, 1, err)
                    self.assertIn('before/checkpoints: was removed', err)
                self.assertFalse(os.path.exists(self.path('before')))

    def test_what_systems_leave_in_a_folder_is_no_obstacle(self):
        os.makedirs(self.path('disk/lost+found'))
        self.succeeds(self.train('disk', SMALL), 'finished update=4')
        shutil.rmtree(self.path('disk/checkpoints'))  # the rows of all those updates are not for a new run to delete
        self.refuses(self.train('disk', SMALL), 'disk: has the metrics of a run and no checkpoints')

    def test_the_checkpoint_of_another_run_is_not_mixed_in(self):
        self.copy('mine'), self.copy('other')
        self.refuses(self.train('mine', LONGER, '--resume', 'other'), 'mine: has checkpoints', '--resume other')
        self.assertEqual(read_metrics(self.path('mine/metrics.jsonl')), read_metrics(self.path('made/metrics.jsonl')))

    def test_folders_without_checkpoints(self):
        os.makedirs(self.path('none/checkpoints'))
        for given in ('none', 'none/checkpoints', 'data'):
            self.refuses(run('selene-evaluate', given, cwd=self.folder), f'{given}: has no checkpoint')

    def test_scores_of_other_examples_are_not_compared(self):
        self.copy('compared')
        longer = {**STILL, 'train.updates': 8}
        for split, what in (('valid', 'validated on other examples'), ('test', 'tested on other examples')):
            data = f'{split}-changed'
            shutil.copytree(self.path('data'), self.path(data))
            other = run('selene-prepare', 'listops', '--out', f'{split}-source', '--train', 40, '--valid', 60, '--test', 60,
                        '--min-length', 9, '--max-length', 30, '--seed', 8, cwd=self.folder)
            self.succeeds(other)
            shutil.copyfile(self.path(f'{split}-source/{split}.safetensors'), self.path(data, f'{split}.safetensors'))
            self.refuses(self.train('compared', {**longer, 'data.path': data}), name(4), what, '--resume FILE')
            elsewhere = self.train(f'moved-{split}', {**longer, 'data.path': data}, '--resume', f'compared/checkpoints/{name(4)}')
            self.succeeds(elsewhere, 'finished update=8')
            self.assertEqual(self.best_tested(f'moved-{split}'), [6])
        self.refuses(self.train('compared', {**longer, 'train.validate_examples': 7}), 'train.validate_examples')


class Validation(Case):
    """A validation that takes long beside an update."""

    def test_what_is_due_is_saved_before_the_validation_and_that_is_done_after_a_kill(self):
        made = run('selene-prepare', 'listops', '--out', 'long', '--train', 400, '--valid', 3000, '--test', 40,
                   '--min-length', 9, '--max-length', 30, '--seed', 7, cwd=self.folder)
        self.succeeds(made)
        for updates, number in ((4, signal.SIGKILL), (2, signal.SIGKILL), (4, signal.SIGTERM), (2, signal.SIGTERM)):
            with self.subTest(updates=updates, signal=number.name):
                values = {**MODEL, 'data.path': 'long', 'train.updates': updates, 'train.validate_every': 2,
                          'train.checkpoint_every': 2}
                out, straight = f'killed-{updates}-{number.name}', f'straight-{updates}'
                self.succeeds(self.train(straight, values))
                with subprocess.Popen([program('selene-train'), *self.command(out, values)], cwd=self.folder,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                    wait_for_update(process, self.path(out, 'metrics.jsonl'), 1)
                    while process.poll() is None and name(2) not in self.checkpoints(out):
                        pass
                    process.send_signal(number)
                    self.assertEqual(process.wait(TIMEOUT), 0 if number == signal.SIGTERM else -number)
                self.assertEqual([row['kind'] for row in read_metrics(self.path(out, 'metrics.jsonl'))], ['train'] * 2)
                self.succeeds(self.train(out, values), '(update 2)', f'finished update={updates}')
                rows, wanted = (read_metrics(self.path(run, 'metrics.jsonl')) for run in (out, straight))
                self.assertEqual(rows, wanted)
                got, want = (read_tensors(self.path(run, 'checkpoints', name(updates)))[0] for run in (out, straight))
                self.assertEqual(got, want)


class Numbers(Case):
    def test_losses_are_those_of_the_true_labels(self):
        losses, rows = [], []
        for smoothing in (0, 0.9):
            out = f'smoothed-{smoothing}'
            self.succeeds(self.train(out, {**STILL, 'train.best_metric': 'loss', 'train.label_smoothing': smoothing}))
            rows.append(read_metrics(self.path(out, 'metrics.jsonl')))
            losses.append(json.loads(run('selene-evaluate', out, '--json', cwd=self.folder).stdout))
        self.assertEqual(*[{key: one[key] for key in ('loss', 'perplexity', 'accuracy')} for one in losses])
        self.assertEqual(*[[(row['kind'], row['update'], row['loss']) for row in one] for one in rows])
        self.assertEqual([{row['kind'] for row in one if 'smoothed_loss' in row} for one in rows], [set(), {'train'}])

    def test_speeds_leave_out_validations_and_checkpoints_once(self):
        """A speed that took them off twice is too high or negative: compared with the clock over the whole run."""
        values = {**SMALL, 'train.updates': 60, 'train.validate_every': 2, 'train.log_every': 2, 'train.checkpoint_every': 2,
                  'train.threads': 1}
        self.succeeds(self.train('timed', values))
        with open(self.path('timed/metrics.jsonl'), encoding='utf-8') as file:
            rows = [json.loads(line) for line in file]
        train = [row for row in rows if row['kind'] == 'train']
        self.assertTrue(all(row['examples_per_s'] > 0 and row['tokens_per_s'] > 0 for row in train))
        walls = [row['wall_s'] for row in rows]
        self.assertEqual(walls, sorted(walls))
        trained = sum(2 * SMALL['train.batch_size'] / row['examples_per_s'] for row in train)
        validated = sum(40 / row['examples_per_s'] for row in rows if row['kind'] == 'valid')
        self.assertLess(trained + validated, walls[-1])  # the rest are checkpoints

    def test_a_profile_is_one_of_updates_alone(self):
        operations = []
        for every in (1, 100):
            out = f'profiled-{every}'
            self.succeeds(self.train(out, {**SMALL, 'train.validate_every': every}, '--profile', 3), 'stopped update=3')
            with open(self.path(out, 'profile.json'), encoding='utf-8') as file:
                operations.append([event['name'] for event in json.load(file)])
        self.assertEqual(*operations)


if __name__ == '__main__':
    unittest.main()
