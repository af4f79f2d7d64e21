"""A transfer without any fault: shows that the harness itself works."""
from harness import case, same


@case('no fault at all', 'the copy is right, nothing is wasted')
def no_fault(box):
    payload = box.payload(3_000_000)
    meta = box.meta(payload)
    seed = box.seed(meta)
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    done = fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    assert done['wasted'] == 0, done
    return f'{done["downloaded"]} bytes, 0 wasted'
