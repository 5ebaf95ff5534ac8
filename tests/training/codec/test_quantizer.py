"""Training of the residual vector quantizer, compared with formulas and the inference code of `EncodecModel`."""

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from audioformer.training.codec.quantizer import ResidualQuantizerTrainer, kmeans

HIDDEN_SIZE = 6
CODEBOOK_SIZE = 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def codec() -> EncodecModel:
    torch.manual_seed(0)
    config = EncodecConfig(
        target_bandwidths=[1.2],  # four codebooks of 4 bits at 75 frames per second
        num_filters=2,
        hidden_size=HIDDEN_SIZE,
        num_lstm_layers=1,
        codebook_size=CODEBOOK_SIZE,
    )
    return EncodecModel(config)


@pytest.fixture
def frames() -> torch.Tensor:
    """Sixteen well separated clusters of fifty points."""
    centers = 10 * torch.randn(CODEBOOK_SIZE, 1, HIDDEN_SIZE, generator=generator(1))
    points = centers + 0.1 * torch.randn(CODEBOOK_SIZE, 50, HIDDEN_SIZE, generator=generator(2))
    return points.reshape(-1, HIDDEN_SIZE)


def test_codec_has_four_codebooks(codec: EncodecModel) -> None:
    assert len(codec.quantizer.layers) == 4


def test_kmeans_repeats_with_a_seed_and_keeps_every_cluster_in_use(frames: torch.Tensor) -> None:
    first, counts = kmeans(frames, CODEBOOK_SIZE, generator(3))
    second, _ = kmeans(frames, CODEBOOK_SIZE, generator(3))
    other, _ = kmeans(frames, CODEBOOK_SIZE, generator(4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert counts.sum() == len(frames)
    assert len(torch.unique(torch.cdist(frames, first).argmin(dim=-1))) == CODEBOOK_SIZE


def test_kmeans_finds_the_means_of_two_clusters() -> None:
    points = torch.tensor([[0.0], [2.0], [100.0], [104.0]])
    centers, counts = kmeans(points, 2, generator())
    assert sorted(centers.flatten().tolist()) == [1.0, 102.0]
    assert counts.tolist() == [2.0, 2.0]


def test_kmeans_takes_fewer_points_than_clusters() -> None:
    centers, _ = kmeans(torch.tensor([[0.0], [1.0]]), 5, generator())
    assert centers.shape == (5, 1)
    assert set(centers.flatten().tolist()) == {0.0, 1.0}


def test_initialize_sets_every_buffer_and_lowers_the_error_codebook_by_codebook(
    codec: EncodecModel, frames: torch.Tensor
) -> None:
    ResidualQuantizerTrainer(codec.quantizer).initialize(frames, generator())
    residual = frames
    errors = []
    for layer in codec.quantizer.layers:
        codebook = layer.codebook
        assert codebook.embed.abs().sum() > 0
        assert (codebook.cluster_size >= 1).all()
        torch.testing.assert_close(codebook.embed_avg / codebook.cluster_size[:, None], codebook.embed)
        residual = residual - codebook.decode(codebook.quantize(residual))
        errors.append(float(residual.pow(2).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_codes_equal_those_of_the_model(codec: EncodecModel, frames: torch.Tensor) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer)
    trainer.initialize(frames, generator())
    embeddings = 10 * torch.randn(3, HIDDEN_SIZE, 40, generator=generator(5))
    output = trainer.quantize(embeddings)
    expected = codec.quantizer.encode(embeddings, 1.2)
    assert torch.equal(output.codes, expected)
    assert len(expected.unique()) > 8
    torch.testing.assert_close(output.quantized, codec.quantizer.decode(expected))


def test_inactive_codebooks_are_left_out_of_the_sum_but_keep_their_codes(
    codec: EncodecModel, frames: torch.Tensor
) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer)
    trainer.initialize(frames, generator())
    embeddings = 10 * torch.randn(4, HIDDEN_SIZE, 7, generator=generator(5))
    output = trainer.quantize(embeddings, torch.tensor([1, 2, 3, 4]))
    codes = codec.quantizer.encode(embeddings, 1.2)
    assert torch.equal(output.codes, codes)
    for example in range(4):
        expected = codec.quantizer.decode(codes[: example + 1, example : example + 1])
        torch.testing.assert_close(output.quantized[example : example + 1], expected)
    torch.testing.assert_close(output.error, (embeddings - codec.quantizer.decode(codes)).pow(2).mean())


def test_moving_average_equals_the_hand_formula(codec: EncodecModel) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer, decay=0.9, dead_threshold=0.0, epsilon=0.0)
    codebook = codec.quantizer.layers[0].codebook
    codebook.cluster_size.fill_(2.0)
    codebook.embed_avg.copy_(torch.arange(CODEBOOK_SIZE * HIDDEN_SIZE).view(CODEBOOK_SIZE, HIDDEN_SIZE).float())
    before = codebook.embed_avg.clone()
    points = torch.randn(3, HIDDEN_SIZE, generator=generator())
    restarted = trainer.update(codebook, points, torch.tensor([5, 5, 0]), generator())

    assert restarted == 0
    torch.testing.assert_close(codebook.cluster_size[5], torch.tensor(0.9 * 2 + 0.1 * 2))
    torch.testing.assert_close(codebook.cluster_size[0], torch.tensor(0.9 * 2 + 0.1 * 1))
    torch.testing.assert_close(codebook.cluster_size[1], torch.tensor(0.9 * 2))
    torch.testing.assert_close(codebook.embed[5], (0.9 * before[5] + 0.1 * (points[0] + points[1])) / 2.0)
    torch.testing.assert_close(codebook.embed[0], (0.9 * before[0] + 0.1 * points[2]) / 1.9)
    torch.testing.assert_close(codebook.embed[1], before[1] / 2)


def test_dead_entries_restart_at_frames_of_the_batch(codec: EncodecModel, frames: torch.Tensor) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer)
    codebook = codec.quantizer.layers[0].codebook
    codebook.embed.fill_(1000.0)
    codebook.embed[0] = 0.0  # every frame chooses this entry
    codebook.embed_avg.copy_(codebook.embed)
    codebook.cluster_size.fill_(0.0)
    codebook.cluster_size[0] = len(frames)
    restarted = trainer.update(codebook, frames, codebook.quantize(frames), generator())

    assert restarted == CODEBOOK_SIZE - 1
    distance = (codebook.embed[1:, None] - frames).abs().amax(dim=-1).min(dim=-1).values
    assert distance.max() < 1e-2
    # They stay in place if the next batch does not use them.
    placed = codebook.embed[1:].clone()
    trainer.update(codebook, frames, torch.zeros(len(frames), dtype=torch.long), generator())
    torch.testing.assert_close(codebook.embed[1:], placed, rtol=1e-3, atol=1e-3)


def test_training_on_a_mixture_brings_all_entries_into_use(codec: EncodecModel, frames: torch.Tensor) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer, decay=0.8)
    # A deliberately bad start: all entries are equal.
    trainer.initialize(torch.zeros(64, HIDDEN_SIZE), generator())
    draws = generator(7)
    for _ in range(60):
        batch = frames[torch.randint(len(frames), (100,), generator=draws)]
        trainer.quantize(batch.t().unsqueeze(0), generator=draws)
    embeddings = frames.t().unsqueeze(0)
    output = trainer.quantize(embeddings)
    assert len(output.codes[0].unique()) >= CODEBOOK_SIZE - 1
    assert (embeddings - output.quantized).pow(2).mean() < 0.05 * embeddings.pow(2).mean()


def test_codebooks_stay_as_they_are_without_a_generator(codec: EncodecModel, frames: torch.Tensor) -> None:
    trainer = ResidualQuantizerTrainer(codec.quantizer)
    trainer.initialize(frames, generator())
    before = {name: value.clone() for name, value in codec.quantizer.state_dict().items()}
    trainer.quantize(frames.t().unsqueeze(0))
    assert all(torch.equal(before[name], value) for name, value in codec.quantizer.state_dict().items())


@pytest.mark.parametrize("argument", ["decay", "dead_threshold"])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_shares_outside_their_range_are_refused(codec: EncodecModel, argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{argument}`.*{value}"):
        ResidualQuantizerTrainer(codec.quantizer, **{argument: value})
