#!/usr/bin/env python3
"""Counts the test cases in Meson's JSON test logs and shows what failed, in short.

Usage: tools/dev/count_tests.py TESTLOG.json...   Example: tools/dev/count_tests.py build/meson-logs/testlog.json
A program of Catch2, unittest, the golden harness or tools/dev/mutate.py counts its cases, any other counts as one. A program
that failed without naming a case (a crash, a time-out) counts as one failure. Last line: "N passed, N failed".
"""
import json
import re
import sys

SHOWN_LINES = 40  # of a failed program's output, from its end


def counts_in(text):
    """(passed, failed, skipped) as the output of a test program says, or None if it says nothing."""
    found = re.findall(r'^All tests passed \(.* in (\d+) test cases?\)', text, re.M)
    if found:
        return int(found[-1]), 0, 0
    if re.search(r'^No tests ran', text, re.M):
        return 0, 0, 0
    if lines := re.findall(r'^test cases: *\d+(.*)$', text, re.M):  # Catch2 with a failure or a skipped case
        number = {word: int(n) for n, word in re.findall(r'(\d+) (passed|failed|skipped)\b', lines[-1])}
        return number.get('passed', 0), number.get('failed', 0), number.get('skipped', 0)
    if found := re.findall(r'^all +(\d+) passed, +(\d+) failed, +(\d+) not yet supported', text, re.M):  # golden
        return tuple(int(n) for n in found[-1])
    if found := re.findall(r'^(\d+) caught, (\d+) survived', text, re.M):  # tools/dev/mutate.py
        return int(found[-1][0]), int(found[-1][1]), 0
    if found := re.findall(r'^Ran (\d+) tests? in', text, re.M):  # Python's unittest
        number = {word: int(n) for word, n in re.findall(r'\b(failures|errors|skipped)=(\d+)', text)}
        failed = number.get('failures', 0) + number.get('errors', 0)
        return int(found[-1]) - failed - number.get('skipped', 0), failed, number.get('skipped', 0)
    return None


def count(test):
    """(passed, failed, skipped) of one line of the log."""
    good = test['result'] in ('OK', 'EXPECTEDFAIL')
    if test['result'] == 'SKIP':
        return 0, 0, 1
    passed, failed, skipped = counts_in(test.get('stdout', '') + '\n' + test.get('stderr', '')) or (int(good), 0, 0)
    if good and (failed or passed + skipped == 0):
        return passed, max(1, failed), skipped  # ran nothing, or says that it failed and returns success
    return passed, failed if good else max(1, failed), skipped


def show(test):
    print(f"==== {test['name']}: {test['result']} (exit status {test.get('returncode')})")
    output = test.get('stdout', '') + test.get('stderr', '')
    print('\n'.join(output.rstrip().splitlines()[-SHOWN_LINES:]))


def main(paths):
    passed = failed = 0
    for path in paths:
        try:
            with open(path, encoding='utf-8') as log:
                tests = [json.loads(line) for line in log]
        except OSError as error:
            print(f'==== {path}: {error.strerror}: no test was run')
            failed += 1
            continue
        for test in tests:
            good, bad, skipped = count(test)
            passed, failed = passed + good, failed + bad
            if bad:
                show(test)
            note = f', {skipped} skipped' if skipped else ''
            print(f"{test['name']}: {good} passed, {bad} failed{note}, {test['duration']:.0f} s")
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    sys.exit(main(sys.argv[1:]))
