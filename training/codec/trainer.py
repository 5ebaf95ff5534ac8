"""Training of the encoder, the decoder and the codebooks of a small EnCodec model."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import EncodecConfig, EncodecModel

from audioformer.data.progress import hides_bars

from .arguments import CodecTrainingArguments
from .crops import CropSource
from .losses import MultiScaleLogMel
from .quantizer import ResidualQuantizerTrainer


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
