"""Inspects a folder of images or a CSV: counts, sizes, and every problem that would spoil training or evaluation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import NamedTuple

from longtail.data.advice import warnings_on
from longtail.data.collection import Listing
from longtail.data.contrast import loses_contrast
from longtail.data.csv_list import read_csv
from longtail.data.findings import Copies, Counts, Group, Inspection, Range
from longtail.data.groups import shot_groups
from longtail.data.images import opened, read_content
from longtail.data.imbalance import imbalance_factor
from longtail.data.listing import list_images, unlisted
from longtail.data.modes import to_rgb
from longtail.data.names import SPLITS, is_image, said_of_left_out
from longtail.errors import CorruptImage, TooLarge, UnreadableFile, reason

Watch = Callable[[int, int], None]
Indices = tuple[int, ...]
CHUNK = 64


def inspect(root: Path, *, outside: bool = False, watch: Watch | None = None) -> Inspection:
    """Reads every image of a folder or a CSV once, continues past broken ones, and changes nothing.

    Args:
        root: the folder, or the CSV.
        outside: whether a CSV may name files outside its folder.
        watch: called with (number of images read, number of all images).

    Raises:
        BadFolder: `root` does not exist, has no image that belongs to a class, or is a CSV that cannot be understood.
    """
    if root.is_file():
        listing = read_csv(root, below=root.parent, missing_ok=True, twice_ok=True, outside=outside)
    else:
        listing = list_images(root)
    if not listing.files:
        listing.check()
    found = _found(listing, _look_at_all(listing, watch), unlisted(listing))
    return replace(found, warnings=warnings_on(found))


class _Look(NamedTuple):
    """Properties of one image, with its hash where another file has as many bytes; or the reason why it cannot be read."""

    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    digest: bytes = b""
    problem: str = ""
    refused: bool = False
    pixels: int = 0
    faded: bool = False


def _look_at_all(listing: Listing, watch: Watch | None) -> list[_Look]:
    paths = [listing.root / file for file in listing.files]
    sizes = [_size(path) for path in paths]
    files_of = Counter(sizes)

    def look(start: int) -> list[_Look]:
        end = start + CHUNK
        return [_look(path, files_of[size] > 1) for path, size in zip(paths[start:end], sizes[start:end], strict=True)]

    looks: list[_Look] = []
    with ThreadPoolExecutor() as pool:
        for chunk in pool.map(look, range(0, len(paths), CHUNK)):
            looks.extend(chunk)
            if watch is not None:
                watch(len(looks), len(paths))
    return looks


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _look(path: Path, hashed: bool) -> _Look:
    """Reads the file once and decodes it completely, as training does."""
    try:
        content = read_content(path)
        with opened(path, content) as image:
            image.load()
            faded = loses_contrast(image, to_rgb(image))
            digest = blake2b(content).digest() if hashed else b""
            return _Look(*image.size, image.mode, image.format or "unknown", digest, faded=faded)
    except FileNotFoundError:
        return _Look(problem="its link leads nowhere" if path.is_symlink() else "there is no such file")
    except UnreadableFile as error:
        return _Look(problem=_why(error), refused=True)
    except TooLarge as error:
        return _Look(problem="it is too large", pixels=error.pixels)
    except CorruptImage as error:
        return _Look(problem=reason(error.__cause__) if error.__cause__ else _why(error))


def _why(error: Exception) -> str:
    """What the error on one file says in parentheses."""
    return str(error).rpartition(" (")[2].partition(")")[0]


def _found(listing: Listing, looks: Sequence[_Look], rest: Collection[str]) -> Inspection:
    good = [look for look in looks if not look.problem]
    counts, splits = dict(sorted(Counter(listing.labels).items())), _split_counts(listing)
    trained = [count for count in splits.get("train", counts).values() if count]
    copies, pairs = _identical(looks), list(zip(listing.files, looks, strict=True))
    conflicts, leaks = _differing(copies, listing.labels), _differing(copies, listing.splits)
    outside = tuple(file for file in rest if is_image(Path(file).name))
    left_out = said_of_left_out(file for file in rest if not is_image(Path(file).name))
    return Inspection(
        counts=counts,
        splits=splits,
        imbalance=imbalance_factor(trained),
        groups=_groups(trained),
        width=_range([look.width for look in good]),
        height=_range([look.height for look in good]),
        short_side=median(min(look.width, look.height) for look in good) if good else None,
        modes=dict(Counter(look.mode for look in good).most_common()),
        formats=dict(Counter(look.format for look in good).most_common()),
        corrupt={file: look.problem for file, look in pairs if look.problem and not look.refused and not look.pixels},
        large={file: look.pixels for file, look in pairs if look.pixels},
        refused={file: look.problem for file, look in pairs if look.refused},
        conflicts=_files(conflicts, listing),
        leaks=_files(leaks, listing),
        duplicates=sum(len(alike) - 1 for alike in set(copies).difference(conflicts, leaks)),
        empty_classes=listing.empty_classes,
        missing=_differences(splits, lambda train, other: train and not other),
        unknown=_differences(splits, lambda train, other: other and not train),
        ignored=len(rest) - len(outside),
        outside=outside,
        faded=tuple(file for file, look in pairs if look.faded),
        csv=listing.csv is not None,
        notes=tuple(dict.fromkeys((*listing.notes, *filter(None, (left_out,))))),
    )


def _groups(class_counts: Sequence[int]) -> dict[str, Group]:
    groups = shot_groups(class_counts)
    return {name: Group(len(members), sum(class_counts[j] for j in members)) for name, members in groups.items()}


def _split_counts(listing: Listing) -> dict[str, Counts]:
    """Number of images of every class in every split, 0 where there are none."""
    if listing.splits is None:
        return {}
    count, classes = Counter(zip(listing.splits, listing.labels, strict=True)), sorted(set(listing.labels))
    return {name: {label: count[name, label] for label in classes} for name in SPLITS if name in listing.splits}


def _differences(splits: dict[str, Counts], which: Callable[[int, int], int | bool]) -> dict[str, tuple[str, ...]]:
    """Classes of each split that `which` chooses by their numbers of images in train and in the split."""
    if "train" not in splits:
        return {}
    train = splits["train"]
    chosen = {
        name: tuple(label for label, count in counts.items() if which(train[label], count)) for name, counts in splits.items()
    }
    return {name: labels for name, labels in chosen.items() if labels}


def _identical(looks: Sequence[_Look]) -> list[Indices]:
    """Groups of images whose files have the same content."""
    alike = defaultdict(list)
    for index, look in enumerate(looks):
        if look.digest:
            alike[look.digest].append(index)
    return [tuple(same) for same in alike.values() if len(same) > 1]


def _differing(copies: Sequence[Indices], names: Sequence[str] | None) -> list[Indices]:
    """The groups of identical files that have different names, where a name is the label or the split of a file."""
    return [alike for alike in copies if names is not None and len({names[index] for index in alike}) > 1]


def _files(groups: Sequence[Indices], listing: Listing) -> Copies:
    return tuple(tuple(listing.files[index] for index in alike) for alike in groups)


def _range(lengths: Sequence[int]) -> Range | None:
    return Range(min(lengths), median(lengths), max(lengths)) if lengths else None
