"""What the command-line tests share: programs, tiny data and models, checkpoints as bytes. Python's own library only."""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.environ.get('SELENE_TOOLS', os.path.join(SOURCE, 'build/tools'))  # folder of the built programs
TIMEOUT = 300  # s for one program; sanitizer builds on a busy machine need most of it
LOG_LINE = re.compile(r'^(\d\d:\d\d:\d\d (debug|info|warning|error) |(train|listops|text|image|retrieval|pathfinder|evaluate|valid): \d+(/\d+)? )')

# A model of some 100,000 parameters with every dropout on; an update takes long enough to be met by a signal.
MODEL = {'model.layers': 2, 'model.dim': 64, 'model.heads': 4, 'model.ffn_dim': 128, 'model.head_dim': 64,
         'model.dropout': 0.1, 'model.attention_dropout': 0.1, 'model.activation_dropout': 0.1,
         'model.luna.projection_length': 8, 'data.max_length': 32, 'train.batch_size': 32, 'train.log_every': 1,
         'train.validate_every': 20, 'train.checkpoint_every': 20, 'train.updates': 40, 'train.threads': 2}
SMALL = {**MODEL, 'model.layers': 1, 'model.dim': 16, 'model.ffn_dim': 16, 'model.head_dim': 16, 'model.heads': 2,
         'train.batch_size': 4, 'train.updates': 4, 'train.checkpoint_every': 2, 'train.validate_every': 4}


def program(name):
    return os.path.join(TOOLS, name)


def sanitized(name):
    """Whether a program was built with a sanitizer, whose shadow memory no limit of address space leaves room for."""
    with open(program(name), 'rb') as file:
        return re.search(rb'__[at]san_init', file.read()) is not None


def run(name, *arguments, cwd=None, file_limit=None, space_limit=None):
    """Runs a program to its end; file_limit: bytes that a file may grow to, as a stand-in for a full disk; space_limit:
    bytes of address space."""
    def limit():
        for what, most in ((resource.RLIMIT_FSIZE, file_limit), (resource.RLIMIT_AS, space_limit)):
            if most is not None:
                resource.setrlimit(what, (most, most))
    return subprocess.run([program(name), *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          errors='replace', timeout=TIMEOUT, preexec_fn=limit, check=False)


def settings(values):
    return [word for key, value in values.items() for word in ('--set', f'{key}={value}')]


def complaint(result):
    """The lines of stderr that are neither log nor progress."""
    lines = re.split(r'[\r\n]+', result.stderr)
    return [line for line in lines if line.strip() and not LOG_LINE.match(line)]


def read_tensors(path):
    """name -> (dtype, shape, bytes) of a safetensors file, and its metadata."""
    with open(path, 'rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        content = file.read()
    metadata = header.pop('__metadata__', {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry['data_offsets']
        tensors[name] = (entry['dtype'], tuple(entry['shape']), content[begin:end])
    return tensors, metadata


def read_metrics(path):
    """Rows of metrics.jsonl without what depends on the clock."""
    with open(path, encoding='utf-8') as file:
        return [{key: value for key, value in json.loads(line).items() if not key.endswith('_s')} for line in file]


def last_update(metrics):
    """The last update in metrics.jsonl, of a run that may still write it; 0 where there is none."""
    if not os.path.exists(metrics):
        return 0
    with open(metrics, 'rb') as file:
        return max(map(int, re.findall(rb'"update":(\d+)', file.read())), default=0)


def wait_for_update(process, metrics, update):
    """Returns as soon as an update later than `update` shows in the file, or the process has ended."""
    end = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < end and last_update(metrics) <= update:
        time.sleep(0.001)


# The programs start with what a terminal gives them: a job in the background inherits signals that its shell ignores.
for stop in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(stop) == signal.SIG_IGN:
        signal.signal(stop, signal.SIG_DFL)


class FolderCase(unittest.TestCase):
    """A fresh folder for the tests of one class."""
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='selene-cli-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)


class Case(FolderCase):
    """A fresh folder with a small ListOps data set in data/."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = run('selene-prepare', 'listops', '--out', 'data', '--train', 400, '--valid', 40, '--test', 40,
                   '--min-length', 9, '--max-length', 30, '--seed', 7, '--tsv', cwd=cls.folder)
        assert made.returncode == 0, made.stderr

    def write(self, name, text):
        with open(self.path(name), 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return name

    def command(self, out, values, *more):
        return [os.path.join(SOURCE, 'recipes/quickstart.yaml'), '--out', out,
                *settings({'data.path': 'data', **values}), *more]

    def train(self, out, values, *more, **keywords):
        return run('selene-train', *self.command(out, values, *more), cwd=self.folder, **keywords)

    def train_until(self, out, values, update, signal):
        """Starts a training, sends the signal as soon as an update later than `update` shows, returns the process."""
        with subprocess.Popen([program('selene-train'), *self.command(out, values)], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_for_update(process, self.path(out, 'metrics.jsonl'), update)
            process.send_signal(signal)
            process.out, process.err = process.communicate(timeout=TIMEOUT)
            return process

    def checkpoints(self, out):
        folder = self.path(out, 'checkpoints')
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def succeeds(self, result, *wanted):
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(complaint(result), [])
        for text in wanted:
            self.assertIn(text, result.stdout + result.stderr)

    def refuses(self, result, *wanted, status=1):
        """One line "error: ..." that holds every wanted text, nothing on stdout, the exit status."""
        lines = complaint(result)
        self.assertEqual((result.returncode, result.stdout), (status, ''), result.stderr)
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith('error: '), lines[0])
        for text in wanted:
            self.assertIn(text, lines[0])
