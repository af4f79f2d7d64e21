"""The folder under a transfer: full, read-only, unmounted, forbidden, made again."""
import os
import shutil
import subprocess
import time

from disk import bytes_of, pieces, seeding, unchoked
from harness import case, same, wait_for
from mounts import detach, ext4, remount, tmpfs

DISK = 4  # the exit code


def into(box, target, metas, *options, **more):
    """A fetch of all metainfos into this folder."""
    return box.swarm('fetch', *metas, '-o', target, '--listen', '127.0.0.1:0', *options, **more)


def peers_of(*seeds):
    return [word for seed in seeds for word in ('--peer', f'127.0.0.1:{seed.port}')]


def pair(box, length=6_000_000):
    """A single file, and a folder `disk` of two files, each with a seed: payloads, metainfos, options for their peers."""
    single = box.payload(length, name='single.bin')
    files = [box.payload(length // 2, name=name, folder='source/disk') for name in ('a', 'b')]
    metas = [box.meta(single), box.meta(os.path.dirname(files[0]))]
    return single, files, metas, peers_of(*(box.seed(meta) for meta in metas))


@case('the disk is full, then has room again',
      'the cause named, < 2 % CPU, goes on seeding, on by itself <= 60 s after there is room', alone=True)
def full(box):
    payload, meta, seed = seeding(box, 6_000_000)
    target = tmpfs(box, 'target', '4m')
    fetch = into(box, target, [meta], *peers_of(seed))
    trouble = fetch.wait('trouble')['message']
    assert 'No space left' in trouble and target in trouble, trouble
    fetch.wait('state', state='blocked')
    share = fetch.cpu_share(4)
    assert share < 0.02, f'{share:.1%} of a core'
    had = pieces(fetch)
    peer = unchoked(fetch, meta)
    served = sum(bytes_of(peer, piece) is not None for piece in range(10))
    assert served > 0, 'nothing is served while the disk is full'
    remount(target, 'size=16m')
    began = time.monotonic()
    assert fetch.exit(60) == 0 and same(payload, f'{target}/payload.bin')
    return (f'blocked with {had} of 92 pieces, {share:.1%} of a core, {served} of 10 blocks served meanwhile; '
            f'complete {time.monotonic() - began:.1f} s after there was room')


@case('a disk of 20 writes a second', 'the copy right, what waits for it takes <= 48 MiB of memory')
def slow_disk(box):
    length = 80 << 20
    payload = box.payload(length)
    meta = box.meta(payload, piece_length='512K')
    seed = box.seed(meta)
    slow = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=pwritev', '-e', 'inject=pwritev:delay_enter=50000']
    fetch = box.fetch(meta, *peers_of(seed), prefix=slow)
    fetch.wait('piece')
    worst = 0
    while fetch.process.poll() is None:
        try:
            with open(f'/proc/{fetch.child()}/status') as status:
                worst = max([worst, *(int(line.split()[1]) for line in status if line.startswith('RssAnon'))])
        except (OSError, IndexError):
            pass  # it is over
        time.sleep(0.1)
    done = fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin') and done['wasted'] == 0, done
    assert 0 < worst <= 48 << 10, f'{worst} KiB'
    return f'160 pieces in {done["time_s"]:.1f} s, {worst >> 10} MiB of memory at most'


@case('--give-up while the disk is full', 'the time counts; the exit code of the disk, with the cause')
def give_up(box):
    payload, meta, seed = seeding(box, 6_000_000)
    target = tmpfs(box, 'target', '2m')
    fetch = into(box, target, [meta], '--give-up', '3s', *peers_of(seed))
    code = fetch.exit(30)
    told = [event['message'] for event in fetch.all('trouble')]
    assert code == DISK and any('gave up' in text and 'No space left' in text for text in told), (code, told)
    return f'exit code {code} after 3 s without a byte'


@case('the file system turns read-only', 'this torrent in error <= 5 s, with the cause; the others run on')
def read_only(box):
    single, _, metas, peers = pair(box)
    target = box.folder('target')
    disk = ext4(box, 'target/disk', 24_000_000)
    fetch = into(box, target, metas, '--down-limit', '2M', *peers)
    hashes = [event['torrent'] for event in (fetch.wait('added', name='single.bin'), fetch.wait('added', name='disk'))]
    wait_for(lambda: len(fetch.all('piece', torrent=hashes[1])) >= 4, 10, 'some pieces')
    began = time.monotonic()
    remount(disk, 'abort')
    blocked = fetch.wait('state', 5, state='blocked', torrent=hashes[1])
    trouble = fetch.wait('trouble', torrent=hashes[1])['message']
    assert 'Read-only' in trouble or 'Input/output' in trouble, trouble
    fetch.wait('completed', 20, torrent=hashes[0])
    assert same(single, f'{target}/single.bin') and fetch.process.poll() is None
    reason = trouble.replace(target, 'TARGET').split(';')[0]
    return f'in error after {blocked["at"] - began:.1f} s: "{reason}"; the other one complete'


@case('the target is unmounted, then mounted again',
      'this torrent in error <= 5 s, nothing written below the mount point, the others run on; on when it is back')
def unmounted(box):
    single, files, metas, peers = pair(box)
    target = box.folder('target')
    disk = ext4(box, 'target/disk', 24_000_000)
    fetch = into(box, target, metas, '--down-limit', '2M', *peers)
    hashes = [event['torrent'] for event in (fetch.wait('added', name='single.bin'), fetch.wait('added', name='disk'))]
    wait_for(lambda: len(fetch.all('piece', torrent=hashes[1])) >= 4, 10, 'some pieces')
    began = time.monotonic()
    detach(disk)
    blocked = fetch.wait('state', 5, state='blocked', torrent=hashes[1])
    fetch.wait('completed', 20, torrent=hashes[0])
    assert same(single, f'{target}/single.bin')
    below = os.listdir(disk)
    assert below == [], below
    subprocess.run(['mount', '-o', 'loop', f'{box.path}/disk.ext4', disk], check=True)
    again = time.monotonic()
    assert fetch.exit(60) == 0 and all(same(path, f'{disk}/{os.path.basename(path)}') for path in files)
    return (f'in error after {blocked["at"] - began:.1f} s, 0 files below; complete '
            f'{time.monotonic() - again:.1f} s after it was back')


@case('the target folder is deleted and made again', 'goes on without a restart, for a fetch and for a seed')
def made_again(box):
    payload, meta, seed = seeding(box, 6_000_000)
    shutil.copytree(f'{box.path}/source', f'{box.path}/kept')
    target = box.folder('target')
    fetch = into(box, target, [meta], '--down-limit', '1M', *peers_of(seed))
    wait_for(lambda: (pieces(fetch) or 0) >= 4, 10, 'some pieces')
    shutil.rmtree(target)
    began = time.monotonic()
    blocked = fetch.wait('state', 5, state='blocked')
    in_error = blocked['at'] - began
    os.mkdir(target)
    assert fetch.exit(60) == 0 and same(payload, f'{target}/payload.bin')
    shutil.rmtree(f'{box.path}/source')
    began = time.monotonic()
    assert seed.wait('state', 5, state='blocked')
    shutil.copytree(f'{box.path}/kept', f'{box.path}/source')
    wait_for(lambda: seed.last('state')['state'] == 'seeding' and pieces(seed) == 92, 30, 'the seed is back')
    return f'fetch in error after {in_error:.1f} s and complete in the new folder; the seed back {time.monotonic() - began:.1f} s'


@case('permission is lost, then given back', 'this torrent in error <= 5 s, the others run on; on when it is given back')
def forbidden(box):
    single, files, metas, peers = pair(box)
    os.chmod(box.path, 0o755)
    for folder in ('target', 'target/disk', 'state', 'config'):
        os.chown(box.folder(folder), 12_345, 12_345)
    target = f'{box.path}/target'
    user = ['setpriv', '--reuid=12345', '--regid=12345', '--clear-groups']
    fetch = into(box, target, metas, '--down-limit', '2M', *peers, prefix=user,
                 env={'XDG_STATE_HOME': f'{box.path}/state'})
    hashes = [event['torrent'] for event in (fetch.wait('added', name='single.bin'), fetch.wait('added', name='disk'))]
    wait_for(lambda: len(fetch.all('piece', torrent=hashes[1])) >= 4, 10, 'some pieces')
    began = time.monotonic()
    os.chmod(f'{target}/disk', 0)
    blocked = fetch.wait('state', 5, state='blocked', torrent=hashes[1])
    trouble = fetch.wait('trouble', torrent=hashes[1])['message']
    assert 'Permission denied' in trouble, trouble
    fetch.wait('completed', 20, torrent=hashes[0])
    os.chmod(f'{target}/disk', 0o755)
    again = time.monotonic()
    assert fetch.exit(60) == 0 and all(same(path, f'{target}/disk/{os.path.basename(path)}') for path in files)
    return (f'in error after {blocked["at"] - began:.1f} s, the other one complete; complete '
            f'{time.monotonic() - again:.1f} s after the right was back')
