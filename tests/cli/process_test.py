"""What a program finds when it starts: closed or broken standard streams, another loader, the terminal's variables,
limits of threads and address space."""
import os
import pty
import re
import shutil
import subprocess
import unittest

from common import SMALL, TIMEOUT, Case, complaint, program, read_metrics, run, sanitized

LOADER = '/lib64/ld-linux-x86-64.so.2'


class Streams(Case):
    def test_closed_streams_are_not_the_next_files(self):
        def close():
            os.closerange(0, 3)
        arguments = self.command('closed', SMALL)
        status = subprocess.run([program('selene-train'), *map(str, arguments)], cwd=self.folder, preexec_fn=close,
                                timeout=TIMEOUT, check=False).returncode
        self.assertEqual(status, 0)
        self.assertEqual([row['kind'] for row in read_metrics(self.path('closed/metrics.jsonl'))][-1], 'test')
        with open(self.path('closed/recipe.yaml'), encoding='utf-8') as file:
            self.assertTrue(file.read().startswith('name: '))

    def test_a_run_goes_on_when_nobody_reads_its_log(self):
        reader, writer = os.pipe()
        with subprocess.Popen([program('selene-train'), *map(str, self.command('unread', SMALL))], cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=writer, text=True) as process:
            os.close(writer), os.close(reader)
            out, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)
        self.assertIn('finished update=4', out)

    def test_why_a_run_ended_stands_in_its_log(self):
        result = self.train('logged', SMALL, file_limit=20000)
        self.refuses(result, 'File too large')
        with open(self.path('logged/log.txt'), encoding='utf-8') as file:
            self.assertIn('error ' + complaint(result)[0].removeprefix('error: '), file.read())

    def test_an_open_stream_is_no_file_to_replace(self):
        self.succeeds(self.train('streams', SMALL))
        for words in (['selene-evaluate', 'streams', '--predictions', '/dev/stdout'],
                      ['selene-inspect', 'data', '--png', '/dev/stdout']):
            result = run(*words, cwd=self.folder)
            self.assertEqual((result.returncode, result.stdout[:1] == '\x89'), (1, False), result.stderr)
        with open(self.path('out.html'), 'w', encoding='utf-8') as out:
            out.write('before\n'), out.flush()
            subprocess.run([program('selene-report'), 'streams', '--out', '/dev/stdout'], cwd=self.folder, stdout=out,
                           timeout=TIMEOUT, check=True)
        with open(self.path('out.html'), encoding='utf-8') as out:
            page = out.read()
        self.assertTrue(page.startswith('before\n') and page.rstrip().endswith('</html>'), page[-60:])

    def test_results_that_cannot_be_written(self):
        for words in (['selene-inspect', 'data'], ['selene-train', '--describe'], ['selene-prepare', '--help']):
            with self.subTest(words), open('/dev/full', 'w', encoding='utf-8') as full:
                result = subprocess.run([program(words[0]), *words[1:]], cwd=self.folder, stdout=full,
                                        stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
                self.assertEqual((result.returncode, result.stderr),
                                 (1, 'error: standard output cannot be written: No space left on device\n'))
            reader, writer = os.pipe()
            os.close(reader)
            result = subprocess.run([program(words[0]), *words[1:]], cwd=self.folder, stdout=writer, stderr=subprocess.PIPE,
                                    text=True, timeout=TIMEOUT, check=False)
            os.close(writer)
            self.assertEqual((result.returncode, result.stderr), (-13, ''))  # SIGPIPE


class Start(Case):
    def test_through_the_loader_a_program_is_itself(self):
        if not os.path.exists(LOADER):
            self.skipTest('no ' + LOADER)
        for name in ('selene-train', 'selene-evaluate', 'selene-bench', 'selene-prepare'):
            with self.subTest(name):
                plain = run(name, '--version')
                loaded = subprocess.run([LOADER, program(name), '--version'], capture_output=True, text=True,
                                        timeout=TIMEOUT, check=False)
                self.assertEqual((loaded.returncode, loaded.stdout), (0, plain.stdout), loaded.stderr)


class Limits(Case):
    def setUp(self):
        if sanitized('selene-train'):
            self.skipTest('built with a sanitizer')

    def test_what_the_system_refuses_is_named(self):
        refused = 0
        for mebibytes in (60, 70, 80, 90, 100, 120, 160, 2000):  # from too little for the code of matrix products to enough
            with self.subTest(mebibytes):
                shutil.rmtree(self.path('narrow'), ignore_errors=True)
                result = self.train('narrow', {**SMALL, 'train.threads': 1}, space_limit=mebibytes << 20)
                if result.returncode == 127:  # the system's own loader says so
                    continue
                self.assertIn(result.returncode, (0, 1), result.stderr)
                if result.returncode:
                    refused += 1
                    self.refuses(result)
        self.assertEqual(result.returncode, 0)
        self.assertGreater(refused, 0)

    def test_threads_that_cannot_be_started(self):
        result = self.train('threads', {**SMALL, 'train.threads': 4096}, '--dry-run', space_limit=3000 << 20)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('of 4096 threads compute', result.stderr)
        self.succeeds(run('selene-prepare', 'pathfinder', '--out', 'few', '--count', 2000, '--threads', 1000, cwd=self.folder,
                          space_limit=1000 << 20), 'made')

    def test_a_run_that_does_not_fit_the_address_space_is_refused_before_it_starts(self):
        result = self.train('large', {**SMALL, 'model.dim': 2048, 'model.ffn_dim': 8192, 'model.layers': 4},
                            space_limit=1000 << 20)
        self.refuses(result, 'MiB of memory', 'address space (ulimit -v)')
        self.assertFalse(os.path.exists(self.path('large')))


class Terminal(Case):
    def seen(self, variables):
        """What a training writes to a terminal."""
        main, other = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name not in ('NO_COLOR', 'TERM')}
        with subprocess.Popen([program('selene-train'), *map(str, self.command('colours', SMALL, '--dry-run', '--device', 'cpu'))],
                              cwd=self.folder, env={**environment, **variables}, stderr=other,
                              stdout=subprocess.DEVNULL) as process:
            os.close(other)
            text = b''
            while True:
                try:
                    more = os.read(main, 65536)
                except OSError:  # the other end is closed
                    break
                text += more
            process.wait(TIMEOUT)
        os.close(main)
        self.assertIn(b'device:', text)
        return text

    def test_colours_only_where_they_are_wanted(self):
        self.assertIsNotNone(re.search(rb'\x1b\[3\dm', self.seen({'TERM': 'xterm-256color'})))
        self.assertIsNotNone(re.search(rb'\x1b\[3\dm', self.seen({'TERM': 'xterm-256color', 'NO_COLOR': ''})))
        for variables in ({'TERM': 'xterm-256color', 'NO_COLOR': '1'}, {'TERM': 'dumb'}, {}):
            with self.subTest(variables):
                self.assertNotIn(b'\x1b', self.seen(variables))


if __name__ == '__main__':
    unittest.main()
