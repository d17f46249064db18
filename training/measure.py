"""Measure a bundle on all corpora, test sets among them; its whole scores go into its manifest.

The last step: what is read here must choose nothing. A bundle's identity is the digest of its manifest, so it changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from rasad.evaluation.figures import bundle_metrics, figures
from rasad.evaluation.report import evaluate
from rasad.inference.bundle import BundleError, load_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", help="bundle directory, as it is to ship, or the name of one that ships")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="JSON lines to write: every figure, as `rasad models eval --json`")
    arguments = parser.parse_args()
    try:
        directory = load_bundle(arguments.bundle, task=None).directory
    except BundleError as error:
        parser.error(str(error))
    with tqdm(mininterval=5, unit=" texts") as bar:

        def told(what: str, done: int, total: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = total, done
            bar.update(0)

        report = evaluate(arguments.data, bundle=directory, progress=told)
    path = directory / "bundle.json"
    made = json.loads(path.read_text(encoding="utf-8")) | {"metrics": bundle_metrics(report)}
    path.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    with arguments.out.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in figures(report))
    print(json.dumps(made["metrics"], ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
