"""Compares our reader with sigs.k8s.io/yaml itself (needs Go; not part of the suite), or writes the corpus anew.

    python tests/oracles/yaml/compare.py --texts 20000 --seed 1     print where they differ
    python tests/oracles/yaml/compare.py --write                    write tests/pure/yaml_corpus.json

Differences that are meant are in ``MEANT`` of tests/pure/test_yaml_corpus.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from pure.test_yaml_corpus import CORPUS, agree, ours  # noqa: E402
from support.yaml_texts import KEYS, SCALARS, document, mutated  # noqa: E402

CORPUS_SEED, CORPUS_TEXTS = 12, 500


def sigs(texts: list[bytes]) -> list[dict[str, object]]:
    """What sigs.k8s.io/yaml makes of each."""
    lines = "\n".join(json.dumps({"yaml": b64encode(text).decode()}) for text in texts)
    done = subprocess.run(["go", "run", "."], cwd=HERE, input=lines.encode(), capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def written() -> list[bytes]:
    """The texts of the corpus."""
    random = Random(CORPUS_SEED)
    texts = [f"{before}{scalar}\n" for scalar in SCALARS for before in ("a: ", "- ")]
    texts += [f"{key}: x\n" for key in (*KEYS, *SCALARS)]
    texts += [document(random) for _ in range(CORPUS_TEXTS)]
    return sorted({text.encode() for text in texts})


def row(text: bytes, answer: dict[str, object]) -> dict[str, object]:
    """One text of the corpus. Strict reading fails only on keys that are there twice."""
    found = {key: answer[key] for key in ("json", "error") if key in answer}
    return {"yaml": text.decode(), **found, **({"twice": True} if "strict" in answer else {})}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--texts", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    if given.write:
        texts = written()
        rows = [json.dumps(row(text, answer)) for text, answer in zip(texts, sigs(texts), strict=True)]
        CORPUS.write_text("[\n" + ",\n".join(rows) + "\n]\n")
        return
    random = Random(given.seed)
    made = [document(random).encode() for _ in range(given.texts)]
    texts = [text if random.random() < 0.5 else mutated(random, text) for text in made]
    texts = [text for text in texts if text]
    tally: Counter[str] = Counter()
    for text, answer in zip(texts, sigs(texts), strict=True):
        outcome = agree(ours(text), answer)
        tally[outcome or "agree"] += 1
        if outcome and tally[outcome] <= 10:
            print(outcome, text, "\n  sigs:", json.dumps(answer)[:200], "\n  ours:", repr(ours(text))[:200])
    print(dict(tally))


if __name__ == "__main__":
    main()
