"""Faults on real sockets and disks: what we promise of each, and what was counted.

faults.py [--all] [--markdown FILE] [WORD …] runs the cases whose name contains one of the words; without words, all but
those marked slow (`--all` takes these too). Prints a line a case and, at the end, `N passed, N failed`. `--markdown`
puts the tables between the two marks of FILE (docs/reliability.md). Exit code 1 if anything failed.
"""
import argparse
import importlib
import pathlib
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness import CASES, Box

HELPERS = ('faults', 'harness', 'namespaces', 'rogue', 'relay')
AT_ONCE = 4
MARKS = '<!-- tests/faults/run --markdown: from here -->', '<!-- to here -->'


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


def write_tables(path, results):
    """A table a module, in place of those that are there."""
    lines = []
    for module in sorted({case.body.__module__ for case, _ in results}):
        title = sys.modules[module].__doc__.split('\n')[0].rstrip('.')
        lines += [f'### {title}', '', '| fault | promised | counted |', '| --- | --- | --- |']
        own = [(case, counted) for case, counted in results if case.body.__module__ == module]
        lines += [f'| {cell(case.name)} | {cell(case.promise)} | {cell(counted or "**failed**")} |' for case, counted in own]
        lines.append('')
    before, _, rest = path.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    path.write_text('\n'.join([before + MARKS[0], '', *lines, MARKS[1] + after]))


def cell(text):
    return text.replace('|', '\\|').replace('<=', '≤')


def main():
    # Under `nohup` the cases would hand on that SIGHUP is ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
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
        write_tables(pathlib.Path(options.markdown), results)
    print(f'{len(results) - failed} passed, {failed} failed')
    sys.exit(1 if failed or not results else 0)


main()
