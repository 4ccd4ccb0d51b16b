"""What is wrong with a data set: broken files, and images that are in it more than once."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.code_identity import is_own
from trainables.data.dataset import Dataset, Images, Progress, Source
from trainables.data.given_images import reading_once
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import FileFacts, decode_all, keep, labelled, listing_of
from trainables.data.image_listing import MOST_NAMED, some
from trainables.data.image_sets import check_data, load_dataset, read_source
from trainables.data.registry import known_data
from trainables.data_config import DataConfig
from trainables.frames import as_html, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        dataset: as a study would divide it, without what can't be read.
        findings: what is wrong with it, a sentence each.
        remarks: what one should know besides.
    """

    dataset: Dataset
    findings: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Class → the images that are trained on, validated on, and tested on."""
        data = self.dataset
        parts = {
            "training": data.train_labels,
            "validation": data.val_labels,
            "test": data.test_labels,
        }
        return {
            name: {part: int((labels == number).sum()) for part, labels in parts.items()}
            for number, name in enumerate(data.classes)
        }

    def to_frame(self) -> "pd.DataFrame":
        """A row a class: its images in each part."""
        return frame([{"class": name, **counts} for name, counts in self.counts.items()])

    def _repr_html_(self) -> str:
        title = f"found wrong: {len(self.findings) or 'nothing'}"
        wrong = [f"WRONG: {finding}" for finding in self.findings]
        return as_html(title, self.to_frame(), [*self.remarks, *wrong])


@dataclass(frozen=True)
class _Named:
    """Images with their labels and names, training's first."""

    source: Source
    train: Sequence[str]
    test: Sequence[str]


def inspect_data(config: DataConfig, progress: Progress | None = None) -> Inspection:
    """Read a data set as a study would, and look for what would spoil it.

    Images count as the same if their pixels are, at the size of the study.
    """
    first = _content_of_own(config, progress)
    with reading_once():
        found = _inspected(config, progress)
    if first is None or first == found.dataset.content:
        return found
    changes = (
        f"data.dataset = {config.dataset!r}: called twice it gives other images or labels; it must "
        "give the same ones, in the same order, whenever it is called, or no run can be resumed or "
        "evaluated later: seed what it draws"
    )
    return replace(found, findings=(*found.findings, changes))


def _content_of_own(config: DataConfig, progress: Progress | None) -> str | None:
    """A hash of what a function of one's own gives; None for others, whose files are read anew.

    What is streamed is compared while it is read.
    """
    if not is_own(config.dataset) or config.stream:
        return None
    check_data(config)
    return read_source(config, progress).content


def _inspected(config: DataConfig, progress: Progress | None) -> Inspection:
    check_data(config)
    findings: list[str] = []
    remarks: list[str] = []
    if known_data(config.dataset).files:
        images = _photos(config, progress, findings, remarks)
    else:
        images = _Named(read_source(config, progress), [], [])
    _repeated(images, findings, remarks)
    # Of how many files a recorded run left out says nothing of what is there now.
    asked = {"skip_broken": known_data(config.dataset).files, "left_out": None}
    dataset = load_dataset(config.model_copy(update=asked))
    return Inspection(dataset, tuple(findings), tuple(remarks))


def _photos(
    config: DataConfig, progress: Progress | None, findings: list[str], remarks: list[str]
) -> _Named:
    decoding = Decoding.of(config)
    listing = listing_of(config)
    images, facts = decode_all(listing, decoding, config.workers, progress)
    broken = [fact.wrong.removeprefix(f"{listing.root}{os.sep}") for fact in facts if fact.wrong]
    if broken:
        more = f"\n  and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        findings.append(
            f"images that can't be read: {len(broken)} (--skip-broken leaves them out)\n  "
            + "\n  ".join(broken[:MOST_NAMED])
            + more
        )
    remarks += _facts(decoding, [fact for fact in facts if not fact.wrong])
    if listing.within:
        remarks.append(
            f"folders within classes, {'read' if listing.nested else 'not read'}: "
            f"{some(listing.within)}"
        )
    source = labelled(listing, images, facts)
    keep(listing, decoding, source)
    good = [name for name, fact in zip(listing.names, facts, strict=True) if not fact.wrong]
    count = len(source.train_labels)
    return _Named(source, good[:count], good[count:])


def _facts(decoding: Decoding, facts: Sequence[FileFacts]) -> list[str]:
    """The files in words: sizes, kinds of pixels, and what decoding does to them."""
    sizes = [fact.size for fact in facts]
    smallest, largest = (choose(sizes, key=lambda s: s[0] * s[1]) for choose in (min, max))
    kinds = Counter(fact.mode for fact in facts)
    return [
        f"each becomes {decoding.shape.words}: {decoding.words}",
        f"{len(facts)} photos of {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]} pixels; "
        + ", ".join(f"{count} {mode}" for mode, count in kinds.most_common()),
        f"{sum(w != h for w, h in sizes)} are not square, "
        f"{sum(fact.turned for fact in facts)} are turned by their EXIF orientation, "
        f"{sum(fact.transparent for fact in facts)} are transparent",
    ]


def _repeated(images: _Named, findings: list[str], remarks: list[str]) -> None:
    """Images that are there more than once: a leak between training and test above all."""
    source = images.source
    places: dict[bytes, list[tuple[str, int, str]]] = {}
    for part, pixels, labels, names in (
        ("training", source.train_images, source.train_labels, images.train),
        ("test", source.test_images, source.test_labels, images.test),
    ):
        for n, (digest, label) in enumerate(zip(_digests(pixels), labels.tolist(), strict=True)):
            name = names[n] if names else f"{part} image {n}"
            places.setdefault(digest, []).append((part, label, name))
    repeated = [found for found in places.values() if len(found) > 1]
    leaks = [found for found in repeated if len({part for part, _, _ in found}) > 1]
    contrary = [found for found in repeated if len({label for _, label, _ in found}) > 1]
    within = [found for found in repeated if {part for part, _, _ in found} == {"training"}]
    if leaks:
        count = sum(part == "test" for found in leaks for part, _, _ in found)
        findings.append(
            f"a leak, test images that are training images, too: {count}; remove them from either"
            + _groups(leaks)
        )
    if contrary:
        findings.append(
            f"images of several classes: {len(contrary)}; decide for one" + _groups(contrary)
        )
    if within:
        remarks.append(
            f"training images that are there more than once: {len(within)}; some may be drawn for "
            "validation" + _groups(within)
        )


def _digests(pixels: Images) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]


def _groups(groups: Sequence[Sequence[tuple[str, int, str]]]) -> str:
    """A line for each of the first few images: all its names."""
    lines = [" = ".join(name for _, _, name in found[:4]) for found in groups[:MOST_NAMED]]
    if len(groups) > MOST_NAMED:
        lines.append(f"and {len(groups) - MOST_NAMED} more")
    return "".join(f"\n  {line}" for line in lines)
