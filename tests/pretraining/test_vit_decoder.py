"""The decoder that fills in hidden patches."""

import pytest
import torch

from biot_bd.models import DecoderSizes, MaskedViT, TokenSizes
from biot_bd.pretraining.visible import Visible
from biot_bd.pretraining.vit_decoder import ViTDecoder

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = TokenSizes(n_chans=3, n_frames=4, n_features=7, embed_dim=32)


def decoder_and_tokens(seed=0):
    torch.manual_seed(seed)
    hidden = torch.rand(2, 3, 4).argsort(-1) < 3
    return ViTDecoder(SIZES).double(), Visible.of(hidden), torch.randn(2, 3, 32, dtype=torch.float64)


def test_sizes_are_those_of_the_preset_or_given_ones():
    with torch.device("meta"):
        decoder = ViTDecoder(MaskedViT("seed").token_stages().sizes)
        other = ViTDecoder(SIZES, 48, 3, 4, in_features=5)
    assert MaskedViT.presets["seed"].decoder == DecoderSizes(512, 8, 16)
    assert (decoder.norm.normalized_shape, len(decoder.layers)) == ((512,), 8)
    assert (other.enter.in_features, other.norm.normalized_shape, len(other.layers)) == (5, (48,), 3)
    assert other.predict.out_features == 7


def test_each_encoded_token_is_read_at_its_place():
    decoder, visible, encoded = decoder_and_tokens()
    order = torch.tensor([2, 0, 1])
    shuffled = decoder(encoded[:, order], Visible(visible.places[:, order], None))
    torch.testing.assert_close(decoder(encoded, visible), shuffled)
    elsewhere = Visible((visible.places + 1) % 12, None)
    assert not torch.allclose(decoder(encoded, visible), decoder(encoded, elsewhere))


def test_an_absent_row_moves_nothing_else():
    decoder, _, encoded = decoder_and_tokens()
    hidden = torch.tensor([[True] * 4, [False, True, False, True], [False, True, True, True]]).expand(2, -1, -1)
    present = torch.tensor([[False, True, True]] * 2)
    visible = Visible.of(hidden, present)
    before = decoder(encoded, visible, present)[:, 1:]
    with torch.no_grad():
        decoder.places.channel_position[0] += 5.0  # what stands in the absent row
    torch.testing.assert_close(decoder(encoded, visible, present)[:, 1:], before)
    assert not torch.allclose(decoder(encoded, visible)[:, 1:], before)
