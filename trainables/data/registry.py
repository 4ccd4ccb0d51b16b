"""The data sets by name: what is known of each without reading it, and which module reads it.

A module of ``trainables.data`` reads one or several. It has two functions: ``class_counts(config)``
checks that the data are there and gives the images per class of the training and the test set;
``read(config, progress)`` gives the ``Source``, in any shape: images are brought to that of the
configuration. Nothing here imports numpy or torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is special about a data set.

    Attributes:
        module: the module of ``trainables.data`` that reads it.
        remark: follows the name in the options' help.
        holdout: the share of each class set apart for validation, and for test if it has none.
        pad: zeros on each side of a training image, out of which crops are cut.
        flips: whether mirrored images are of the same class.
    """

    module: str
    remark: str = ""
    holdout: float = 0.1
    pad: int = 4
    flips: bool = True


DATA_SETS: dict[str, DataSet] = {
    # pad 2 is half of an original pixel: a digit fills its image, 4 would cut strokes off.
    "digits": DataSet("digits", " (embedded, 1,797 images)", holdout=0.25, pad=2, flips=False),
    "cifar10": DataSet("cifar"),
    "cifar100": DataSet("cifar"),
    "imagefolder": DataSet("image_folder", " (DATA_DIR/train/<class>/, DATA_DIR/test/<class>/)"),
    "synthetic": DataSet("synthetic", flips=False),
}
"""By name, in the order of the options' help."""
