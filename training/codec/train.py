"""
Training of a small EnCodec model on a folder of audio, on a CPU:

    python -m audioformer.training.codec.train --data path/to/audio --output path/to/codec

The output is the folder of a plain `transformers.EncodecModel`. After an interruption, the same command resumes from
the last checkpoint. Two runs with the same seed on the same machine give the same weights. On a machine that does
other work, set `OMP_PROC_BIND=true`. Otherwise the threads may share one core and wait for each other, at a tenth of
the speed.
"""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import EncodecConfig, EncodecModel, HfArgumentParser

from audioformer.data.audio.folder import copy_attribution, find_audio, load_audio_files, names_with_license
from audioformer.data.progress import hides_bars
from audioformer.data.synthetic import SyntheticClips
from audioformer.files import ATTRIBUTION, TRAINING_LOG

from .crops import MIN_LEVEL_DB, CropSource
from .evaluation import evaluate_codec
from .losses import MultiScaleLogMel
from .quantizer import ResidualQuantizerTrainer

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.pt"
EVALUATED_CLIPS, EVALUATED_S = 40, 5.0
"""Number and length of the synthetic clips that a codec is evaluated on where there are no real ones."""


@dataclass
class CodecTrainingArguments:
    """Settings for training a small codec. Each field is an option of the command.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    output: str = field(metadata={"help": "Folder in which to save the codec."})
    data: str | None = field(
        default=None,
        metadata={"help": "Folder of audio files, including its subfolders; optional with --synthetic-share 1."},
    )
    synthetic_share: float = field(
        default=0.0, metadata={"help": "Share of the crops that are drawn from endless synthetic sound, from 0 to 1."}
    )
    exclude: list[str] = field(default_factory=list, metadata={"help": "Names of files to skip."})
    attribution: str | None = field(
        default=None, metadata={"help": "CSV file with the columns filename and license; needs --licenses."}
    )
    licenses: list[str] = field(
        default_factory=list, metadata={"help": "Use only files with these licenses, according to --attribution."}
    )
    max_steps: int = field(default=3000, metadata={"help": "Number of optimizer steps."})
    batch_size: int = field(default=8, metadata={"help": "Crops per step."})
    segment_s: float = field(default=1.0, metadata={"help": "Length of a crop in seconds."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: int = field(default=100, metadata={"help": "Steps of linear warm-up before the cosine decay to 0."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    gain_db: float = field(default=6.0, metadata={"help": "Random gain of crops: at most this many dB up or down."})
    level_db: list[float] | None = field(
        default=None,
        metadata={"help": "Instead of --gain-db: set the RMS of each crop to a random level from LOW to HIGH dBFS."},
    )
    mel_weight: float = field(default=1.0, metadata={"help": "Weight of the multi-scale log-mel distance."})
    waveform_weight: float = field(default=1.0, metadata={"help": "Weight of the waveform's mean absolute error."})
    commitment_weight: float = field(default=0.25, metadata={"help": "Weight of the commitment loss."})
    spectrum_weight: float = field(
        default=1.0,
        metadata={"help": "Weight of a linear head (not saved) that predicts the log-mel spectrum from codebook C1."},
    )
    quantizer_start_step: int = field(
        default=200, metadata={"help": "Steps without quantization, after which k-means initializes the codebooks."}
    )
    quantizer_decay: float = field(default=0.99, metadata={"help": "Decay of the moving averages of the codebooks."})
    all_codebooks_rate: float = field(
        default=0.5,
        metadata={
            "help": "Share of crops that use all codebooks; others use a random number of them.",
            "aliases": ["--full_rows_rate", "--full-rows-rate"],
        },
    )
    num_filters: int = field(default=8, metadata={"help": "Channels of the first convolution."})
    hidden_size: int = field(default=64, metadata={"help": "Dimension of the codebooks' entries."})
    num_lstm_layers: int = field(default=1, metadata={"help": "LSTM layers in the encoder and in the decoder."})
    codebook_size: int = field(default=1024, metadata={"help": "Entries of each of the four codebooks, a power of 2."})
    seed: int = field(default=0, metadata={"help": "Seed for weights, crops, gains and codebooks."})
    logging_steps: int = field(default=50, metadata={"help": "Steps between log entries."})
    save_steps: int = field(default=200, metadata={"help": "Steps between checkpoints."})
    num_threads: int = field(default=0, metadata={"help": "Number of torch threads; 0 keeps torch's default."})
    overwrite: bool = field(
        default=False, metadata={"help": "Start over even if --output contains a codec or a checkpoint."}
    )

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "num_filters", "hidden_size", "num_lstm_layers", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.segment_s <= 0:
            raise ValueError(f"`segment_s` must be more than 0 seconds, got {self.segment_s}.")
        if not 0 <= self.quantizer_start_step < self.max_steps:
            raise ValueError(
                f"`quantizer_start_step` must be in [0, max_steps), got {self.quantizer_start_step} with "
                f"`max_steps` {self.max_steps}: the codebooks would never be trained."
            )
        if not 0 <= self.synthetic_share <= 1:
            raise ValueError(f"`synthetic_share` must be in [0, 1], got {self.synthetic_share}.")
        if self.data is None and self.synthetic_share < 1:
            raise ValueError(f"`data` is needed unless `synthetic_share` is 1, got {self.synthetic_share}.")
        if self.data is None and (self.exclude or self.attribution):
            raise ValueError("`exclude` and `attribution` select files of `data`, which is missing.")
        if self.level_db is not None and not (
            len(self.level_db) == 2 and MIN_LEVEL_DB <= self.level_db[0] <= self.level_db[1] <= 0
        ):
            raise ValueError(
                f"`level_db` must be two levels in [{MIN_LEVEL_DB:g}, 0] dBFS, the lower first, got {self.level_db}."
            )
        if bool(self.attribution) != bool(self.licenses):
            raise ValueError("`attribution` and `licenses` must be given together.")

    def recipe(self) -> dict[str, Any]:
        """Return the settings that affect the weights: all but those of folders, logging and speed."""
        skipped = ("data", "output", "attribution", "logging_steps", "save_steps", "num_threads", "overwrite")
        return {name: value for name, value in asdict(self).items() if name not in skipped}


class CodecTrainer:
    r"""
    Trains encoder, decoder and codebooks of a small [`~transformers.EncodecModel`] together.

    All random numbers of a step depend on the seed and the number of the step only, so that a run resumed from a
    checkpoint gives the same weights as an uninterrupted one.

    Args:
        args ([`CodecTrainingArguments`]):
            Settings.
        waveforms (`Sequence[np.ndarray]`):
            Mono audio at 24 kHz, each of shape `(num_samples,)`; may be empty with `synthetic_share` 1.
    """

    def __init__(self, args: CodecTrainingArguments, waveforms: Sequence[np.ndarray]) -> None:
        self.args = args
        self.waveforms = waveforms
        torch.manual_seed(args.seed)
        bandwidth = 4 * 75 * math.log2(args.codebook_size) / 1000
        self.config = EncodecConfig(
            target_bandwidths=[bandwidth],
            num_filters=args.num_filters,
            hidden_size=args.hidden_size,
            num_lstm_layers=args.num_lstm_layers,
            codebook_size=args.codebook_size,
        )
        self.codec = EncodecModel(self.config).train()
        self.log_mel = MultiScaleLogMel(self.config.sampling_rate)
        self.spectrum_head = nn.Linear(args.hidden_size, 64)
        self.parameters = [*self.codec.parameters(), *self.spectrum_head.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=args.learning_rate, betas=(0.8, 0.99), weight_decay=0.01
        )
        self.quantizer = ResidualQuantizerTrainer(self.codec.quantizer, decay=args.quantizer_decay)
        self.crops = CropSource(
            waveforms,
            args.seed,
            length=round(args.segment_s * self.config.sampling_rate),
            sampling_rate=self.config.sampling_rate,
            batch_size=args.batch_size,
            gain_db=args.gain_db,
            level_db=None if args.level_db is None else (args.level_db[0], args.level_db[1]),
            synthetic_share=args.synthetic_share,
        )
        self.step = 0
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self.log_history: list[dict[str, float]] = []

    def sample_batch(self, step: int, batch_size: int | None = None) -> torch.Tensor:
        """Draw random crops at random levels, a `torch.FloatTensor` of shape `(batch_size, 1, num_samples)`."""
        return torch.from_numpy(self.crops.draw(step, batch_size)).unsqueeze(1)

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: linear warm-up, then cosine decay to 0."""
        warmup = min(self.args.warmup_steps, self.args.max_steps // 10)
        if step < warmup:
            return self.args.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.args.max_steps - warmup)
        return self.args.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def spectrum_targets(self, reference: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Return the log-mel spectrum at the end of each code's frame, of shape `(batch_size, num_frames, 64)`."""
        # Windows of 1024 samples have a hop of 256, codes one of 320. The window nearest to each code's end is taken.
        spectrum = self.log_mel.spectrogram(reference, 1024)
        ends = (torch.arange(1, num_frames + 1) * self.config.hop_length / 256).round().long() - 1
        return spectrum[:, ends.clamp(max=spectrum.shape[1] - 1)]

    def compute_loss(self, audio: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """Return the weighted total as `loss`, and each component under its own name."""
        args = self.args
        embeddings = self.codec.encoder(audio)
        components: dict[str, torch.Tensor] = {}
        loss: Any = 0.0
        if step >= args.quantizer_start_step:
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            num_codebooks = self.config.num_quantizers
            num_active = torch.randint(1, num_codebooks + 1, (len(audio),), generator=generator)
            num_active[torch.rand(len(audio), generator=generator) < args.all_codebooks_rate] = num_codebooks
            quantized = self.quantizer.quantize(embeddings, num_active, generator)
            components["commitment"] = quantized.commitment_loss
            loss = loss + args.commitment_weight * quantized.commitment_loss
            first_codebook, embeddings = quantized.first_codebook, quantized.quantized
        else:
            first_codebook = embeddings
        decoded = self.codec.decoder(embeddings)[..., : audio.shape[-1]]
        reference = audio[:, 0]
        components["log_mel_l1"] = self.log_mel(decoded[:, 0], reference)
        components["waveform_l1"] = (decoded - audio).abs().mean()
        loss = loss + args.mel_weight * components["log_mel_l1"] + args.waveform_weight * components["waveform_l1"]
        if args.spectrum_weight > 0:
            with torch.no_grad():
                targets = self.spectrum_targets(reference, first_codebook.shape[-1])
            predicted = self.spectrum_head(first_codebook.transpose(1, 2))
            components["spectrum_l1"] = (predicted - targets).abs().mean()
            loss = loss + args.spectrum_weight * components["spectrum_l1"]
        return {"loss": loss, **components}

    @torch.no_grad()
    def start_quantizer(self) -> None:
        """Initialize the codebooks by k-means on about twenty encoder outputs per entry."""
        frames_per_crop = math.ceil(self.args.segment_s * self.config.frame_rate)
        num_batches = max(1, round(20 * self.config.codebook_size / (frames_per_crop * self.args.batch_size)))
        outputs = []
        for index in range(num_batches):
            # Step numbers after the last step give crops that training itself does not draw.
            embeddings = self.codec.encoder(self.sample_batch(self.args.max_steps + index))
            outputs.append(embeddings.transpose(1, 2).reshape(-1, self.config.hidden_size))
        generator = torch.Generator().manual_seed(self.args.seed)
        self.quantizer.initialize(torch.cat(outputs), generator)

    def train_step(self) -> dict[str, float]:
        """Take one optimizer step and return the losses.

        Raises:
            RuntimeError: If the gradient is not finite.
        """
        if self.step == self.args.quantizer_start_step:
            self.start_quantizer()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        losses = self.compute_loss(self.sample_batch(self.step), self.step)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.args.max_grad_norm)
        if not torch.isfinite(norm):
            raise RuntimeError(f"The gradient is not finite in step {self.step}: try a lower `learning_rate`.")
        self.optimizer.step()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()} | {"grad_norm": float(norm)}

    def train(self, checkpoint: Path | None = None) -> None:
        """Train up to `max_steps`, saving to `checkpoint` every `save_steps` steps."""
        recent: list[dict[str, float]] = []
        wall, cpu = time.perf_counter() - self.wall_s, time.process_time() - self.cpu_s
        with tqdm(
            total=self.args.max_steps, initial=self.step, desc="Training", mininterval=1.0, disable=hides_bars()
        ) as bar:
            while self.step < self.args.max_steps:
                recent.append(self.train_step())
                bar.update()
                self.wall_s, self.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
                if self.step % self.args.logging_steps == 0 or self.step == self.args.max_steps:
                    # Steps before the quantizer's start have no losses of the quantizer.
                    entry = {
                        name: round(float(np.mean([losses[name] for losses in recent if name in losses])), 4)
                        for name in recent[-1]
                    }
                    self.log_history.append({"step": self.step, **entry, "wall_s": round(self.wall_s, 1)})
                    bar.set_postfix({name: entry[name] for name in ("loss", "log_mel_l1")})
                    recent = []
                if checkpoint is not None and self.step % self.args.save_steps == 0:
                    self.save_checkpoint(checkpoint)

    def save_checkpoint(self, path: Path) -> None:
        """Write what resuming needs. A killed process leaves either the previous checkpoint or the new one."""
        state = {
            "recipe": self.args.recipe(),
            "num_clips": len(self.waveforms),
            "step": self.step,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "log_history": self.log_history,
            "codec": self.codec.state_dict(),
            "spectrum_head": self.spectrum_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = path.with_name(path.name + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load_checkpoint(self, path: Path) -> None:
        """Restore the state that `save_checkpoint` wrote.

        Raises:
            ValueError: If the settings differ from those of the checkpoint.
        """
        state = torch.load(path, weights_only=True)
        recipe = self.args.recipe() | {"num_clips": len(self.waveforms)}
        # Earlier versions had no such settings.
        saved = {"synthetic_share": 0.0, "level_db": None} | state["recipe"] | {"num_clips": state["num_clips"]}
        if "full_rows_rate" in saved:  # its former name
            saved["all_codebooks_rate"] = saved.pop("full_rows_rate")
        differing = [
            f"{name} {saved.get(name)} -> {recipe.get(name)}" for name in recipe if recipe[name] != saved.get(name)
        ]
        if differing:
            raise ValueError(
                f"{str(path)!r} was written with other settings ({', '.join(differing)}): use those, another "
                "`output`, or `overwrite`."
            )
        self.codec.load_state_dict(state["codec"])
        self.spectrum_head.load_state_dict(state["spectrum_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.wall_s, self.cpu_s = state["step"], state["wall_s"], state["cpu_s"]
        self.log_history = state["log_history"]


def train_codec(args: CodecTrainingArguments) -> dict[str, Any]:
    r"""
    Train a codec, save it, load the saved folder and evaluate it.

    Args:
        args ([`CodecTrainingArguments`]):
            Settings.

    Returns:
        `dict`: The contents of `training_log.json`: `recipe`, `training` (clips, times in seconds), `evaluation` and
        `log_history`.

    Raises:
        ValueError: If no audio is found, files cannot be read, `output` contains a finished codec, or its checkpoint
            was written with other settings.
    """
    output = Path(args.output)
    checkpoint = output / CHECKPOINT_NAME
    if (output / "model.safetensors").exists() and not checkpoint.exists() and not args.overwrite:
        raise ValueError(f"{args.output!r} already contains a codec: use another `output`, or `overwrite`.")
    allowed = names_with_license(args.attribution, args.licenses) if args.attribution else None
    paths = [] if args.data is None else find_audio(args.data, args.exclude, allowed)
    waveforms = load_audio_files(paths, EncodecConfig.sampling_rate) if paths else []
    duration = sum(len(waveform) for waveform in waveforms) / EncodecConfig.sampling_rate
    logger.info("%d files, %.1f minutes of audio", len(waveforms), duration / 60)

    if args.num_threads > 0:
        torch.set_num_threads(args.num_threads)
    trainer = CodecTrainer(args, waveforms)
    output.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists() and not args.overwrite:
        trainer.load_checkpoint(checkpoint)
        logger.info("resuming from step %d", trainer.step)
    trainer.train(checkpoint)

    trainer.codec.save_pretrained(output)
    # Of another seed than those that were trained on.
    evaluated = (
        waveforms or SyntheticClips(EVALUATED_CLIPS, args.seed + 1, EVALUATED_S, EncodecConfig.sampling_rate)[:]
    )
    report = {
        "recipe": args.recipe(),
        "training": {
            "num_clips": len(waveforms),
            "audio_s": round(duration, 1),
            "evaluated_on": "real clips" if waveforms else "synthetic clips",
            "wall_s": round(trainer.wall_s, 1),
            "cpu_s": round(trainer.cpu_s, 1),
            "num_threads": torch.get_num_threads(),
            "torch_version": torch.__version__,
        },
        "evaluation": evaluate_codec(EncodecModel.from_pretrained(output), evaluated, progress=True),
        "log_history": trainer.log_history,
    }
    (output / TRAINING_LOG).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.attribution:
        copy_attribution(args.attribution, paths, output / ATTRIBUTION)
    checkpoint.unlink(missing_ok=True)
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and print the evaluation of the saved codec."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # transformers declares the parameter with a `NewType` that no dataclass satisfies.
    parser = HfArgumentParser(CodecTrainingArguments)  # type: ignore[arg-type]
    (args,) = parser.parse_args_into_dataclasses(args=argv)
    report = train_codec(args)
    print(json.dumps({"training": report["training"], "evaluation": report["evaluation"]}, indent=1))


if __name__ == "__main__":
    main()
