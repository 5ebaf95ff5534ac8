"""Training of the encoder, then of the codebooks and the decoder, of a small EnCodec model."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import EncodecConfig, EncodecModel

from audioformer.data.progress import hides_bars

from .arguments import HOP_LENGTH, SAMPLING_RATE, CodecTrainingArguments
from .cepstra import CepstralTargets
from .crops import CropSource
from .losses import MultiScaleLogMel
from .quantizer import ResidualQuantizerTrainer
from .scaling import scale_layers, whiten


class CodecTrainer:
    r"""
    Trains a small [`~transformers.EncodecModel`] in two stages.

    First the encoder learns to put what it hears into its vectors: a linear layer, not saved, reads cepstra of several
    windows off them. Then the vectors are whitened, the encoder is frozen, and k-means initializes the codebooks. They
    follow moving averages while the decoder learns to reconstruct from one to all of them. If everything is trained
    together from the start, the encoder settles on C1, and what the other codebooks quantize is noise.

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
        self.config = EncodecConfig(
            target_bandwidths=[4 * SAMPLING_RATE / HOP_LENGTH * math.log2(args.codebook_size) / 1000],
            num_filters=args.num_filters,
            hidden_size=args.hidden_size,
            num_lstm_layers=args.num_lstm_layers,
            codebook_size=args.codebook_size,
            upsampling_ratios=args.upsampling_ratios,
        )
        self.codec = EncodecModel(self.config).train()
        self.log_mel = MultiScaleLogMel(SAMPLING_RATE)
        self.cepstra = CepstralTargets(SAMPLING_RATE, HOP_LENGTH)
        self.cepstral_head = nn.Linear(args.hidden_size, self.cepstra.size)
        self.parameters = [*self.codec.parameters(), *self.cepstral_head.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=args.learning_rate, betas=(0.8, 0.99), weight_decay=0.01
        )
        self.quantizer = ResidualQuantizerTrainer(self.codec.quantizer, decay=args.quantizer_decay)
        self.crops = CropSource(
            waveforms,
            args.seed,
            length=round(args.segment_s * SAMPLING_RATE) // HOP_LENGTH * HOP_LENGTH,
            sampling_rate=SAMPLING_RATE,
            batch_size=args.batch_size,
            level_db=(args.level_db[0], args.level_db[1]),
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
        """Return the rate of a step: in each stage linear warm-up, then cosine decay to 0."""
        start, end = 0, self.args.quantizer_start_step
        if step >= end:
            start, end = end, self.args.max_steps
        warmup = min(self.args.warmup_steps, (end - start) // 10)
        if step - start < warmup:
            return self.args.learning_rate * (step - start + 1) / warmup
        progress = (step - start - warmup) / max(1, end - start - warmup)
        return self.args.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def compute_loss(self, audio: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """Return the loss of the step's stage as `loss`, and each component under its own name."""
        if step < self.args.quantizer_start_step:
            predicted = self.cepstral_head(self.codec.encoder(audio).transpose(1, 2))
            distance = (predicted - self.cepstra(audio[:, 0])).abs().mean()
            return {"loss": distance, "cepstrum_l1": distance}
        with torch.no_grad():
            embeddings = self.codec.encoder(audio)
            generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + step)
            num_codebooks = self.config.num_quantizers
            num_active = torch.randint(1, num_codebooks + 1, (len(audio),), generator=generator)
            num_active[torch.rand(len(audio), generator=generator) < self.args.all_codebooks_rate] = num_codebooks
            quantized = self.quantizer.quantize(embeddings, num_active, generator)
        decoded = self.codec.decoder(quantized.quantized)[..., : audio.shape[-1]]
        log_mel, waveform = self.log_mel(decoded[:, 0], audio[:, 0]), (decoded - audio).abs().mean()
        return {
            "loss": self.args.mel_weight * log_mel + self.args.waveform_weight * waveform,
            "log_mel_l1": log_mel,
            "waveform_l1": waveform,
            "quantization_error": quantized.error,
        }

    @torch.no_grad()
    def start_encoder(self) -> None:
        """Scale the encoder's layers, and take the statistics of the cepstra, on crops that training does not draw."""
        audio = torch.cat([self.sample_batch(self.args.max_steps + index) for index in range(4)])
        self.cepstra.standardize(audio[:, 0])
        scale_layers(self.codec.encoder, audio)

    @torch.no_grad()
    def start_quantizer(self) -> None:
        """Whiten the encoder's outputs, and initialize codebooks and decoder, on about twenty frames per entry."""
        frames_per_crop = self.crops.length // HOP_LENGTH
        num_batches = max(1, round(20 * self.config.codebook_size / (frames_per_crop * self.args.batch_size)))
        # Step numbers after the last step give crops that training itself does not draw.
        batches = [self.sample_batch(self.args.max_steps + index) for index in range(num_batches)]
        whiten(self.codec.encoder, torch.cat([self._frames(batch) for batch in batches]))
        generator = torch.Generator().manual_seed(self.args.seed)
        self.quantizer.initialize(torch.cat([self._frames(batch) for batch in batches]), generator)
        scale_layers(self.codec.decoder, self.codec.encoder(batches[0]), output_deviation=float(batches[0].std()))

    def _frames(self, audio: torch.Tensor) -> torch.Tensor:
        return self.codec.encoder(audio).transpose(1, 2).reshape(-1, self.config.hidden_size)

    def train_step(self) -> dict[str, float]:
        """Take one optimizer step and return the losses.

        Raises:
            RuntimeError: If the gradient is not finite.
        """
        if self.step == 0:
            self.start_encoder()
        elif self.step == self.args.quantizer_start_step:
            self.start_quantizer()
            self.optimizer.zero_grad()
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
                    # At the border of the stages, the losses of the later one count.
                    alike = [losses for losses in recent if losses.keys() == recent[-1].keys()]
                    entry = {name: round(float(np.mean([losses[name] for losses in alike])), 4) for name in alike[-1]}
                    self.log_history.append({"step": self.step, **entry, "wall_s": round(self.wall_s, 1)})
                    bar.set_postfix({"loss": entry["loss"]})
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
            "cepstra": self.cepstra.state_dict(),
            "cepstral_head": self.cepstral_head.state_dict(),
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
        saved = state["recipe"] | {"num_clips": state["num_clips"]}
        differing = [
            f"{name} {saved.get(name)} -> {recipe.get(name)}" for name in recipe if recipe[name] != saved.get(name)
        ]
        if differing:
            raise ValueError(
                f"{str(path)!r} was written with other settings ({', '.join(differing)}): use those, another "
                "`output`, or `overwrite`."
            )
        self.codec.load_state_dict(state["codec"])
        self.cepstra.load_state_dict(state["cepstra"])
        self.cepstral_head.load_state_dict(state["cepstral_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.wall_s, self.cpu_s = state["step"], state["wall_s"], state["cpu_s"]
        self.log_history = state["log_history"]
