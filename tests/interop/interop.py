"""Our binary and real clients in one swarm, each direction, over each tracker that the client can use.

Prints a line a case and, at the end, `N passed, N failed`. Exit code 1 if anything failed.
interop.py [WORD …] runs only the cases whose name contains one of the words.
"""
import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from urllib.parse import unquote

import libtorrent as lt

from chat import chat_beside_others
from clients import CLIENTS, SWARM, swarm
from hosts import Hosts

ROOT = os.environ.get('INTEROP_ROOT', '/tmp/swarm-interop')
SIZE = int(os.environ.get('SIZE_MB', 64)) << 20
LIMIT_S = 120
TRACKER_HOST, SEED_HOST, FETCH_HOST = 0, 1, 2
HTTP_PORT, NATIVE_PORT = 6969, 6970


def fresh(name):
    path = f'{ROOT}/{name}'
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def run(*argv):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f'{" ".join(map(str, argv))}: exit {done.returncode}: {done.stderr.strip()[-400:]}')
    return done.stdout


def make_payload():
    folder = fresh('payload')
    with open(f'{folder}/payload.bin', 'wb') as out:
        for _ in range(0, SIZE, 1 << 22):
            out.write(os.urandom(min(1 << 22, SIZE)))
    tree = f'{folder}/tree'
    for name, size in {'a.txt': 1, 'empty': 0, 'sub/größe.bin': 300_001, 'sub/deep/b.bin': 1_500_000}.items():
        os.makedirs(os.path.dirname(f'{tree}/{name}'), exist_ok=True)
        with open(f'{tree}/{name}', 'wb') as out:
            out.write(os.urandom(size))
    return folder


def same(folder, copy, name, fetcher=swarm):
    """Whether the copy holds the same content, byte by byte. transmission 3.00 does not make empty files; ours must."""
    one, two = f'{folder}/{name}', f'{copy}/{name}'
    if os.path.isfile(one):
        return os.path.isfile(two) and os.path.getsize(one) == os.path.getsize(two) and filecmp.cmp(one, two, False)
    files = [os.path.relpath(os.path.join(base, file), one) for base, _, found in os.walk(one) for file in found]
    if fetcher is not swarm:
        files = [file for file in files if os.path.getsize(f'{one}/{file}') > 0]
    return all(os.path.isfile(f'{two}/{file}') and filecmp.cmp(f'{one}/{file}', f'{two}/{file}', False) for file in files)


def start_tracker(hosts, kind, info_hash):
    """Starts a tracker on its host; returns the process."""
    address, log = Hosts.ip(TRACKER_HOST), f'{ROOT}/tracker.log'
    if kind.startswith('opentracker'):
        with open(f'{ROOT}/whitelist', 'w') as out:  # Debian's build answers for listed torrents only
            out.write(info_hash + '\n')
        os.chmod(ROOT, 0o755)
        argv = ['opentracker', '-w', f'{ROOT}/whitelist', '-i', address, '-p', HTTP_PORT, '-P', HTTP_PORT]
    else:
        argv = [SWARM, 'tracker', '--http', f'{address}:{HTTP_PORT}', '--udp', f'{address}:{HTTP_PORT}',
                '--native', f'{address}:{NATIVE_PORT}']
    process = hosts.start(TRACKER_HOST, argv, log)
    wait_for(lambda: listens(hosts, HTTP_PORT), 10, f'{kind} to listen')
    return process


def listens(hosts, port):
    done = subprocess.run(['ip', 'netns', 'exec', 'swarm-it-0', 'ss', '-Hltn', f'sport = :{port}'],
                          capture_output=True, text=True)
    return bool(done.stdout.strip())


def wait_for(condition, limit_s, what):
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f'waited {limit_s} s for {what}')
        time.sleep(0.1)


def tracker_url(kind):
    host = Hosts.ip(TRACKER_HOST)
    if kind == 'native':
        return f'native://{host}:{NATIVE_PORT}'
    return f'{"udp" if kind.endswith("udp") else "http"}://{host}:{HTTP_PORT}/announce'


def make_metainfo(folder, name, kind):
    metainfo = f'{ROOT}/{name}-{kind}.torrent'
    run(SWARM, 'make-meta', f'{folder}/{name}', '-o', metainfo, '--tracker', tracker_url(kind), '--force', '--quiet')
    return metainfo


def transfer(folder, name, kind, seeder, fetcher):
    """One seed, one leecher, one tracker; the content must arrive."""
    metainfo = make_metainfo(folder, name, kind)
    info_hash = str(lt.torrent_info(metainfo).info_hashes().v1) if kind != 'native' else ''
    copy, hosts = fresh('copy'), Hosts(3)
    try:
        running = {
            'tracker': start_tracker(hosts, kind, info_hash),
            'seed': hosts.start(SEED_HOST, seeder('seed', metainfo, folder, 7001), f'{ROOT}/seed.log'),
            'leecher': hosts.start(FETCH_HOST, fetcher('fetch', metainfo, copy, 7002), f'{ROOT}/fetch.log'),
        }
        try:
            wait_for(lambda: same(folder, copy, name, fetcher), LIMIT_S, 'the content')
        except AssertionError as error:
            gone = {role: process.poll() for role, process in running.items() if process.poll() is not None}
            raise AssertionError(f'{error}; ended before: {gone or "nobody"}') from None
    finally:
        hosts.close()


def mixed(folder, name):
    """A seed of ours, one leecher of each client and one of ours, all at once over our tracker."""
    metainfo = make_metainfo(folder, name, 'http')
    hosts, everyone = Hosts(3 + len(CLIENTS)), [*CLIENTS.values(), swarm]
    copies = [fresh(f'copy{index}') for index in range(len(everyone))]
    try:
        start_tracker(hosts, 'http', '')
        hosts.start(SEED_HOST, swarm('seed', metainfo, folder, 7001), f'{ROOT}/seed.log')
        for index, (client, copy) in enumerate(zip(everyone, copies)):
            hosts.start(FETCH_HOST + index, client('fetch', metainfo, copy, 7002), f'{ROOT}/fetch{index}.log')
        wait_for(lambda: all(same(folder, copy, name) for copy in copies), LIMIT_S, 'the content everywhere')
    finally:
        hosts.close()


def chat(folder, name):
    metainfo, copies = make_metainfo(folder, name, 'http'), [fresh(f'copy{index}') for index in range(4)]
    chat_beside_others(ROOT, folder, name, metainfo, copies, start_tracker, wait_for, same)


def agree_on_ours(folder, name):
    """Other tools read our metainfo as we do."""
    metainfo = make_metainfo(folder, name, 'http')
    ours = json.loads(run(SWARM, 'show', metainfo, '--json'))
    theirs = lt.torrent_info(metainfo)
    assert ours['info_hash'] == str(theirs.info_hashes().v1), 'info hash: libtorrent differs'
    assert ours['info_hash'] in run('transmission-show', metainfo), 'info hash: transmission differs'
    assert ours['pieces'] == theirs.num_pieces() and ours['piece_length'] == theirs.piece_length(), 'pieces'
    files = theirs.files()
    expected = [(files.file_path(index), files.file_size(index)) for index in range(files.num_files())]
    assert [(file['path'], file['length']) for file in ours['files']] == expected, 'files'


def agree_on_theirs(folder, name):
    """We read the metainfo of other tools as they do, and it verifies."""
    made = {tool: f'{ROOT}/{tool}-{name}.torrent' for tool in ('mktorrent', 'transmission', 'libtorrent')}
    for path in made.values():
        if os.path.exists(path):
            os.remove(path)
    run('mktorrent', '-a', 'http://tracker/announce', '-o', made['mktorrent'], f'{folder}/{name}')
    run('transmission-create', '-o', made['transmission'], '-t', 'http://tracker/announce', f'{folder}/{name}')
    storage = lt.file_storage()
    lt.add_files(storage, f'{folder}/{name}')
    create = lt.create_torrent(storage, 0, lt.create_torrent.v1_only)
    lt.set_piece_hashes(create, folder)
    with open(made['libtorrent'], 'wb') as out:
        out.write(lt.bencode(create.generate()))
    for tool, path in made.items():
        ours, theirs = json.loads(run(SWARM, 'show', path, '--json')), lt.torrent_info(path)
        assert ours['info_hash'] == str(theirs.info_hashes().v1), f'{tool}: info hash'
        assert ours['pieces'] == theirs.num_pieces(), f'{tool}: pieces'
        assert unquote(ours['magnet']).startswith('magnet:?xt=urn:btih:' + ours['info_hash']), f'{tool}: magnet'
        run(SWARM, 'verify', path, folder)


def same_hash_as_others(folder, name):
    """With the same piece length our metainfo has the info hash of mktorrent's."""
    theirs, ours = f'{ROOT}/same-theirs.torrent', f'{ROOT}/same-ours.torrent'
    for path in (theirs, ours):
        if os.path.exists(path):
            os.remove(path)
    run('mktorrent', '-l', '18', '-a', 'http://tracker/announce', '-o', theirs, f'{folder}/{name}')
    run(SWARM, 'make-meta', f'{folder}/{name}', '-o', ours, '--piece-length', '256K', '--quiet')
    hashes = [str(lt.torrent_info(path).info_hashes().v1) for path in (theirs, ours)]
    assert hashes[0] == hashes[1], hashes


def cases(folder):
    for name in ('payload.bin', 'tree'):
        yield f'our metainfo of {name} as others read it', lambda name=name: agree_on_ours(folder, name)
        yield f'metainfo of others for {name} as we read it', lambda name=name: agree_on_theirs(folder, name)
    yield 'the same info hash as mktorrent', lambda: same_hash_as_others(folder, 'payload.bin')
    for kind in ('opentracker', 'opentracker-udp', 'http', 'udp', 'native'):
        yield (f'swarm -> swarm over {kind}',
               lambda kind=kind: transfer(folder, 'payload.bin', kind, swarm, swarm))
    for client_name, client in CLIENTS.items():
        for kind in ('opentracker', 'http', 'udp'):
            yield (f'swarm -> {client_name} over {kind}',
                   lambda kind=kind, client=client: transfer(folder, 'payload.bin', kind, swarm, client))
            yield (f'{client_name} -> swarm over {kind}',
                   lambda kind=kind, client=client: transfer(folder, 'payload.bin', kind, client, swarm))
        yield (f'swarm -> {client_name}, a folder', lambda client=client: transfer(folder, 'tree', 'http', swarm, client))
        yield (f'{client_name} -> swarm, a folder', lambda client=client: transfer(folder, 'tree', 'http', client, swarm))
    yield 'all clients in one swarm', lambda: mixed(folder, 'payload.bin')
    yield 'three people chat beside other clients', lambda: chat(folder, 'payload.bin')


def main():
    words = sys.argv[1:]
    shutil.rmtree(ROOT, ignore_errors=True)
    os.makedirs(ROOT)
    folder, passed, failed = make_payload(), 0, 0
    for name, case in cases(folder):
        if words and not any(word in name for word in words):
            continue
        began = time.monotonic()
        try:
            case()
            passed += 1
            print(f'ok     {name} ({time.monotonic() - began:.1f} s)', flush=True)
        except Exception as error:  # a case that breaks must not hide the others
            failed += 1
            print(f'FAILED {name}: {error}', flush=True)
            for log in ('seed.log', 'fetch.log', 'tracker.log'):
                if os.path.exists(f'{ROOT}/{log}'):
                    text = open(f'{ROOT}/{log}', errors='replace').read().strip()
                    print(f'       {log}: {text[-600:]}' if text else f'       {log}: empty', flush=True)
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or not passed else 0)


main()
