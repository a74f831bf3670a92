"""What the tests of selene-sweep share: tiny models, and how it is called."""
import os
import subprocess

from common import SOURCE, TIMEOUT, FolderCase, program, settings

TINY = {'model.dim': 16, 'model.heads': 2, 'model.ffn_dim': 16, 'model.head_dim': 16, 'data.max_length': 130}
ONE_CELL = ['--scale', '0.0001', '--recipes', 'listops', '--models', 'luna-16', '--device', 'cpu', *settings(TINY)]
GRIDS = os.path.join(SOURCE, 'recipes/sweeps')
LONG = {'train.updates': 100000, 'train.log_every': 1}


def grid_file(name):
    return os.path.join(GRIDS, name + '.yaml')


class SweepCase(FolderCase):
    def text(self, *parts):
        with open(self.path(*parts), encoding='utf-8') as file:
            return file.read()

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)
        return name

    def start(self, grid, *arguments, out='out'):
        """A process in a group of its own, so that a signal to the group is a terminal's."""
        grid = grid if grid.endswith('.yaml') else grid_file(grid)
        return subprocess.Popen([program('selene-sweep'), grid, *arguments, '--out', out, '--data', 'data', '--raw', 'raw'],
                                cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def call(self, grid, *arguments, out='out', status=0):
        process = self.start(grid, *arguments, out=out)
        process.out, process.err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, status, process.out + process.err)
        return process

    def metrics(self, out, model='luna-16', seed=1):
        return self.path(out, f'listops/{model}/seed-{seed}/metrics.jsonl')
