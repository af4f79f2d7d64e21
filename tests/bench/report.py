"""The table of all results, for docs/benchmarks.md."""
from rows import Samples

BEGIN, END = '<!-- benchmarks -->', '<!-- end of benchmarks -->'

HEAD = """# Benchmarks

What it costs to move, verify and prepare bytes and to track peers, beside other clients and trackers and beside the *floor*:
`sendfile` on one side; receive, SHA-1 and write on the other, which no client that verifies with one stream of SHA-1 goes
below. One command makes this page:

```
tests/bench/run --markdown docs/benchmarks.md      # installs the rivals; root, for network namespaces
tests/bench/run --help                             # the rows; each can be run by itself
cargo bench --workspace --bench '*'                # parts by themselves: hashing, picker, codec, store
```

Every figure is the median of all runs, with the lowest and the highest in brackets. Contestants take turns within one session,
for the ratios are what counts: such machines are noisy, and seconds are good for one of them only. Hosts are network
namespaces, payloads lie in memory, processor time is that of `/proc` and `wait4`, the start of the program included.
"""

FOOT = """
## How to read it

- *s/GiB*: seconds of processor time for each GiB of payload. *The whole machine* is everything that ran on it meanwhile.
- *Fluid limit*: the time that no swarm can go below if links are pipes: the largest of one copy out of the seeds, one copy
  down the slowest link, and all copies out of all links up, with 95 % of a link for payload.
- The link of 100 ms is a relay of our own with connections of its own on both sides, since not every kernel can delay
  packets. It tries what a client keeps under way, not the congestion control of the system.
- Memory is what is resident. That of a piece is what a torrent of 4,000,000 takes beside its metainfo and beyond one of 32,768,
  before peers come; those that have some pieces and not all make it 4 bytes more.
- Trackers share the machine with their load, a thread of it, over UDP two. Every answer has the peers that the line says, `http_load` over
  1,000 torrents of 60 peers; with 2 cores, what the load takes decides the rate as much as the tracker does. Aquatic is 0.9 with
  its usual settings; its rows need it in `target/rivals` (`tests/bench/trackers.py` says how).
- CPU of connections and torrents that are idle is that of the process, as a share of one core.
"""


def markdown(rows, results, remark=None):
    """The page."""
    lines, troubles = table(rows, results)
    parts = [HEAD, *([f'{remark}\n'] if remark else []), *remarks(results), *lines]
    if troubles:
        parts.append('\nRuns that failed, and are in no figure:\n\n' + '\n'.join(troubles))
    return '\n'.join([*parts, FOOT, provenance(rows, results)])


def insert(text, rows, results):
    """A document with the table between its marks."""
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return '\n'.join([before + BEGIN, *remarks(results), *table(rows, results)[0], END + after])


def remarks(results):
    if any(result['quick'] for result in results.values()):
        return ['**Made with `--quick`: small payloads and a single run. Not to be quoted.**\n']
    return []


def table(rows, results):
    """The lines of the table, and what went wrong."""
    lines = ['| what | swarm | beside it | goal | reached |', '| --- | --- | --- | --- | --- |']
    troubles = []
    for row in rows:
        result = results.get(row.name)
        if not result:
            lines.append(f'| {row.about} | not run | | | |')
            continue
        troubles += [f'- {row.name}: {error}' for error in result['errors']]
        try:
            made = row.lines(Samples(result['runs']))
        except Exception as error:
            lines.append(f'| {row.about} | failed | | | no: {type(error).__name__} |')
            continue
        for line in made:
            reached = {True: 'yes', False: '**no**', None: '-'}[line.reached]
            lines.append(f'| {line.what} | {line.ours} | {line.rivals} | {line.goal} | {reached} |')
    return lines, troubles


def provenance(rows, results):
    """Which versions, on which machine, when, and how often."""
    lines = ['## What was run', '']
    for key in sorted({json_key(result) for result in results.values()}):
        lines.append(f'- {key}')
    lines += ['', 'Load is that of the minute before a row, by which a machine shows that it is not busy with anything else.', '',
              '| row | runs | when (seconds taken) | load |', '| --- | --- | --- | --- |']
    for row in rows:
        if result := results.get(row.name):
            counts = {len(runs) for runs in result['runs'].values()}
            runs = str(*counts) if len(counts) == 1 else ', '.join(f'{who} {len(it)}' for who, it in result['runs'].items())
            lines.append(f'| {row.name} | {runs} | {result["date"]} ({result["took_s"]}) | {result["load"]:.1f} |')
    return '\n'.join(lines) + '\n'


def json_key(result):
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    return f'{result["machine"]}; {versions}'
