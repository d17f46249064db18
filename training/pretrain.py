"""Continue masked-language-model pre-training of a pruned encoder on raw Arabic news.

Whole words are masked (their pieces together), 20 % of them: 80 % become `<mask>`, 10 % a random piece, 10 % stay.
The output layer is tied to the embedding table and its dense layer starts as the identity. The learning rate
warms up over 3 % of the time budget and then falls linearly to zero. Resumes from the checkpoint in OUT; SIGTERM
and Ctrl-C save one first, and a larger --minutes goes on from where an earlier run ended.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import time
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertConfig, BertModel

from rasad.evaluation.corpora import read_jsonl
from rasad.text.normalise import normalise
from training.machine import autocast, device


def token_stream(tokenizer: Tokenizer, corpora: list[Path], limit: int) -> npt.NDArray[np.uint16]:
    """All articles of `corpora` as one run of piece ids, each article opened by `<s>`; shape `[tokens]`."""
    opening = tokenizer.token_to_id("<s>")
    chunks: list[npt.NDArray[np.uint16]] = []
    for path in corpora:
        batch: list[str] = []
        records = tqdm(islice(read_jsonl(path), limit), desc=path.name, unit=" articles", mininterval=5)
        for record in records:
            batch.append(normalise(f"{record.get('title') or ''}. {record['text']}").text)
            if len(batch) == 512:
                encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                chunks.extend(np.array([opening, *e.ids], dtype=np.uint16) for e in encodings)
                batch = []
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        chunks.extend(np.array([opening, *e.ids], dtype=np.uint16) for e in encodings)
    np.random.default_rng(0).shuffle(chunks)  # type: ignore[arg-type]
    return np.concatenate(chunks)


class MaskedLanguageModel(nn.Module):
    """A BertModel and an output layer tied to its embedding table."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = encoder.config.hidden_size
        self.dense = nn.Linear(hidden, hidden)
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(encoder.config.vocab_size))

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the positions where `targets` (`[rows, length]`) is not -100."""
        hidden = self.encoder(input_ids=ids).last_hidden_state
        chosen = targets >= 0
        features = self.norm(nn.functional.gelu(self.dense(hidden[chosen])))
        logits = features @ self.encoder.embeddings.word_embeddings.weight.T + self.bias
        return nn.functional.cross_entropy(logits.float(), targets[chosen])


def mask_words(
    rows: npt.NDArray[np.int64],
    starts_word: npt.NDArray[np.bool_],
    mask_id: int,
    rng: np.random.Generator,
    share: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Masked ids and targets (-100 where nothing is to be predicted), both `[rows, length]`."""
    words = np.cumsum(starts_word[rows], axis=1)
    chosen_words = rng.random((rows.shape[0], rows.shape[1] + 1)) < share
    chosen = np.take_along_axis(chosen_words, words, axis=1)
    dice = rng.random(rows.shape)
    masked = np.where(chosen & (dice < 0.8), mask_id, rows)
    random_ids = rng.integers(5, len(starts_word), rows.shape)
    masked = np.where(chosen & (dice >= 0.9), random_ids, masked)
    return masked, np.where(chosen, rows, -100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", type=Path, help="encoder directory written by training.vocabulary")
    parser.add_argument("out", type=Path, help="encoder directory to write, with checkpoints")
    parser.add_argument("corpora", type=Path, nargs="+", help="raw JSON-lines corpora")
    parser.add_argument("--minutes", type=float, default=50, help="time budget (default: %(default)s)")
    parser.add_argument("--after", type=Path, help="directory of a shorter run to go on from, left as it is")
    parser.add_argument("--limit", type=int, default=40_000, help="articles a corpus (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=32, help="rows a batch (default: %(default)s)")
    parser.add_argument("--length", type=int, default=128, help="pieces a row (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=4e-4, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--log-every", type=int, default=25, help="steps a line of the log (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.2, help="share of words masked (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in ("tokens.npy", "checkpoint.pt"):
        if arguments.after and not (arguments.out / name).exists():
            shutil.copyfile(arguments.after / name, arguments.out / name)

    tokenizer = Tokenizer.from_file(str(arguments.base / "tokenizer.json"))
    cache = arguments.out / "tokens.npy"
    if not cache.exists():
        np.save(cache, token_stream(tokenizer, arguments.corpora, arguments.limit))
    stream = np.load(cache, mmap_mode="r")
    pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    starts_word = np.array([p.startswith("▁") or p in ("<s>", "</s>") for p in pieces])

    # One pass over the data needs no dropout, and on a CPU drawing its masks costs a quarter of a step.
    config = BertConfig.from_pretrained(
        arguments.base,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    encoder = BertModel.from_pretrained(arguments.base, config=config, add_pooling_layer=False)
    model = MaskedLanguageModel(encoder).to(device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    checkpoint = arguments.out / "checkpoint.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]

    budget = arguments.minutes * 60
    batch_tokens = arguments.rows * arguments.length
    order = np.random.default_rng(1).permutation(len(stream) // arguments.length)
    context = autocast()
    started = saved = time.monotonic()
    bar = tqdm(total=round(budget), initial=round(spent), unit="s", mininterval=10)
    recent: list[float] = []
    interrupted = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: interrupted.set())
    with (arguments.out / "log.jsonl").open("a") as log:
        while True:
            elapsed = spent + time.monotonic() - started
            if elapsed >= budget:
                break
            progress = elapsed / budget
            rate = arguments.lr * min(progress / 0.03, (1 - progress) / 0.97)
            for group in optimizer.param_groups:
                group["lr"] = rate
            picks = order[np.arange(step * arguments.rows, (step + 1) * arguments.rows) % len(order)]
            rows = np.stack([stream[p * arguments.length : (p + 1) * arguments.length] for p in picks])
            rng = np.random.default_rng(step)
            mask_id = tokenizer.token_to_id("<mask>")
            ids, targets = mask_words(rows.astype(np.int64), starts_word, mask_id, rng, arguments.share)
            with context:
                loss = model(torch.from_numpy(ids).to(device()), torch.from_numpy(targets).to(device()))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            recent.append(loss.item())
            if step % arguments.log_every == 0:
                row = {"step": step, "tokens": step * batch_tokens, "seconds": round(elapsed, 1)}
                row["loss"] = round(sum(recent) / len(recent), 4)
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix(loss=row["loss"], tokens=f"{step * batch_tokens / 1e6:.2f}M")
                recent = []
            bar.update(round(elapsed) - bar.n)
            if interrupted.is_set() or time.monotonic() - saved > 300:
                saved = time.monotonic()
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save({**state, "step": step, "spent": elapsed}, checkpoint)
                encoder.save_pretrained(arguments.out)
            if interrupted.is_set():
                raise SystemExit(f"interrupted after {elapsed:.0f} s; run again to go on from {checkpoint}")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": step, "spent": budget}, checkpoint)
    encoder.save_pretrained(arguments.out)
    (arguments.out / "tokenizer.json").write_bytes((arguments.base / "tokenizer.json").read_bytes())


if __name__ == "__main__":
    main()
