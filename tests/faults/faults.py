"""Faults on real sockets and disks: what we promise of each, and what was counted.

faults.py [--all] [--markdown FILE] [WORD …] runs the cases whose name contains one of the words; without words, all but
those marked slow (`--all` takes these too). Prints a line a case and, at the end, `N passed, N failed`. `--markdown`
writes the table of docs/reliability.md. Exit code 1 if anything failed.
"""
import argparse
import importlib
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness import CASES, Box

HELPERS = ('faults', 'harness', 'namespaces', 'rogue', 'relay')
AT_ONCE = 4


def attempt(case):
    began, box = time.monotonic(), Box(case.name)
    try:
        counted, error = case.body(box), None
        assert counted, 'a case says what it counted'
    except Exception as failure:  # a case that breaks must not hide the others
        counted, error = None, f'{type(failure).__name__}: {failure}\n{box.logs()}'
    finally:
        box.close()
    took = time.monotonic() - began
    print(f'ok     {case.name}: {counted} ({took:.1f} s)' if error is None else f'FAILED {case.name}: {error}', flush=True)
    return case, counted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--all', action='store_true')
    parser.add_argument('--markdown')
    parser.add_argument('words', nargs='*')
    options = parser.parse_args()
    for module in sorted(path.stem for path in pathlib.Path(__file__).parent.glob('*.py')):
        if module not in HELPERS:
            importlib.import_module(module)
    wanted = [case for case in CASES if any(word in case.name for word in options.words)
              or (not options.words and (options.all or not case.slow))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(attempt, [case for case in wanted if not case.alone]))
    results += [attempt(case) for case in wanted if case.alone]
    failed = sum(counted is None for _, counted in results)
    if options.markdown:
        with open(options.markdown, 'w') as out:
            out.write('| fault | promised | counted |\n| --- | --- | --- |\n')
            out.writelines(f'| {case.name} | {case.promise} | {counted or "**failed**"} |\n' for case, counted in results)
    print(f'{len(results) - failed} passed, {failed} failed')
    sys.exit(1 if failed or not results else 0)


main()
