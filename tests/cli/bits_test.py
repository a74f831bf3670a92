"""The mathematics stays as it is: the bits of all parameters after 20 updates are on file, for recipes cut down from the Long
Range Arena's, dropout off. Who changes the order of a sum, of the batches or of the draws that parameters start from fails
here; where that is meant, the digests that the failure shows take the place of those on file, and the commit says why.

A digest is over the values of the parameters in the order in which the model makes them, which is their order in a
checkpoint. Names, keys of recipes and the rest of a file may change; the digests may not."""
import hashlib
import json
import os
import unittest

from common import FolderCase, SOURCE, read_tensors, run, settings

SHIM = os.environ['SELENE_SIMT_MODULE']
UPDATES = 20

# What is cut down, and what makes so short a run move.
SMALL = {'model.layers': 2, 'model.dim': 32, 'model.heads': 4, 'model.ffn_dim': 48, 'model.head_dim': 40,
         'model.dropout': 0, 'model.attention_dropout': 0, 'model.activation_dropout': 0, 'model.head_dropout': 0,
         'optim.lr': 3e-3, 'schedule.warmup': 5, 'train.batch_size': 4, 'train.updates': UPDATES,
         'train.validate_every': UPDATES, 'train.validate_examples': 2, 'train.checkpoint_every': UPDATES}
LUNA = {**SMALL, 'model.luna.projection_length': 8}
# The same for the shim, whose time goes with the number of kernels and of blocks.
SHIM_SMALL = {'model.dim': 16, 'model.heads': 2, 'model.ffn_dim': 24, 'model.head_dim': 16, 'train.batch_size': 2,
              'train.accumulation': 1, 'data.max_length': 20}

# The release's head of 2021 (hidden), its head of 2023 (linear, on pixels) and Tay's; one tower and two.
RECIPES = {
    'listops luna': (('lra/release/listops', 'models/luna-16'), 'listops',
                     {**LUNA, 'data.max_length': 40, 'train.accumulation': 2}),
    'text transformer': (('lra/release/text', 'models/transformer'), 'text',
                         {**SMALL, 'data.max_length': 50, 'optim.clip_norm': 0.5}),
    'retrieval luna': (('lra/release/retrieval', 'models/luna-16'), 'retrieval', {**LUNA, 'data.max_length': 36}),
    'pixels luna': (('lra/release/image-pixels', 'models/luna-16'), 'image', {**LUNA, 'data.max_length': 60}),
    'tay listops luna': (('lra/tay/listops', 'models/luna-16'), 'listops', {**LUNA, 'data.max_length': 40}),
    'tay retrieval transformer': (('lra/tay/retrieval', 'models/transformer'), 'retrieval',
                                  {**SMALL, 'data.max_length': 36}),
}

# The CPU backend and oneDNN choose their kernels by the processor, so there are digests by instruction set, under the names
# that checkpoints have for them. x86-64-v3 was taken under QEMU (7.2, -cpu Haswell and EPYC-Rome, which agree): nothing but
# another processor makes a program choose otherwise, ONEDNN_MAX_CPU_ISA speaks for oneDNN alone. All are with oneDNN 2.6, the
# one of Debian 12; another version may sum in another order.
CPU = {
    'x86-64-v4': {
        'listops luna': '29ff0e6fdca34dff', 'text transformer': 'e421745e163be0ce',
        'retrieval luna': '4b74361497665886', 'pixels luna': 'c4dc669f0088778b',
        'tay listops luna': 'd316608f9905a3e2', 'tay retrieval transformer': '815ef473bd103a98'},
    'x86-64-v3': {
        'listops luna': '636aa28dd122b37d', 'text transformer': '9f057f801338c9c4',
        'retrieval luna': 'f0e64aa552b366af', 'pixels luna': '9edf5d4fbe20f2a5',
        'tay listops luna': '79eeeb6cbb98cac9', 'tay retrieval transformer': '2a35200288bb3b75'},
}
# The CUDA kernels on the host are compiled for one instruction set: one digest on every processor with FMA, which the
# mathematical library asks for.
ON_SHIM = {
    'listops luna': '23123ee334abdee7', 'text transformer': '5b656f0b01c2fea4',
    'retrieval luna': '22f94a82c8cf7dd9', 'pixels luna': 'eac60aa784d88b4e',
    'tay listops luna': 'e700031b714669ae', 'tay retrieval transformer': '380981200ed7d222'}


def words(draw, most):
    """2 or more small words, of another number of bytes each time."""
    return ' '.join(('ab', 'cde', 'fg', 'hijk', 'lm', 'a')[draw() % 6] for _ in range(2 + draw() % most))


def draws(state):
    """Numbers that are the same with every version of Python: Knuth's MMIX generator."""
    def draw():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return state >> 33
    return draw


class Bits(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        draw = draws(1)
        os.mkdir(os.path.join(cls.folder, 'aan'))
        for split in ('train', 'eval', 'test'):
            with open(os.path.join(cls.folder, 'aan', f'new_aan_pairs.{split}.tsv'), 'w', encoding='ascii') as file:
                for i in range(60):
                    file.write(f"{i % 2}.0\t{i}\t{i + 1}\tb'{words(draw, 12)}'\tb'{words(draw, 12)}'\n")
        few = ('--train', 60, '--valid', 2, '--test', 2)
        for command in (('listops', '--out', 'listops', *few, '--min-length', 9, '--max-length', 38, '--seed', 7),
                        ('retrieval', '--from', 'aan', '--out', 'retrieval', *few),
                        ('stand-in', 'text', '--out', 'imdb', '--train', 60, '--test', 6),
                        ('text', '--from', 'imdb', '--out', 'text', *few),
                        ('stand-in', 'image', '--out', 'cifar10', '--train', 80, '--test', 2),
                        ('image', '--from', 'cifar10', '--out', 'image', *few)):
            made = run('selene-prepare', *command, cwd=cls.folder)
            assert made.returncode == 0, made.stderr

    def digest(self, name, device, smaller):
        """16 hexadecimal digits for the parameters after the last update, and the instruction set of the run."""
        files, data, values = RECIPES[name]
        values = {**values, **smaller, **({'model.head_dim': 0} if name == 'pixels luna' else {})}  # a linear head
        out = self.path(f'{name} {os.path.basename(device)}')
        result = run('selene-train', *(os.path.join(SOURCE, 'recipes', file + '.yaml') for file in files), '--out', out,
                     '--device', device, *settings({'data.path': data, **values}), cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        tensors, metadata = read_tensors(os.path.join(out, f'checkpoints/update-{UPDATES:08}.safetensors'))
        bits = hashlib.sha256()
        for key, (dtype, _, content) in tensors.items():
            if not key.startswith('optimizer.'):
                self.assertEqual(dtype, 'F32')
                bits.update(content)
        return bits.hexdigest()[:16], json.loads(metadata['state'])['isa']

    def test_on_the_cpu(self):
        os.environ.pop('ONEDNN_MAX_CPU_ISA', None)
        found = {name: self.digest(name, 'cpu', {}) for name in RECIPES}
        isa = found['listops luna'][1]
        if isa not in CPU:
            self.skipTest(f'there are no digests of {isa}; the shim alone is checked')
        self.assertEqual({name: digest for name, (digest, _) in found.items()}, CPU[isa], isa)

    def test_on_the_shim(self):
        self.assertEqual({name: self.digest(name, SHIM, SHIM_SMALL)[0] for name in RECIPES}, ON_SHIM)


if __name__ == '__main__':
    unittest.main()
