"""tools/gpu_check.sh: what its results say, and that a run which is ended at any moment leaves them whole."""
import json
import os
import random
import signal
import subprocess
import tarfile
import time
import unittest

from common import SOURCE, TIMEOUT, TOOLS, FolderCase

SCRIPT = os.path.join(SOURCE, 'tools/gpu_check.sh')
STAGES = ['machine', 'ceilings', 'kernels', 'attention']


class Results(FolderCase):
    def report(self, name, rows):
        """Exit status and result of a run whose stage `attention` has left these rows."""
        raw, out = self.path(name, 'raw'), self.path(name, 'out')
        os.makedirs(raw)
        os.makedirs(out)
        with open(os.path.join(raw, 'stages.tsv'), 'w', encoding='utf-8') as file:
            file.write('attention\t0\t1.5\tlast line\n')
        with open(os.path.join(raw, 'attention.jsonl'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(row) + '\n' for row in rows)
        status = subprocess.run(['python3', '-B', os.path.join(SOURCE, 'tools/gpu/gpu_check.py'), out, '--raw', raw],
                                stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=False).returncode
        with open(os.path.join(out, 'result.json'), encoding='utf-8') as file:
            return status, json.load(file)['stages'][0]

    def test_a_time_of_slower_kernels_fails(self):
        row = {'kernel': 'own', 'pass': 'forward', 'shape': '1x2x3x4x24', 'ms': 1.0, 'fallbacks': []}
        status, stage = self.report('fast', [row])
        self.assertEqual((status, stage['status']), (0, 'ok'))
        slower = {'operation': 'AttentionFwd', 'dtype': 'f16', 'shape': '1x2x3x4x24', 'reason': 'head size 24', 'calls': 3}
        status, stage = self.report('slow', [row, {**row, 'fallbacks': [slower]}, {**row, 'fallbacks': [slower]}])
        self.assertEqual((status, stage['status']), (1, 'failed'))
        self.assertEqual(stage['remark'], 'slower kernels: AttentionFwd f16 1x2x3x4x24: head size 24')


class Killed(FolderCase):
    def start(self, out):
        temporary = out + '-tmp'  # also the mark of its processes
        os.mkdir(temporary)
        return subprocess.Popen(
            [SCRIPT, out, '--device', 'simt', '--build', os.path.dirname(TOOLS), '--only', ','.join(STAGES)],
            env={**os.environ, 'TMPDIR': temporary}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @staticmethod
    def end_what_is_left(out):
        mark = f'TMPDIR={out}-tmp'.encode()
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/environ', 'rb') as file:
                    if mark in file.read().split(b'\0'):
                        os.kill(int(pid), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue

    def result(self, out):
        """The statuses of the stages, in order; everything in the folder can be read."""
        with open(os.path.join(out, 'result.json'), encoding='utf-8') as file:
            stages = json.load(file)['stages']
        with open(os.path.join(out, 'result.md'), encoding='utf-8') as file:
            page = file.read()
        self.assertTrue(page.startswith('# GPU check\n'))
        if os.path.exists(os.path.join(out, 'logs.tar.gz')):
            with tarfile.open(os.path.join(out, 'logs.tar.gz')) as logs:
                logs.getnames()
        self.assertEqual([stage['name'] for stage in stages], STAGES[:len(stages)])
        for stage in stages:
            self.assertIn('| %s |' % stage['name'], page)
        return [stage['status'] for stage in stages]

    def test_whenever_it_is_killed_what_it_found_is_there(self):
        whole = self.path('whole')
        begin = time.monotonic()
        self.assertEqual(self.start(whole).wait(TIMEOUT), 0)
        seconds = time.monotonic() - begin
        self.assertEqual(self.result(whole), ['ok'] * len(STAGES))
        day = os.environ.get('SELENE_TEST_DAY')
        chance = random.Random(day)
        for number in range(2 if day else 10):
            after = chance.uniform(0, seconds)
            out = self.path(f'killed-{number}')
            with self.subTest(number=number, after=after):
                script = self.start(out)
                end = time.monotonic() + TIMEOUT
                while not os.path.exists(os.path.join(out, 'logs.tar.gz')) and time.monotonic() < end:
                    time.sleep(0.01)
                time.sleep(after)
                script.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
                script.wait(TIMEOUT)
                self.end_what_is_left(out)
                self.assertLessEqual(set(self.result(out)), {'ok', 'cut off'})


if __name__ == '__main__':
    unittest.main()
