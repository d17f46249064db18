"""A smaller tagger that does as a larger one does: fewer layers, narrower ones, and a factorised embedding table.

The student starts from the teacher: the last layer of each run of layers that one of its own stands for, the inner
units of each that weigh most, and the best approximation of its embedding table of a lower rank, in the form of
ELECTRA's (Clark et al., arXiv:2003.10555). It learns what the teacher's layers give for each piece (Jiao et al.,
arXiv:1909.10351), the teacher's vectors of words, and its labels' probabilities in every output layer (Hinton et al.,
arXiv:1503.02531), on the labelled corpora, whose own labels count too, and on raw news. With `--student` it goes on
from where an earlier one ended. The teacher reads every text once, at the start; 3 million pieces of it take 9 GB of
memory for a student of 4 layers.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertModel, ElectraConfig, ElectraModel

from rasad.evaluation.corpora import read_jsonl
from training.finetune_ner import WEIGHTS, dev_windows, score, to_device, training_corpora
from training.labels import paragraphs
from training.machine import autocast, device
from training.optimisation import Optimisation, batches, corrupt
from training.rounds import train_in_rounds
from training.run import RAW
from training.tagger import Tagger, collate, load_tagger, pooled, save_heads
from training.tagging import Document, Window, news_document, windows

WIDEST_BATCH = 4096
"""Pieces that the teacher reads at once."""

RAW_WORDS = (60, 400)
"""Raw articles of fewer or more words are left out."""

GOLD = 0.5
"""What a word's own label counts beside the teacher's probabilities."""

VECTORS = 0.5
"""What the distance between the two models' vectors of words counts, as a share of the teacher's variance."""

STATES = 0.5
"""The same of what each layer but the last gives for pieces."""


@dataclass(frozen=True, slots=True)
class Read:
    """A window and in float16 the teacher's vectors of its words, `[words, hidden]`, and what those of its layers give
    that the student's stand for, all but the last: `[layers, pieces, hidden]`."""

    window: Window
    vectors: npt.NDArray[np.float16]
    states: npt.NDArray[np.float16]

    @property
    def ids(self) -> tuple[int, ...]:
        """The window's piece ids."""
        return self.window.ids


def student_of(teacher: BertModel, *, layers: int, inner: int, rank: int) -> ElectraModel:
    """A smaller encoder with the teacher's weights (see the module)."""
    source = teacher.config
    config = ElectraConfig(
        vocab_size=source.vocab_size,
        embedding_size=rank,
        hidden_size=source.hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=source.num_attention_heads,
        intermediate_size=inner,
        hidden_act=source.hidden_act,
        max_position_embeddings=source.max_position_embeddings,
        type_vocab_size=source.type_vocab_size,
        layer_norm_eps=source.layer_norm_eps,
        pad_token_id=source.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    student = ElectraModel(config)
    with torch.no_grad():
        _factorise(teacher.embeddings, student, rank)
        for layer, number in zip(student.encoder.layer, stood_for(source.num_hidden_layers, layers), strict=True):
            _narrow(teacher.encoder.layer[number - 1], layer, inner)
    return student


def stood_for(teacher: int, student: int) -> list[int]:
    """The numbers, from 1, of those of the teacher's layers whose output each of the student's is to give."""
    return [teacher * (number + 1) // student for number in range(student)]


def _factorise(source: nn.Module, student: ElectraModel, rank: int) -> None:
    """Embeddings of `rank` values whose projection is nearest to the teacher's tables."""
    tables = {name: getattr(source, name).weight for name in ("word_embeddings", "position_embeddings")}
    tables["token_type_embeddings"] = source.get_submodule("token_type_embeddings").weight
    _, _, directions = torch.linalg.svd(tables["word_embeddings"], full_matrices=False)
    basis = directions[:rank].T
    for name, table in tables.items():
        getattr(student.embeddings, name).weight.copy_(table @ basis)
    norm = source.get_submodule("LayerNorm")
    # A norm over `rank` values divides by less than one over all of them.
    scale = (basis.shape[0] / rank) ** 0.5
    student.embeddings_project.weight.copy_(scale * norm.weight[:, None] * basis)
    student.embeddings_project.bias.copy_(norm.bias)


def _narrow(source: nn.Module, target: nn.Module, inner: int) -> None:
    """Copy a layer, with the `inner` units of its feed-forward part whose weights in and out are the largest."""
    state = dict(source.state_dict())
    into, out = state["intermediate.dense.weight"], state["output.dense.weight"]
    weight = into.norm(dim=1) * out.norm(dim=0)
    kept = weight.topk(inner).indices.sort().values
    state["intermediate.dense.weight"] = into[kept]
    state["intermediate.dense.bias"] = state["intermediate.dense.bias"][kept]
    state["output.dense.weight"] = out[:, kept]
    target.load_state_dict(state)


def raw_documents(paths: Sequence[Path], count: int, seed: int) -> list[Document]:
    """Some `count` articles of the raw corpora without a label, drawn alike from each."""
    made: list[Document] = []
    for path in paths:
        rng = random.Random(f"{seed}/{path.name}")
        read = [a for a in islice(read_jsonl(path), 20_000) if RAW_WORDS[0] <= len(a["text"].split()) <= RAW_WORDS[1]]
        for article in rng.sample(read, min(len(read), count // max(1, len(paths)))):
            body = article["text"]
            blank = {"mentions": [], "quotes": [], "stances": [], "paragraphs": paragraphs(body)}
            whole = news_document({"title": article.get("title") or "", "body": body, **blank})
            made.append(Document("raw", tuple(unit.labelled({}) for unit in whole.units)))
    return made


@torch.no_grad()
def read_by(teacher: Tagger, found: Sequence[Window], layers: int, padding: int) -> list[Read]:
    """Every window as the teacher reads it, for a student of `layers` layers."""
    numbers = stood_for(teacher.encoder.config.num_hidden_layers, layers)[:-1]
    made: list[Read] = []
    context = autocast()
    teacher.eval()
    with tqdm(total=len(found), desc="teacher", unit=" windows", mininterval=10) as bar:
        for group in batches([each for each in found if each.words], WIDEST_BATCH, None):
            batch = to_device(collate(group, (), padding))
            with context:
                given = teacher.encoder(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True)
            words = torch.split(pooled(given.last_hidden_state, batch), list(batch.sizes))
            # The embeddings stand first, so that there is a stack for a student of one layer too.
            layers_of = torch.stack([given.hidden_states[number] for number in (0, *numbers)], dim=1)
            inside = layers_of[:, 1:].half().cpu().numpy()
            for window, part, states in zip(group, words, inside, strict=True):
                own = states[:, : len(window.ids)].copy()
                made.append(Read(window, part.cpu().numpy().astype(np.float16), own))
            bar.update(len(group))
    return made


def distance(own: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared distance of `own` and `wanted`, both `[items, hidden]`, as a share of each value's variance.

    A few values of an encoder's vectors vary a hundred times as much as the others and would be all that is learnt.
    """
    return ((own - wanted).square().mean(dim=0) / (wanted.var(dim=0) + 1e-6)).mean()


def loss_of(student: Tagger, teacher: Tagger, group: Sequence[Read], ids: Tensor, padding: int) -> Tensor:
    """The mean over the words of a batch; `ids` are its pieces, some of them masked."""
    batch = to_device(collate([each.window for each in group], list(student.layers), padding))
    batch = batch.with_ids(ids.to(device()))
    aim = torch.from_numpy(np.concatenate([each.vectors for each in group])).float().to(device())
    given = student.encoder(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True)
    vectors = pooled(given.last_hidden_state, batch)
    loss = VECTORS * distance(vectors, aim)
    states = torch.from_numpy(np.concatenate([each.states for each in group], axis=1)).float().to(device())
    present = batch.mask.bool()
    for own, wanted in zip(given.hidden_states[1:-1], states, strict=True):
        loss = loss + STATES * distance(own[present].float(), wanted)
    features = student.dropout(vectors)
    for name, head in student.heads.items():
        weight = WEIGHTS.get(name, 1.0)
        logits = head(features)
        wanted = teacher.heads[name](aim).softmax(dim=-1)
        loss = loss + weight * nn.functional.cross_entropy(logits, wanted)
        labels = batch.labels[name]
        if bool((labels >= 0).any()):
            summed = nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
            loss = loss + GOLD * weight * summed / sum(batch.sizes)
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("teacher", type=Path, help="directory written by training.finetune_ner")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--student", type=Path, help="a student to go on from, whose shape it keeps")
    parser.add_argument("--layers", type=int, default=4, help="layers (default: %(default)s)")
    parser.add_argument("--inner", type=int, default=576, help="width of the feed-forward part (default: %(default)s)")
    parser.add_argument("--rank", type=int, default=128, help="width of the embedding table (default: %(default)s)")
    parser.add_argument("--raw", type=int, default=3000, help="raw articles to read (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="passes over all texts (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1300, help="pieces a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=8e-4, help="encoder's peak learning rate (default: %(default)s)")
    parser.add_argument("--head-lr", type=float, default=1e-3, help="heads' peak learning rate (default: %(default)s)")
    parser.add_argument("--mask", type=float, default=0.05, help="share of pieces masked (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    data: Path = arguments.data
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(arguments.teacher / "tokenizer.json"))
    padding, mask_id = tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("<mask>")

    teacher = load_tagger(arguments.teacher).to(device())
    if arguments.student:
        student = load_tagger(arguments.student)
        if student.layers != teacher.layers:
            parser.error(f"--student {arguments.student}: its output layers are not those of {arguments.teacher}")
    else:
        shape = {"layers": arguments.layers, "inner": arguments.inner, "rank": arguments.rank}
        student = Tagger(student_of(teacher.encoder, **shape), teacher.layers)
        student.heads.load_state_dict(teacher.heads.state_dict())
    student = student.to(device()).train()
    corpora = training_corpora(data, teacher.layers)
    panx = random.Random(arguments.seed).sample(corpora["panx"], len(corpora["panx"]) // 3)
    documents = [each for name, found in corpora.items() if name != "panx" for each in found] + panx
    raw = [path for name in RAW if (path := data / "raw" / f"{name}.jsonl.zst").exists()]
    documents += raw_documents(raw, arguments.raw, arguments.seed)
    found = [w for each in documents for w in windows(tokenizer, each, max_tokens=256)]
    train = read_by(teacher, found, student.encoder.config.num_hidden_layers, padding)
    dev = dev_windows(data, teacher.layers, tokenizer)

    average = copy.deepcopy(student)
    optimisation = Optimisation(student, average, lr=arguments.lr, head_lr=arguments.head_lr)
    context = autocast()

    def groups(number: int) -> list[list[Read]]:
        return list(batches(train, arguments.tokens, np.random.default_rng([arguments.seed, number])))

    def loss(group: list[Read], generator: torch.Generator) -> Tensor:
        ids = collate([each.window for each in group], (), padding).ids
        with context:
            return loss_of(student, teacher, group, corrupt(ids, mask_id, arguments.mask, generator), padding)

    def scores(_: int) -> dict[str, float]:
        row = {}
        for which, candidate in (("last", student), ("average", average)):
            for layer, found in dev.items():
                with context:
                    row[f"{which}/{layer}"] = round(score(candidate, found, layer, padding).score().f1, 2)
        return row

    def keep(row: dict[str, float]) -> None:
        chosen = average if row["average/news"] >= row["last/news"] else student
        chosen.encoder.save_pretrained(arguments.out)
        save_heads(chosen.heads, teacher.layers, arguments.out)

    train_in_rounds(
        optimisation,
        arguments.out,
        arguments.rounds,
        groups=groups,
        loss=loss,
        scores=scores,
        keep=keep,
        seed=arguments.seed,
    )
    (arguments.out / "tokenizer.json").write_bytes((arguments.teacher / "tokenizer.json").read_bytes())


if __name__ == "__main__":
    main()
