"""From clips to padded ids: the codes of the codec, between BOA and EOA."""

import numpy as np
import pytest
import torch
from transformers import BatchFeature
from transformers.utils import PaddingStrategy

from audioformer.feature_extraction import AudioFormerFeatureExtractor, ids_to_codes

from .common import assert_same_codes, make_clip, reference_codes

RATE = 24000
LENGTHS = [24001, 1, 12000, 320, 50123]


def test_ids_are_codes_between_boa_and_eoa(codec, extractor):
    clips = [make_clip(length) for length in LENGTHS]
    batch = extractor(clips, sampling_rate=RATE, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert list(batch) == ["input_ids", "attention_mask"]
    assert ids.shape == mask.shape == (5, 159)
    assert ids.dtype == mask.dtype == torch.int64
    codes = []
    for row, row_mask, clip in zip(ids.numpy(), mask.numpy(), clips, strict=True):
        length = -(-len(clip) // 320) + 2
        assert row_mask[:length].all() and not row_mask[length:].any()
        assert row[0] == 0 and row[length - 1] == 2 and (row[length:] == 1).all()
        assert row[1 : length - 1].min() >= 3 and row[1 : length - 1].max() <= 1026
        codes.append(row[1 : length - 1, None] - 3)
    assert_same_codes(codec, clips, codes)


def test_batch_and_single_agree(extractor):
    clips = [make_clip(length) for length in LENGTHS]
    batch = extractor(clips, sampling_rate=RATE)
    for clip, ids, mask in zip(clips, batch["input_ids"], batch["attention_mask"], strict=True):
        single = extractor(clip, sampling_rate=RATE)
        np.testing.assert_array_equal(single["input_ids"][0], ids[mask == 1])
        assert single["attention_mask"].all()


@pytest.mark.parametrize("codebooks", [1, 3, [0], [0, 1, 2, 3], [2, 0], (1, 3), np.array([0, 2])])
def test_codebooks(codec, codebooks):
    clip = make_clip(5000)
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=codebooks)
    ids = extractor([clip, clip[:700]], sampling_rate=RATE, return_tensors="np")["input_ids"]
    expected = reference_codes(codec, clip)[:, codebooks if isinstance(codebooks, int) else list(codebooks)] + 3
    assert ids.shape == (2, 18, *expected.shape[1:])
    np.testing.assert_array_equal(ids[0, 1:-1], expected)
    assert (ids[:, 0] == 0).all() and (ids[0, -1] == 2).all() and (ids[1, 4] == 2).all() and (ids[1, 5:] == 1).all()


def test_more_bandwidth_gives_more_codebooks(codec):
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[7], bandwidth=6.0)
    clip = make_clip(5000)
    expected = reference_codes(codec, clip, bandwidth=6.0)[:, 7]
    np.testing.assert_array_equal(extractor(clip, sampling_rate=RATE)["input_ids"][0, 1:-1, 0] - 3, expected)


def test_settings_may_be_changed_later(codec):
    extractor = AudioFormerFeatureExtractor(codec=codec)
    clip = make_clip(5000)
    extractor(clip, sampling_rate=RATE)
    extractor.codebooks = [0, 3]
    np.testing.assert_array_equal(
        extractor(clip, sampling_rate=RATE)["input_ids"][0, 1:-1] - 3, reference_codes(codec, clip)[:, [0, 3]]
    )
    extractor.codebooks = 4
    with pytest.raises(ValueError, match="`codebooks` contains 4"):
        extractor(clip, sampling_rate=RATE)


@pytest.mark.parametrize("codebooks", [0, 2, [1], [3, 0]])
def test_encode_gives_the_codes_without_special_ids(codec, codebooks):
    clips = [make_clip(length) for length in (1, 5000, 320)]
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=codebooks)
    codes = extractor.encode(clips, sampling_rate=RATE)
    for clip, got in zip(clips, codes, strict=True):
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, reference_codes(codec, clip)[:, np.atleast_1d(codebooks)])
    ids = extractor(clips, sampling_rate=RATE, padding=False)["input_ids"]
    for got, clip_ids in zip(codes, ids, strict=True):
        np.testing.assert_array_equal(got, ids_to_codes(clip_ids).reshape(got.shape))


def test_encode_takes_what_a_call_takes(extractor):
    stereo = np.stack([make_clip(30000, seed=1), make_clip(30000, seed=2)])
    (codes,) = extractor.encode({"array": stereo, "sampling_rate": 44100})
    ids = extractor(torch.from_numpy(stereo), sampling_rate=44100)["input_ids"][0]
    np.testing.assert_array_equal(codes[:, 0], ids_to_codes(ids))
    with pytest.raises(ValueError, match="clip 2 of 2 is empty"):
        extractor.encode([stereo, []], sampling_rate=RATE)


def test_with_codebooks_changes_a_copy_and_shares_the_codec(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    extractor = AudioFormerFeatureExtractor(codec=tmp_path)
    clip = make_clip(5000)
    expected = reference_codes(codec, clip)
    np.testing.assert_array_equal(extractor.encode(clip, RATE)[0], expected[:, :1])
    other = extractor.with_codebooks((2, 0))
    assert (extractor.codebooks, other.codebooks) == (0, [2, 0])
    assert other.codec is extractor.codec
    np.testing.assert_array_equal(other.encode(clip, RATE)[0], expected[:, [2, 0]])
    np.testing.assert_array_equal(extractor.encode(clip, RATE)[0], expected[:, :1])


def test_with_codebooks_refuses_what_the_codec_does_not_have(codec, extractor, tmp_path):
    with pytest.raises(ValueError, match="`codebooks` must be a codebook index"):
        extractor.with_codebooks([0, 0])
    with pytest.raises(ValueError, match="but at 3.0 kb/s"):
        extractor.with_codebooks([0, 4])
    codec.save_pretrained(tmp_path)
    by_folder = AudioFormerFeatureExtractor(codec=tmp_path)
    not_loaded_yet = by_folder.with_codebooks([0, 4])
    with pytest.raises(ValueError, match="but at 3.0 kb/s"):
        not_loaded_yet.encode(make_clip(10), RATE)
    assert by_folder.codec is not None
    with pytest.raises(ValueError, match="but at 3.0 kb/s"):
        by_folder.with_codebooks([0, 4])


def test_any_rate_and_stereo(codec, extractor):
    stereo = np.stack([make_clip(30000, seed=1), make_clip(30000, seed=2)])
    ids = extractor({"array": stereo, "sampling_rate": 44100}, return_tensors="np")["input_ids"]
    mono = extractor(stereo.mean(axis=0), sampling_rate=44100, return_tensors="np")["input_ids"]
    np.testing.assert_array_equal(ids, mono)
    assert ids.shape == (1, -(-30000 * 24000 // 44100 // 320) + 2)


def test_pcm_gives_the_ids_of_the_scaled_floats(extractor):
    pcm = np.round(make_clip(5000) * 20000).astype(np.int16)
    np.testing.assert_array_equal(
        extractor(pcm, sampling_rate=RATE)["input_ids"], extractor(pcm / 32768, sampling_rate=RATE)["input_ids"]
    )


@pytest.mark.parametrize("max_length", [3, 4, 8, 18, 60, 79])
def test_truncation_keeps_codes_and_eoa(extractor, max_length):
    clips = [make_clip(24001), make_clip(2000)]
    whole = extractor(clips, sampling_rate=RATE)
    cut = extractor(clips, sampling_rate=RATE, truncation=True, max_length=max_length)
    assert cut["input_ids"].shape == (2, min(max_length, 78))
    for row in range(2):
        length = whole["attention_mask"][row].sum()
        kept = min(max_length, length)
        assert cut["attention_mask"][row].sum() == kept
        np.testing.assert_array_equal(cut["input_ids"][row, : kept - 1], whole["input_ids"][row, : kept - 1])
        assert cut["input_ids"][row, kept - 1] == 2


def test_truncation_saves_the_work(extractor, monkeypatch):
    lengths = []
    codec = extractor._load_codec()
    encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda clips: lengths.extend(map(len, clips)) or encode(clips))
    extractor(make_clip(100000), sampling_rate=RATE, truncation=True, max_length=52)
    assert lengths == [50 * 320]


def test_truncation_needs_room(extractor):
    with pytest.raises(ValueError, match="`truncation=True` needs `max_length`"):
        extractor(make_clip(100), sampling_rate=RATE, truncation=True)
    with pytest.raises(ValueError, match="`max_length` must be at least 3"):
        extractor(make_clip(100), sampling_rate=RATE, truncation=True, max_length=2)


def test_padding_strategies(extractor):
    clips = [make_clip(24000), make_clip(3200)]

    def lengths(**arguments):
        return [len(ids) for ids in extractor(clips, sampling_rate=RATE, **arguments)["input_ids"]]

    assert lengths() == lengths(padding="longest") == lengths(padding=PaddingStrategy.LONGEST) == [77, 77]
    assert lengths(padding=False) == lengths(padding="do_not_pad") == [77, 12]
    assert lengths(padding="max_length", max_length=100) == [100, 100]
    assert lengths(padding="max_length", max_length=20) == [77, 20]
    assert lengths(padding="max_length", max_length=20, truncation=True) == [20, 20]
    assert lengths(padding=False, max_length=20, truncation=True) == [20, 12]
    assert lengths(pad_to_multiple_of=64) == [128, 128]
    assert lengths(pad_to_multiple_of=64, max_length=20, truncation=True) == [64, 64]
    with pytest.raises(ValueError, match="max_length"):
        lengths(padding="max_length")
    with pytest.raises(ValueError, match="padding=True"):
        lengths(padding=False, return_tensors="pt")


def test_left_padding(codec):
    extractor = AudioFormerFeatureExtractor(codec=codec, padding_side="left")
    batch = extractor([make_clip(3200), make_clip(320)], sampling_rate=RATE)
    np.testing.assert_array_equal(batch["input_ids"][1, :10], [1] * 9 + [0])
    np.testing.assert_array_equal(batch["attention_mask"][1], [0] * 9 + [1] * 3)
    with pytest.raises(ValueError, match="`padding_side` must be"):
        AudioFormerFeatureExtractor(codec=codec, padding_side="top")


def test_attention_mask_is_optional(codec, extractor):
    clip = make_clip(320)
    assert list(extractor(clip, sampling_rate=RATE, return_attention_mask=False)) == ["input_ids"]
    quiet = AudioFormerFeatureExtractor(codec=codec, return_attention_mask=False)
    assert list(quiet(clip, sampling_rate=RATE)) == ["input_ids"]
    assert list(quiet(clip, sampling_rate=RATE, return_attention_mask=True)) == ["input_ids", "attention_mask"]


def test_pad_as_a_collator(extractor):
    features = [
        {**extractor(make_clip(length), sampling_rate=RATE), "labels": label}
        for length, label in ((3200, 4), (640, 0))
    ]
    features = [{"input_ids": f["input_ids"][0], "labels": f["labels"]} for f in features]
    batch = extractor.pad(features, return_tensors="pt")
    assert isinstance(batch, BatchFeature)
    assert batch["labels"].tolist() == [4, 0]
    assert batch["attention_mask"].sum(1).tolist() == [12, 4]
    assert batch["input_ids"].dtype == torch.int64 and batch["input_ids"][1, 3:].tolist() == [2] + [1] * 8
    again = extractor.pad(batch)
    assert torch.is_tensor(again["input_ids"]) and torch.equal(again["attention_mask"], batch["attention_mask"])
    cut = extractor.pad(features, truncation=True, max_length=5)
    assert cut["input_ids"][0].tolist() == [*features[0]["input_ids"][:4], 2]
    assert extractor.pad({"input_ids": [[0, 5, 2]]})["input_ids"].tolist() == [[0, 5, 2]]


def test_pad_refuses_what_it_cannot_pad(extractor):
    with pytest.raises(ValueError, match="must have 'input_ids', got only \\['labels'\\]"):
        extractor.pad([{"labels": 1}])
    with pytest.raises(ValueError, match="'labels' has 1 entries for 2 sequences"):
        extractor.pad({"input_ids": [[0, 2], [0, 2]], "labels": [1]})
    with pytest.raises(ValueError, match="a dict of lists or a non-empty list of dicts"):
        extractor.pad([])


def test_pad_of_several_codebooks(codec):
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[1])
    features = [{"input_ids": np.zeros((length, 1), np.int64)} for length in (3, 5)]
    batch = extractor.pad(features)
    assert batch["input_ids"].shape == (2, 5, 1) and batch["attention_mask"].shape == (2, 5)
    assert (batch["input_ids"][0, 3:] == 1).all()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_ids_can_be_trained_on(codec, mode):
    """The codec is loaded and the tensors are made inside; the training step comes outside."""
    extractor = AudioFormerFeatureExtractor(codec=codec)
    with mode():
        ids = extractor(make_clip(1000), sampling_rate=RATE, return_tensors="pt")["input_ids"]
    assert not ids.is_inference()
    embedding = torch.nn.Embedding(1028, 4)
    embedding(ids).sum().backward()
    assert embedding.weight.grad[ids[0]].abs().sum() > 0


def test_loading_inside_inference_mode_leaves_a_usable_codec(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    extractor = AudioFormerFeatureExtractor(codec=tmp_path)
    with torch.inference_mode():
        extractor(make_clip(1000), sampling_rate=RATE)
    assert not any(parameter.is_inference() for parameter in extractor.codec.parameters())


def test_codec_is_loaded_once_and_late(codec, tmp_path, monkeypatch):
    codec.save_pretrained(tmp_path)
    loads = []
    load = type(codec).from_pretrained.__func__
    monkeypatch.setattr(
        type(codec), "from_pretrained", classmethod(lambda cls, *a, **k: loads.append(a) or load(cls, *a, **k))
    )
    extractor = AudioFormerFeatureExtractor(codec=tmp_path)
    assert loads == []
    for _ in range(2):
        extractor(make_clip(1000), sampling_rate=RATE)
    extractor.codebooks = [0, 1]
    extractor(make_clip(1000), sampling_rate=RATE)
    assert len(loads) == 1


def test_to_returns_the_extractor(extractor):
    assert extractor.to("cpu") is extractor
    assert extractor.to(torch.device("cpu"))(make_clip(100), sampling_rate=RATE)["input_ids"].shape == (1, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_ids_on_a_gpu_are_those_on_a_cpu(codec, extractor):
    clips = [make_clip(length) for length in LENGTHS]
    expected = extractor(clips, sampling_rate=RATE)["input_ids"]
    batch = extractor.to("cuda")([torch.from_numpy(clip).cuda() for clip in clips], sampling_rate=RATE)
    assert (batch["input_ids"] != expected).mean() < 1e-3
    assert next(extractor.codec.parameters()).device.type == "cpu"


def test_without_a_codec_there_is_a_reason():
    with pytest.raises(ValueError, match="has no codec: pass `codec=...`"):
        AudioFormerFeatureExtractor(codec=None)(make_clip(10), sampling_rate=RATE)


@pytest.mark.parametrize("codebooks", [1, [2], [0, 2, 3]])
def test_the_model_configuration_names_the_codebooks(codec, codebooks):
    reads = AudioFormerFeatureExtractor(codec=codec, codebooks=codebooks).model_config()
    several = isinstance(codebooks, list) and len(codebooks) > 1
    expected = {"codebooks": codebooks} if several else {"codebook": int(np.ravel(codebooks)[0])}
    assert {name: value for name, value in reads.items() if name in ("codebook", "codebooks")} == expected
