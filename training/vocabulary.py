"""Prune a multilingual encoder's vocabulary to the pieces that Arabic news uses.

Counts pieces over raw corpora, normalised as they are at run time, keeps those that occur often enough, and
writes the smaller tokenizer and encoder. Segmentation stays the same wherever no dropped piece was used.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tqdm import tqdm

from rasad.evaluation.corpora import read_jsonl
from rasad.text.normalise import normalise

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def count_pieces(tokenizer: Tokenizer, corpora: list[Path], limit: int) -> Counter[int]:
    """How often each piece id occurs in the first `limit` articles of each corpus."""
    counts: Counter[int] = Counter()
    for path in corpora:
        records = tqdm(islice(read_jsonl(path), limit), desc=path.name, unit=" articles", mininterval=5)
        batch: list[str] = []
        for record in records:
            batch.append(normalise(f"{record.get('title') or ''} {record['text']}").text)
            if len(batch) == 256:
                for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                    counts.update(encoding.ids)
                batch = []
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            counts.update(encoding.ids)
    return counts


def kept_pieces(spec: dict[str, Any], counts: Counter[int], minimum: int) -> list[int]:
    """Old piece ids to keep, in order: the special ones, single printable ASCII and Arabic characters, the frequent."""
    kept = []
    for index, (piece, _) in enumerate(spec["model"]["vocab"]):
        bare = piece.removeprefix("▁")
        basic = len(bare) <= 1 and (bare.isascii() or "؀" <= bare <= "ۿ")
        if piece in SPECIAL or basic or counts[index] >= minimum:
            kept.append(index)
    return kept


def prune(spec: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """The tokenizer specification with only the pieces `kept`, renumbered in order."""
    pieces = spec["model"]["vocab"]
    vocabulary = [pieces[index] for index in kept]
    number = {piece: new for new, (piece, _) in enumerate(vocabulary)}
    pruned = dict(spec)
    pruned["model"] = {**spec["model"], "vocab": vocabulary, "unk_id": number["<unk>"]}
    pruned["added_tokens"] = [{**token, "id": number[token["content"]]} for token in spec["added_tokens"]]
    processor = dict(spec["post_processor"])
    processor["special_tokens"] = {
        name: {"id": name, "ids": [number[name]], "tokens": [name]} for name in processor["special_tokens"]
    }
    pruned["post_processor"] = processor
    pruned["truncation"] = None
    pruned["padding"] = None
    return pruned


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", type=Path, help="directory written by training.base_weights")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("corpora", type=Path, nargs="+", help="raw JSON-lines corpora to count over")
    parser.add_argument("--minimum", type=int, default=5, help="keep pieces seen this often (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=200_000, help="articles a corpus (default: %(default)s)")
    arguments = parser.parse_args()
    spec = json.loads((arguments.base / "tokenizer.json").read_text())
    spec["truncation"] = spec["padding"] = None
    counts = count_pieces(Tokenizer.from_str(json.dumps(spec)), arguments.corpora, arguments.limit)
    kept = kept_pieces(spec, counts, arguments.minimum)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pruned = prune(spec, kept)
    (arguments.out / "tokenizer.json").write_text(json.dumps(pruned, ensure_ascii=False))
    tensors = load_file(arguments.base / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    tensors[name] = np.ascontiguousarray(tensors[name][kept])
    save_file(tensors, arguments.out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((arguments.base / "config.json").read_text())
    config.update(vocab_size=len(kept), pad_token_id=[p for p, _ in pruned["model"]["vocab"]].index("<pad>"))
    (arguments.out / "config.json").write_text(json.dumps(config, indent=1))
    covered = sum(counts[index] for index in kept) / max(1, sum(counts.values()))
    print(f"{arguments.out}: {len(kept)} pieces cover {covered:.4%} of {sum(counts.values()):,} tokens")


if __name__ == "__main__":
    main()
