"""Inspects a folder of images or a CSV: counts, sizes, and every problem that would spoil training or evaluation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import NamedTuple

from longtail.data.groups import shot_groups
from longtail.data.images import SUFFIXES, opened, read_content, to_rgb
from longtail.data.imbalance import imbalance_factor
from longtail.data.listing import Listing, list_images, read_csv, unlisted
from longtail.data.opening import reason
from longtail.data.rows import SPLITS
from longtail.data.walking import some
from longtail.errors import CorruptImage, UnreadableFile

Watch = Callable[[int, int], None]
Counts = dict[str, int]
Copies = tuple[tuple[str, ...], ...]
Indices = tuple[int, ...]
CHUNK = 64
MEANT_AS_SPLITS = frozenset({*SPLITS, "training", "testing", "validation", "valid", "dev"})


class Group(NamedTuple):
    """Number of classes in a shot group, and number of their training images."""

    classes: int
    images: int


class Range(NamedTuple):
    """Smallest, median and largest length in pixels, over all images that can be read."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class Inspection:
    """The findings on a folder or a CSV; plain values, so that they can be written as JSON.

    Args:
        counts: images per class, all splits together.
        splits: images per class for each split; empty where the data are not split yet.
        imbalance, groups: imbalance and shot groups of the training split, or of all images where the data are not split yet.
        width, height, short_side: lengths in pixels of the images that can be read (`short_side` is the median of the shorter
            sides); None where no image can be read.
        modes, formats: images per PIL mode and per file format, most first.
        corrupt: files that cannot be decoded, each with the reason.
        refused: files that the system refuses to read, each with the reason; they may be good.
        conflicts: groups of identical files with different labels.
        leaks: groups of identical files in different splits.
        duplicates: number of exact copies of other files that are in neither of these groups.
        empty_classes: classes without files; of the training split alone, where there are splits.
        missing: for each split, the classes of train that it lacks; they cannot be evaluated there.
        unknown: for each split, its classes that train lacks.
        ignored: number of files that are not images.
        outside: images in folders that training does not read.
        warnings: one sentence for each problem, which says what to change and how.
    """

    counts: Counts
    splits: dict[str, Counts]
    imbalance: float
    groups: dict[str, Group]
    width: Range | None
    height: Range | None
    short_side: float | None
    modes: Counts
    formats: Counts
    corrupt: dict[str, str]
    refused: dict[str, str]
    conflicts: Copies
    leaks: Copies
    duplicates: int
    empty_classes: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    unknown: dict[str, tuple[str, ...]]
    ignored: int
    outside: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def inspect(root: Path, *, outside: bool = False, watch: Watch | None = None) -> Inspection:
    """Reads every image of a folder or a CSV once, continues past broken ones, and changes nothing.

    Args:
        root: the folder, or the CSV.
        outside: whether a CSV may name files outside its folder.
        watch: called with (number of images read, number of all images).

    Raises:
        BadFolder: `root` does not exist, has no image that belongs to a class, or is a CSV that cannot be understood.
    """
    is_csv = root.is_file()
    listing = read_csv(root, below=root.parent, missing_ok=True, outside=outside) if is_csv else list_images(root)
    if not listing.files:
        listing.check()
    rest = () if is_csv else unlisted(listing)
    found = _found(listing, _look_at_all(listing, watch), rest)
    return replace(found, warnings=(*_about_files(found), *_about_classes(found), *_about_splits(found)))


class _Look(NamedTuple):
    """Properties of one image, with its hash where another file has as many bytes; or the reason why it cannot be read."""

    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    digest: bytes = b""
    problem: str = ""
    refused: bool = False


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
            to_rgb(image)
            digest = blake2b(content).digest() if hashed else b""
            return _Look(*image.size, image.mode, image.format or "unknown", digest)
    except FileNotFoundError:
        return _Look(problem="there is no such file")
    except UnreadableFile as error:
        return _Look(problem=_why(error), refused=True)
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
    outside = tuple(file for file in rest if Path(file).suffix.lower() in SUFFIXES)
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
        corrupt={file: look.problem for file, look in pairs if look.problem and not look.refused},
        refused={file: look.problem for file, look in pairs if look.refused},
        conflicts=_files(conflicts, listing),
        leaks=_files(leaks, listing),
        duplicates=sum(len(alike) - 1 for alike in set(copies).difference(conflicts, leaks)),
        empty_classes=listing.empty_classes,
        missing=_differences(splits, lambda train, other: train and not other),
        unknown=_differences(splits, lambda train, other: other and not train),
        ignored=len(rest) - len(outside),
        outside=outside,
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


def _about_files(found: Inspection) -> Iterator[str]:
    if found.corrupt:
        file, problem = next(iter(found.corrupt.items()))
        what = f"{_number(found.corrupt, 'file')} cannot be read (first '{file}': {problem})"
        yield f"{what}. Repair or remove {'it' if len(found.corrupt) == 1 else 'them'}, or train with `skip_corrupt`."
    if found.refused:
        file, problem = next(iter(found.refused.items()))
        what = f"{_number(found.refused, 'file')} must not be read (first '{file}': {problem})"
        yield f"{what}. Check permissions and the disk: training stops there, also with `skip_corrupt`."
    if found.conflicts:
        what = f"{_number(found.conflicts, 'group')} of identical files with different labels"
        yield f"{what} (first {_equal(found.conflicts)}). Keep the file with the right label in each group."
    if found.leaks:
        what = f"{_number(found.leaks, 'group')} of identical files in different splits (first {_equal(found.leaks)})"
        yield f"{what}. They make results look too good: keep one file of each group."
    if found.duplicates:
        risk = "" if found.splits else ", which may end up in both train and test"
        yield f"Further exact copies of other files: {found.duplicates:,}{risk}. Keep one file of each set of copies."
    if found.outside:
        what = f"{_number(found.outside, 'image')} in folders that training does not read ({some(found.outside)})"
        yield f"{what}. Move what you need into class folders{' below train/, val/ or test/' if found.splits else ''}."


def _about_classes(found: Inspection) -> Iterator[str]:
    if len(found.counts) < 2:
        yield f"There is one class only ({some(found.counts)}). A classifier needs at least two."
    elif {name.lower() for name in found.counts} <= MEANT_AS_SPLITS:
        yield f"The classes are called {some(found.counts)}. If they are splits, call their folders train, val and test."
    if found.empty_classes:
        yield f"Class folders without images: {some(found.empty_classes)}. Add images, or remove the folders."
    single = [name for name, count in found.counts.items() if count == 1]
    if single and not found.splits:
        yield f"Classes with a single image: {some(single)}. It is used for training, so they cannot be evaluated: add images."


def _about_splits(found: Inspection) -> Iterator[str]:
    absent = [name for name in ("train", "test") if found.splits and name not in found.splits]
    if absent:
        yield f"There are no images for {' and '.join(absent)}, only for {' and '.join(found.splits)}. Add some."
    for name, labels in found.missing.items():
        yield f"{name} lacks {some(labels)}. They cannot be evaluated there: add images, or read the results without them."
    for name, labels in found.unknown.items():
        yield f"{name} has {some(labels)}, which train lacks. Rename the folder, or add training images."


def _number(things: Collection[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _equal(groups: Copies) -> str:
    return " = ".join(f"'{file}'" for file in groups[0][:3])
