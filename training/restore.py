"""A shipped bundle's model in fp32, as the fine-tuning programs write it, so that they can go on from it.

The fp32 weights that a bundle was made of do not ship; those of its int8 graph come close (rasad.inference.
dequantisation). Reads graphs that `training.export` wrote.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from safetensors.numpy import save_file

from rasad.inference.bundle import Bundle, BundleError, load_bundle
from rasad.inference.dequantisation import HEADS, PROJECTION, RELATIONS, dequantised, is_dequantised, parted


def restore(bundle: Bundle, out: Path) -> None:
    """Write what fine-tuning wrote before it was exported: encoder, output layers, tokenizer, and relations if any.

    Raises BundleError where another program wrote the graph.
    """
    arrays = dequantised(bundle.model)
    heads = bundle.manifest.heads
    labels = {name: head.labels for name, head in heads.items() if head.kind != "relation"}
    if not is_dequantised(arrays, labels):
        raise BundleError(
            f"{bundle.directory}: training.export did not write its graph, so its weights cannot be told apart; "
            "go on from the model that it was converted from"
        )
    encoder = {n: value for n, value in arrays.items() if not n.startswith((HEADS, PROJECTION, RELATIONS))}
    stance = bundle.manifest.task == "stance"
    layers = {n: value for n, value in arrays.items() if n.startswith((HEADS, PROJECTION))}
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(bundle.directory / name, out / name)
    save_file(encoder, out / "model.safetensors", metadata={"format": "pt"})
    save_file(layers if stance else parted(layers, HEADS), out / "heads.safetensors")
    (out / "heads.json").write_text(json.dumps(labels, ensure_ascii=False, indent=1))
    if relations := parted(arrays, RELATIONS):
        (sides,) = (list(head.labels) for head in heads.values() if head.kind == "relation")
        save_file(relations, out / "relations.safetensors")
        shape = {"sides": sides, "rank": len(relations["inner.bias"]) // 4}
        (out / "relations.json").write_text(json.dumps(shape) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("ner", "stance"))
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--bundle", help="its directory, or fast (default: the one that ships for the task)")
    arguments = parser.parse_args()
    try:
        restore(load_bundle(arguments.bundle, task=arguments.task), arguments.out)
    except (BundleError, OSError) as error:
        parser.error(str(error))
    print(f"{arguments.out}: go on from it with training.finetune_ner or finetune_stance")


if __name__ == "__main__":
    main()
