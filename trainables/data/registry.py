"""The data sets by name: what is known of each without reading it, and which module reads it.

A module of ``trainables.data`` reads one or several. It has two functions: ``class_counts(config)``
checks that the data are there and gives the images per class of the training and the test set;
``read(config, progress)`` gives the ``Source``, in any shape: images are brought to that of the
configuration. Nothing here imports numpy or torch.
"""

from dataclasses import dataclass

from trainables.code_identity import is_own


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is special about a data set.

    Attributes:
        module: the module of ``trainables.data`` that reads it.
        remark: follows the name in the options' help.
        holdout: the share of each class set apart for validation, and for test if it has none.
        pad: zeros on each side of a training image, out of which crops are cut.
        flips: whether mirrored images are of the same class.
        photos: whether its images have shapes of their own, and are decoded as a run's settings
            say.
        files: whether they are files, of which some may be broken.
        needs: what ``data_dir`` has to be, where it can't be done without.
        by_content: whether a run records a hash of its images and labels: nothing else tells
            whether it still is what the run was made with.
        streams: whether its images can be read when they are needed (``streamed``).
        embedded: whether it reads no folder or file that a user names.
    """

    module: str
    remark: str = ""
    holdout: float = 0.1
    pad: int = 4
    flips: bool = True
    photos: bool = False
    files: bool = False
    needs: str = ""
    by_content: bool = False
    streams: bool = False
    embedded: bool = False


PHOTO_FOLDER = "imagefolder"

DATA_SETS: dict[str, DataSet] = {
    # pad 2 is half of an original pixel: a digit fills its image, 4 would cut strokes off.
    "digits": DataSet(
        "digits", " (embedded, 1,797 images)", holdout=0.25, pad=2, flips=False, embedded=True
    ),
    "cifar10": DataSet("cifar"),
    "cifar100": DataSet("cifar"),
    PHOTO_FOLDER: DataSet(
        "image_folder",
        " (DATA_DIR/train/<class>/, DATA_DIR/test/<class>/)",
        photos=True,
        files=True,
        needs="the folder that holds train/<class>/ and test/<class>/",
    ),
    "csv": DataSet(
        "image_folder",
        " (DATA_DIR is a .csv with the columns path, label and, if it is divided, split)",
        photos=True,
        files=True,
        needs="a .csv file with the columns path and label",
        by_content=True,
    ),
    "npz": DataSet(
        "array_file",
        " (DATA_DIR is a .npz with train_images, train_labels, test_images, test_labels)",
        photos=True,
        needs="a .npz file with train_images, train_labels, test_images and test_labels",
        by_content=True,
    ),
    "huggingface": DataSet(
        "hugging_face",
        " (DATA_DIR is a folder that DatasetDict.save_to_disk wrote)",
        photos=True,
        needs="a folder that datasets.DatasetDict.save_to_disk wrote",
        by_content=True,
        streams=True,
    ),
    "synthetic": DataSet("synthetic", flips=False, embedded=True),
}
"""By name, in the order of the options' help."""

OWN_DATA = DataSet("own_data", photos=True, by_content=True, streams=True)


def known_data(name: str) -> DataSet:
    """What is known of a data set by name, or of one's own."""
    return OWN_DATA if is_own(name) else DATA_SETS[name]


def is_photos(name: object) -> bool:
    """Whether a name, not yet validated, is that of a data set whose images are decoded."""
    if not isinstance(name, str):
        return False
    return is_own(name) or (name in DATA_SETS and DATA_SETS[name].photos)


def is_embedded(name: object) -> bool:
    """Whether a name, not yet validated, is that of a data set that reads no files of a user."""
    return isinstance(name, str) and name in DATA_SETS and DATA_SETS[name].embedded


def streams(name: object) -> bool:
    """Whether a name, not yet validated, is that of a data set that can be streamed."""
    if not isinstance(name, str):
        return False
    return is_own(name) or (name in DATA_SETS and DATA_SETS[name].streams)
