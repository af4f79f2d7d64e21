"""Runs rows, keeps what they measured as JSON, a file each, and writes the table. See tests/bench/run --help."""
import argparse
import datetime
import gc
import json
import os
import signal
import sys
import time
import traceback

# These register their rows, in the order of the table.
import pairs  # noqa: F401
import fanout  # noqa: F401
import preparing  # noqa: F401
import distance  # noqa: F401
import idle  # noqa: F401
import scale  # noqa: F401
import many  # noqa: F401
import trackers  # noqa: F401
import report
from rows import ROWS
from world import Scratch, machine, sweep, versions


def arguments():
    parser = argparse.ArgumentParser(prog='tests/bench/run', formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog='rows:\n' + '\n'.join(f'  {row.name:16}{row.about}' for row in ROWS))
    parser.add_argument('rows', nargs='*', metavar='ROW', help='these, even if there are results; by default all without')
    parser.add_argument('--runs', type=int, default=5, help='runs of each contestant (5)')
    parser.add_argument('--quick', action='store_true', help='small payloads, one run: to try the rows, not to quote')
    parser.add_argument('--again', action='store_true', help='all rows, even those that have results')
    parser.add_argument('--results', default='target/bench-results', help='folder of the results, a JSON file a row')
    parser.add_argument('--scratch', default='/dev/shm/swarm-bench', help='folder in memory for payloads and copies')
    parser.add_argument('--markdown', metavar='FILE', help='write the table of all results there, such as docs/benchmarks.md')
    parser.add_argument('--remark', metavar='TEXT', help='what to say above the table of that page')
    parser.add_argument('--insert', metavar='FILE', help='put the table between the marks of a document, such as README.md')
    parser.add_argument('--only-report', action='store_true', help='run nothing')
    return parser.parse_args()


def measure(row, options, scratch):
    """All runs of a row: each contestant once, then each again, so that all see the same machine."""
    runs, errors, load = {name: [] for name in row.contestants}, [], os.getloadavg()[0]
    for number in range(1 if options.quick else options.runs):
        for name, contestant in row.contestants.items():
            if number >= row.at_most.get(name, options.runs):
                continue
            try:
                figures = contestant(scratch, options.quick)
                runs[name].append(figures)
                told = ' '.join(f'{key}={value:.3g}' for key, value in figures.items())
                print(f'{row.name:16}{name:26}{told}', flush=True)
            except Exception as error:
                traceback.print_exc()
                errors.append(f'{name}: {error}')
            gc.collect()
    return {'row': row.name, 'quick': options.quick, 'runs': runs, 'errors': errors, 'load': load, 'machine': machine(),
            'versions': versions(), 'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC')}


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = set(options.rows)
    if unknown := wanted - {row.name for row in ROWS}:
        sys.exit(f'no such row: {", ".join(sorted(unknown))}')
    os.makedirs(options.results, exist_ok=True)
    path = lambda row: f'{options.results}/{row.name}.json'
    chosen = [row for row in ROWS if row.name in wanted or not wanted and (options.again or not os.path.exists(path(row)))]
    sweep(options.scratch)
    scratch = Scratch(f'{options.scratch}-{os.getpid()}')
    failed = False
    try:
        for row in [] if options.only_report else chosen:
            began = time.monotonic()
            result = measure(row, options, scratch)
            failed |= bool(result['errors'])
            result['took_s'] = round(time.monotonic() - began)
            with open(f'{path(row)}.new', 'w') as out:
                json.dump(result, out, indent=1)
            os.replace(f'{path(row)}.new', path(row))
    finally:
        scratch.clear()
    results = {row.name: json.load(open(path(row))) for row in ROWS if os.path.exists(path(row))}
    text = report.markdown(ROWS, results, options.remark)
    if options.markdown:
        with open(options.markdown, 'w') as out:
            out.write(text)
    if options.insert:
        with open(options.insert) as document:
            changed = report.insert(document.read(), ROWS, results)
        with open(options.insert, 'w') as document:
            document.write(changed)
    if not options.markdown and not options.insert:
        print(text)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
