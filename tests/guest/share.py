# SPDX-License-Identifier: BSD-2-Clause
"""What the guests find in their share, and what they must have left there."""
import hashlib
import os
import random


def fill(share):
    """What the guest finds. Every byte that matters is random."""
    seed = int(os.environ.get('ORIEL_SEED', random.SystemRandom().getrandbits(32)))
    print('ORIEL_SEED =', seed)
    rng = random.Random(seed)
    put = {'big': rng.randbytes(5 << 20), 'odd': rng.randbytes(1048676),
           'empty': b'', 'text': b'a line with a marker\n'}
    os.makedirs(share + '/in/many')
    for name, data in put.items():
        with open(f'{share}/in/{name}', 'wb') as f:
            f.write(data)
    for i in range(500):
        with open(f'{share}/in/many/{i:04}', 'wb') as f:
            f.write(rng.randbytes(i))
    os.symlink('text', share + '/in/link')
    return put


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def check(said, share, put):
    """What basic.sh @said, and what it left."""
    lines = [l.split() for l in said if l.startswith('@')]
    assert lines and lines[-1] == ['@ok'], f'the guest says {lines[-1:]}'
    sums = {l[1]: l[2] for l in lines if l[0] == '@sum'}
    want = {'in/' + name: put[name] for name in ('big', 'odd', 'empty')}
    want['in/many/0499'] = read(share + '/in/many/0499')
    want['out/copy'] = put['big']
    for name, data in want.items():
        assert sums[name] == hashlib.sha256(data).hexdigest(), name
    assert [l[1:] for l in lines if l[0] == '@count'] == [
        ['in/many', '500'], ['out/dir', '201'], ['out/dir', '101']]

    # What it left, seen from the host.
    out = share + '/out/'
    for name in ('copy', 'par1', 'par2'):
        assert read(out + name) == put['big'], name
    assert read(out + 'dir/moved') == b'one\ntwo\nthree\n'
    assert os.readlink(out + 'soft') == 'dir/moved'
    assert os.stat(out + 'hard').st_nlink == 2
    assert os.path.samefile(out + 'hard', out + 'dir/moved')
    patched = bytearray(put['odd'])
    patched[4090:4090 + len(put['text'])] = put['text']
    assert read(out + 'patched') == patched
    assert read(out + 'cut') == put['big'][:12345] + bytes(20000 - 12345)
    assert os.stat(out + 'cut').st_mode & 0o777 == 0o751
    assert read(out + 'sparse') == bytes(3000001)
    assert sorted(os.listdir(out)) == sorted(
        ['copy', 'par1', 'par2', 'dir', 'soft', 'hard', 'patched', 'cut',
         'sparse'])
    assert sorted(os.listdir(out + 'dir')) == sorted(
        ['moved'] + [f'f{i}' for i in range(100, 200)])
    for name, data in put.items():
        assert read(f'{share}/in/{name}') == data, f'in/{name} was changed'


def guest_pattern(seed, pos, size):
    """The bytes that guest_ops.c's guest_byte() makes of @seed; @pos and @size
    are multiples of 8."""
    mask = (1 << 64) - 1
    out = bytearray()
    for word in range(pos >> 3, (pos + size) >> 3):
        x = (word + seed * 0x9e3779b97f4a7c15) & mask
        x ^= x >> 31
        x = (x * 0xbf58476d1ce4e5b9) & mask
        x ^= x >> 29
        out += x.to_bytes(8, 'little')
    return bytes(out)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check_ops(share, names):
    """What guest_ops left."""
    assert len(os.listdir(share + '/t-names/many')) == names // 2
    assert read(share + '/t-files/log') == b'ab' * 100
    assert sorted(os.listdir(share + '/t-files')) == ['file', 'log']
    assert os.path.getsize(share + '/t-files/file') == 0
    assert os.getxattr(share + '/t-xattr', 'user.left') == b'for the host'
